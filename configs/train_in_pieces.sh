#!/bin/sh
# Train RECIPE in the folder RUN for SECONDS, for machines that are lent by the piece and take only small files home:
#     sh configs/train_in_pieces.sh RECIPE.yaml RUN SECONDS [section.key=value ...]
# The resume state is cut into parts below 16 MiB (RUN/last.ckpt.part-00, ...); the next call joins them and goes on, also on
# another machine that was given RUN. The recipe's max_minutes or max_steps ends the whole; exit status 0 then, 3 before.
set -eu
recipe=$1
run=$2
seconds=$3
shift 3
resume=
if ls "$run"/last.ckpt.part-* >/dev/null 2>&1; then
    # whole already, if the call before was killed while it cut it or took the parts away
    if [ ! -f "$run/last.ckpt" ]; then
        cat "$run"/last.ckpt.part-* >"$run/last.ckpt.joined"
        mv "$run/last.ckpt.joined" "$run/last.ckpt"
    fi
    rm "$run"/last.ckpt.part-*
fi
if [ -f "$run/last.ckpt" ]; then resume=--resume; fi
status=0
# INT lets the step at hand end and saves; KILL, should that hang, costs what came after the last checkpoint
timeout --signal=INT --kill-after=120 "$seconds" pyg-diffusion train "$recipe" "$@" -o "$run" --quiet $resume || status=$?
if [ ! -f "$run/last.ckpt" ]; then
    echo "$run: ended before there was anything to save; give it more than $seconds seconds" >&2
    exit 1
fi
split -b 15m -d "$run/last.ckpt" "$run/last.ckpt.part-"
rm -f "$run/last.ckpt" "$run/previous.ckpt"
case $status in
    0) exit 0 ;;
    124 | 130 | 137) exit 3 ;;
    *) exit "$status" ;;
esac
