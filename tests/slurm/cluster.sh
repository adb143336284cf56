#!/usr/bin/env bash
# A one-node SLURM on loopback, for tests: source it, trap stop_cluster EXIT, then start_cluster FOLDER. Needs root, and
# Debian's slurmctld, slurmd, slurm-client and munge; everything it writes is in FOLDER, and it ends only what it started.

CLUSTER_PIDS=()

# daemon LOG COMMAND...: in the background, in a session that no Ctrl-C reaches, ended by the kernel if this shell is killed
daemon() {
    local log=$1
    shift
    setsid setpriv --pdeathsig=TERM "$@" > "$log" 2>&1 < /dev/null &
    CLUSTER_PIDS+=($!)
}

start_cluster() {
    local folder=$1 host port=$((16000 + 2 * ($$ % 8000)))
    host=$(hostname -s)
    mkdir -p "$folder"/{state,spool,log,munge} && chmod 755 "$folder" "$folder"/*
    export SLURM_CONF=$folder/slurm.conf
    dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
    chown -R munge:munge "$folder/munge" && chmod 400 "$folder/munge/key"
    cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=10 # a requeued job waits for so long
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
SlurmctldPort=$port
SlurmdPort=$((port + 1))
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
JobRequeue=1
ReturnToService=2
KillWait=30
MinJobAge=3600 # what ended is asked about later
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides # two CPUs, however many there are
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    daemon "$folder/log/munged" --reuid=munge --regid=munge --clear-groups munged --foreground --key-file="$folder/munge/key" \
        --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    daemon "$folder/log/slurmctld.out" slurmctld -D -f "$SLURM_CONF"
    daemon "$folder/log/slurmd.out" slurmd -D -f "$SLURM_CONF"
    for _ in $(seq 240); do
        if sinfo --noheader --format=%t 2> /dev/null | grep -q idle; then return 0; fi
        sleep 0.5
    done
    echo "the test cluster did not start within two minutes: see $folder/log" >&2
    return 1
}

# cluster_processes: what has the cluster's SLURM_CONF, which is unique, in its environment; not this shell and its children
cluster_processes() {
    local environment process
    for environment in /proc/[0-9]*/environ; do
        process=$(basename "$(dirname "$environment")")
        if [ "$process" != $$ ] && [ "$process" != "$BASHPID" ] && grep -qsz "^SLURM_CONF=$SLURM_CONF$" "$environment"; then
            echo "$process"
        fi
    done
}

# stop_cluster: end jobs first, so that each slurmstepd goes with its job, then the daemons; fails if anything is left
stop_cluster() {
    trap '' INT TERM
    scancel --user=root 2> /dev/null || true
    for _ in $(seq 120); do
        if ! squeue --noheader 2> /dev/null | grep -q . && ! ls "$(dirname "$SLURM_CONF")"/spool/*_[0-9]*.* > /dev/null 2>&1; then break; fi
        sleep 0.5
    done
    kill "${CLUSTER_PIDS[@]}" 2> /dev/null || true
    wait "${CLUSTER_PIDS[@]}" 2> /dev/null || true
    local left
    left=$(cluster_processes)
    if [ -z "$left" ]; then return 0; fi
    echo "left by the test cluster, ended now:" >&2
    ps -o pid,args $left >&2
    kill -9 $left
    return 1
}
