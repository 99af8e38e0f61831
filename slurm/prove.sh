#!/usr/bin/env bash
# Proves that slurm/train.sbatch runs, on a Slurm of this one machine that it starts (slurm/one_node.sh) and stops again:
#
#   slurm/prove.sh [CONFIG.yaml [section.key=value ...]]     a short run on 3,000 bundled molecules if none is given
#
# The pilot is killed as a crash would, then told to save as ahead of a time limit; Slurm must start it again both times,
# and its last piece must end with the weights of every step. Exits 1 where a check fails. To use the cluster at hand
# instead, set SLURM_CONF. The recipe must end by train.max_steps, after a minute or so: two pieces end at their first
# checkpoint, three seconds into training.
# shellcheck disable=SC2317  # functions are called by name
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=$PWD/.venv/bin dir=$PWD/runs/slurm_pilot
run=$dir/run log=$dir/pilot.out
mkdir -p "$dir"
rm -rf "$run" "$log"

if (($# == 0)); then
    store=runs/quick/store.h5 # of `make train`
    if [[ ! -s $store ]]; then
        store=$dir/store.h5
        [[ -s $store ]] || "$bin/pyg-diffusion" prepare datasets/qm9_3000.sdf.gz -o "$store" --workers 1 --quiet
    fi
    set -- configs/quick.yaml data.store="$store" data.batch_size=16 model.width=64 "model.depths=[1, 1]" \
        train.max_steps=800 train.max_minutes=0 train.accelerator=cpu
fi

job=
finish() {
    [[ -z $job ]] || scancel --quiet "$job" || true
    [[ -z ${mine-} ]] || slurm/one_node.sh stop
}
trap finish EXIT
if [[ -z ${SLURM_CONF-} ]]; then
    mine=1
    SLURM_CONF=$(slurm/one_node.sh start)
    export SLURM_CONF
fi

failed=0
check() { # WHAT TEST...
    local mark=ok what=$1
    shift
    "$@" || mark=FAILED failed=1
    printf '%-6s  %s\n' "$mark" "$what"
}

field() { scontrol --oneliner show job "$job" | grep -oP "(?<= $1=)\S+"; }

over() { [[ $(field JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY)$ ]]; }

give_up() {
    echo "FAILED  $1; $log ends:" >&2
    tail -n 20 "$log" >&2 || true
    exit 1
}

wait_for() { # WHAT TEST...: ten minutes at most
    local what=$1 end=$((SECONDS + 600))
    shift
    until "$@"; do
        ! over || give_up "the job is over ($(field JobState)) before $what"
        ((SECONDS < end)) || give_up "no $what in ten minutes"
        sleep 0.5
    done
}

checkpoint() { stat --format=%y "$run/last.ckpt" 2>/dev/null || true; }

training_saved() { [[ $(field JobState) == RUNNING && $(checkpoint) != "$saved" && -e $run/last.ckpt ]]; }

restarted() { [[ $(field Restarts) == "$1" && $(field JobState) == RUNNING ]]; }

saved=
piece() { # NUMBER SIGNAL: end the piece at hand once it has saved, and wait for the next one
    wait_for "checkpoint of piece $1" training_saved
    scancel --signal="$2" "$job.0" # the step: SIGKILL to the whole job is its cancellation
    wait_for "restart $1" restarted "$1"
    saved=$(checkpoint)
    echo "ok      piece $1 ended by SIG$2: requeued, started again"
}

job=$(sbatch --parsable --output="$log" slurm/train.sbatch "$1" "$run" "${@:2}" train.checkpoint_minutes=0.05)
echo "job $job: $*"
piece 1 KILL
piece 2 TERM
until over; do sleep 0.5; done

began=("$run"/logs/from_step_*)
steps() { "$bin/python" -c "import json; print(json.load(open('$run/weights.json'))['training']['steps'])"; }
asked() { "$bin/python" -c "import yaml; print(yaml.safe_load(open('$run/config.yaml'))['train']['max_steps'])"; }
resumed() { ((${#began[@]} == 3)) && ((0 < 10#${began[1]##*_} && 10#${began[1]##*_} < 10#${began[2]##*_})); }

check "three pieces, each beyond the one before: ${began[*]##*/}" resumed
check "the job: $(field JobState), exit $(field ExitCode), $(field Restarts) restarts" \
    test "$(field JobState) $(field ExitCode) $(field Restarts)" = "COMPLETED 0:0 2"
check "weights.safetensors" test -s "$run/weights.safetensors"
check "trained for $(steps) of $(asked) steps" test "$(steps)" = "$(asked)"
job=
exit "$failed"
