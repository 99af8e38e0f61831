#!/usr/bin/env bash
# A Slurm cluster of this one machine: to try the batch scripts where there is no cluster.
#
#   export SLURM_CONF=$(slurm/one_node.sh start)   installs (apt) and starts what is missing, prints the configuration
#   slurm/one_node.sh stop                         cancels its jobs, stops its daemons, removes its folder
#
# For root on Debian or Ubuntu. Needs no systemd and no cgroups, keeps no accounts, and touches no Slurm or munge that
# is already there: ports, key, socket and state are its own, in the folder runs/one_node_slurm of the repository.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$root/runs/one_node_slurm
export SLURM_CONF=$dir/slurm.conf

say() { echo "one_node: $*" >&2; }

running() {
    local pid
    pid=$(cat "$dir/$1.pid" 2>/dev/null) && [[ /proc/$pid/exe -ef $(command -v "$1") ]] # a zombie has no exe
}

wait_until() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.5
    done
}

node_ready() { [[ $(sinfo --noheader --format=%T 2>/dev/null) =~ ^(idle|mixed|allocated)$ ]]; }

no_jobs() { [[ -z $(squeue --noheader 2>/dev/null) ]]; } # squeue lists what is pending, running or completing

stopped() { ! running "$1"; }

configure() {
    local host
    host=$(hostname -s)
    mkdir -p "$dir/state" "$dir/spool"
    chmod 755 "$dir"
    [[ -s $dir/munge.key ]] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    # cred_expire: a requeued job waits until the credential of its former life has expired (120 s as Slurm comes).
    cat >"$SLURM_CONF" <<END
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN)
PartitionName=one Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

start() {
    if ((EUID != 0)); then
        say "must be run as root, because slurmd is"
        exit 1
    fi
    if ! type sbatch slurmctld slurmd munged &>/dev/null; then
        say "installing slurm-wlm and munge"
        {
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge
        } >&2
    fi
    mkdir -p "$dir"
    running munged || running slurmctld || running slurmd || configure
    # --force: a warning, not an error, where a folder above the socket may be written by a group.
    running munged || munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
        --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" 2>>"$dir/munged.log"
    running slurmctld || slurmctld
    running slurmd || slurmd
    if ! wait_until 30 node_ready; then
        say "the node did not come up; what its daemons say:"
        tail -n 15 "$dir"/{munged,slurmctld,slurmd}.log >&2
        exit 1
    fi
    say "$(sinfo --noheader --format='node %N, %c CPUs, %T') (Slurm $(sinfo --version | cut -d' ' -f2))"
    echo "$SLURM_CONF"
}

stop() {
    if running slurmctld && running slurmd; then
        scancel --partition=one --quiet || true
        wait_until 60 no_jobs || say "jobs are left that do not end"
    fi
    local daemon
    for daemon in slurmd slurmctld munged; do
        if running "$daemon"; then
            kill "$(cat "$dir/$daemon.pid")"
            wait_until 30 stopped "$daemon" || say "$daemon does not stop"
        fi
    done
    rm -rf "$dir"
}

case ${1-} in
start | stop) "$1" ;;
*)
    echo "usage: $0 start | stop" >&2
    exit 2
    ;;
esac
