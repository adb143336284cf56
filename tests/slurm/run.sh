#!/usr/bin/env bash
# make test-slurm: the files of experiments/slurm on a real cluster of one node with two CPUs. The time limit ends a fit and
# a predict before they are done; both are requeued and finish. Needs root, for munge's user and to install SLURM.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
source "$repo/tests/slurm/cluster.sh"
for tool in munged slurmctld slurmd sbatch; do
    command -v "$tool" > /dev/null || {
        apt-get update -qq && apt-get install -y -qq munge slurmctld slurmd slurm-client
        break
    }
done
folder=$(mktemp -d)
chmod 755 "$folder"
trap stop_cluster EXIT
start_cluster "$folder/cluster"
export LIGHTNING_MRI_ENV=$repo/.venv OMP_NUM_THREADS=1 WANDB_MODE=offline
python=$LIGHTNING_MRI_ENV/bin/python
slurm=$repo/experiments/slurm
cd "$folder"

fail() {
    echo "failed: $*" >&2
    tail -n 40 "$folder"/*.out >&2
    exit 1
}

# restarts JOB: how often it was requeued, from the controller
restarts() { scontrol show job "$1" | grep -o 'Restarts=[0-9]*' | cut -d= -f2; }

# wait_for JOB: until it ends, at most ten minutes
wait_for() {
    for _ in $(seq 600); do
        state=$(scontrol show job "$1" | grep -o 'JobState=[A-Z_]*' | cut -d= -f2)
        case $state in
            COMPLETED) return 0 ;;
            PENDING | RUNNING | SIGNALING | COMPLETING | CONFIGURING | REQUEUED | REQUEUE_HOLD) sleep 1 ;;
            *) fail "job $1 ended as $state" ;;
        esac
    done
    fail "job $1 takes more than ten minutes"
}

"$python" -m lightning_mri simulate --output_dir data --n_train 3 --n_test 8 --n_slices 4 --matrix '[96,80]' --pixel_size '[2.3,2.3]'

job=$(sbatch --parsable --ntasks-per-node=2 --time="${MINUTES:-1}" --signal=SIGUSR1@25 "$slurm/fit.sbatch" \
    finetune/synthetic_flair --data.root data/multicoil_train --data.n_subjects 2 --data.n_val 1 \
    --data.n_reconstructions 1 --data.cache_dir cache --phase.epochs 60 --trainer.check_val_every_n_epoch 60)
wait_for "$job"
[ "$(restarts "$job")" -ge 1 ] || fail "fit was not requeued"
"$python" - <<'PYTHON' || fail "fit did not make all steps"
from pathlib import Path

from pathlib import Path

import torch

checkpoint = torch.load(max(Path("runs/synthetic_flair").rglob("last.ckpt")), weights_only=True)
print(f"fit: {checkpoint['global_step']} steps in epoch {checkpoint['epoch']}")
assert checkpoint["epoch"] == 59
PYTHON
echo "fit: requeued $(restarts "$job") times, then finished"

job=$(sbatch --parsable --ntasks-per-node=2 --time="${MINUTES:-1}" --signal=SIGUSR1@25 "$slurm/predict.sbatch" \
    data/multicoil_test results --model.preset quality)
wait_for "$job"
[ "$(restarts "$job")" -ge 1 ] || fail "predict was not requeued"
[ "$(ls results/*.h5 | wc -l)" -eq 8 ] || fail "predict lost scans: $(ls results)"
echo "predict: requeued $(restarts "$job") times, then finished all 8 scans"

if LIGHTNING_MRI_ENV=$folder/nowhere sbatch --wait "$slurm/fit.sbatch" none.yaml > /dev/null 2>&1; then
    fail "a missing environment was not told"
fi
grep -q "set LIGHTNING_MRI_ENV" ./*.out || fail "a missing environment was not told"
echo "all well; the cluster's files are in $folder"
