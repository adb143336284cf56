#!/usr/bin/env bash
# make test-slurm: the files of experiments/slurm on a real cluster of one node with two CPUs. The time limit ends a fit and
# a predict before they are done; both are requeued and finish. Needs root, for munge's user, and Debian's SLURM, which is
# installed if it is not there; where that cannot be, it says so and tests nothing. On a busy machine
# MINUTES=4 EPOCHS=90 SLICES=1 gives jobs more time and less to do.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
source "$repo/tests/slurm/cluster.sh"
skip() {
    echo "SLURM is not tested: $*"
    exit 0
}
[ "$(id -u)" -eq 0 ] || skip "it takes root"
for tool in munged slurmctld slurmd sbatch setpriv; do
    command -v "$tool" > /dev/null && continue
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq munge slurmctld slurmd slurm-client; } \
        > /dev/null 2>&1 || skip "$tool is not here, and apt-get cannot install it"
    break
done
folder=$(mktemp -d)
chmod 755 "$folder"
start_cluster "$folder/cluster" || { stop_cluster; exit 1; }
trap stop_cluster EXIT
export LIGHTNING_MRI_ENV=${LIGHTNING_MRI_ENV:-$repo/.venv} OMP_NUM_THREADS=1 WANDB_MODE=offline
python=$LIGHTNING_MRI_ENV/bin/python
slurm=$repo/experiments/slurm
cd "$folder"

fail() {
    echo "failed: $*" >&2
    tail -n 40 "$folder"/*.out >&2
    exit 1
}

# early COMMAND VARIABLE: on a machine that is faster than expected nothing is requeued, which is no fault
early() { echo "NOT TESTED: $1 was done before its time was up: give a larger $2"; }

# of JOB FIELD: what the controller says of it
of() { scontrol show job "$1" | grep -o "$2=[A-Za-z0-9_]*" | head -n 1 | cut -d= -f2; }

# wait_for JOB: until it ends, at most twenty minutes
wait_for() {
    for _ in $(seq 1200); do
        case $(of "$1" JobState) in
            COMPLETED) return 0 ;;
            FAILED) [ "$(of "$1" ExitCode)" = 4 ] && return 0 || fail "job $1 failed" ;; # 4: slices that should not be trusted
            CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY | BOOT_FAIL) fail "job $1 ended as $(of "$1" JobState)" ;;
        esac
        sleep 1
    done
    fail "job $1 takes more than twenty minutes"
}

"$python" -m lightning_mri simulate --output_dir data --n_train 3 --n_test 8 --n_slices "${SLICES:-6}" --matrix '[96,80]' --pixel_size '[2.3,2.3]'
cat > sweep.yaml <<'YAML'
method: grid
name: two rates
metric: {name: val/nrmse, goal: minimize}
parameters: {phase.learning_rate: {values: [1.0e-5, 1.0e-3]}}
command: [python, fit, --config, finetune/synthetic_flair, '${args}']
YAML
data=(--data.root data/multicoil_train --data.n_subjects 2 --data.n_val 1 --data.n_reconstructions 1 --data.cache_dir cache)

# SLURM looks at the time every 30 s, so that the signal comes 45 to 75 s after a job's start, within two minutes; what
# one job waits for its requeueing, another one runs
limit=(--ntasks-per-node=2 --time="${MINUTES:-2}" --signal=SIGUSR1@45)
fit=$(sbatch --parsable "${limit[@]}" "$slurm/fit.sbatch" finetune/synthetic_flair "${data[@]}" \
    --phase.epochs "${EPOCHS:-120}" --trainer.check_val_every_n_epoch 20 --trainer.enable_progress_bar false)
predict=$(sbatch --parsable "${limit[@]}" "$slurm/predict.sbatch" data/multicoil_test results --model.preset quality)
sweep=$(sbatch --parsable --array=1-2 "$slurm/sweep.sbatch" sweep.yaml swept "${data[@]}" --phase.epochs 2 \
    --trainer.check_val_every_n_epoch 1 --trainer.accelerator cpu)

wait_for "$fit"
[ "$(of "$fit" Restarts)" -ge 1 ] || early fit EPOCHS
"$python" - "${EPOCHS:-120}" <<'PYTHON' || fail "fit did not make all steps"
import sys
from pathlib import Path

from lightning_mri.training.checkpoint import read_run

(last,) = Path("runs/synthetic_flair").rglob("last.ckpt")
run, n_epochs = read_run(last), int(sys.argv[1])
print(f"fit: {run['global_step']} steps of {n_epochs} epochs")
assert run["epoch"] == n_epochs - 1 and run["global_step"] % n_epochs == 0
PYTHON
echo "fit: requeued $(of "$fit" Restarts) times, then finished"

wait_for "$predict"
[ "$(of "$predict" Restarts)" -ge 1 ] || early predict SLICES
[ "$(ls results/*.h5 | wc -l)" -eq 8 ] || fail "predict lost scans: $(ls results)"
echo "predict: requeued $(of "$predict" Restarts) times, then finished all 8 scans"

wait_for "${sweep}_1"
wait_for "${sweep}_2"
[ "$(grep -c finished swept/trials.csv)" -eq 2 ] || fail "the sweep did not finish two trials"
echo "sweep: two jobs of an array made two trials"
cat swept/table.md

if LIGHTNING_MRI_ENV=$folder/nowhere sbatch --wait --output=nowhere.out "$slurm/fit.sbatch" none.yaml > /dev/null 2>&1; then
    fail "a missing environment was not told"
fi
grep -q "set LIGHTNING_MRI_ENV" nowhere.out || fail "a missing environment was not told"
trap - EXIT
stop_cluster
rm -r "$folder"
echo "all well, and the cluster is gone"
