#!/usr/bin/env bash
# A one-node SLURM on loopback, for tests: source it, then start_cluster FOLDER and stop_cluster. Needs root, and Debian's
# slurmctld, slurmd, slurm-client and munge; everything it writes is in FOLDER, and it ends only what it started.

start_cluster() {
    local folder=$1 host
    host=$(hostname -s)
    mkdir -p "$folder"/{state,spool,log,munge} && chmod 755 "$folder" "$folder"/*
    dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
    chown -R munge:munge "$folder/munge" && chmod 400 "$folder/munge/key"
    setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
        > "$folder/log/munged" 2>&1 &
    CLUSTER_PIDS=($!)
    cat > "$folder/slurm.conf" <<CONF
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
SlurmctldPort=16817
SlurmdPort=16818
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
OverTimeLimit=0
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF=$folder/slurm.conf
    slurmctld -D -f "$SLURM_CONF" > "$folder/log/slurmctld.out" 2>&1 &
    CLUSTER_PIDS+=($!)
    slurmd -D -f "$SLURM_CONF" > "$folder/log/slurmd.out" 2>&1 &
    CLUSTER_PIDS+=($!)
    for _ in $(seq 60); do
        if sinfo --noheader --format=%t 2> /dev/null | grep -q idle; then return 0; fi
        sleep 0.5
    done
    echo "the test cluster did not start: see $folder/log" >&2
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
    scancel --user=root 2> /dev/null || true
    for _ in $(seq 60); do
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
