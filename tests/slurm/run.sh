#!/usr/bin/env bash
# make test-slurm: the files of experiments/slurm on a real cluster of one node with two CPUs. The time limit ends a fit and
# a predict before they are done; both are requeued and finish. Needs root, for munge's user, and Debian's SLURM, which is
# installed if it is not there; where that cannot be, it says so and ends with UNTESTED, 1 if not given.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
source "$repo/tests/slurm/cluster.sh"
untested() {
    echo "SLURM is not tested: $*" >&2
    exit "${UNTESTED:-1}"
}
# apt COMMAND...: what a machine without network finds out within a minute
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 "$@" > /dev/null 2>&1; }
[ "$(id -u)" -eq 0 ] || untested "it takes root"
here() { type munged slurmctld slurmd sbatch setpriv > /dev/null 2>&1; }
here || apt update || true
here || apt install --yes munge slurmctld slurmd slurm-client || true
here || untested "Debian's munge, slurmctld, slurmd and slurm-client are not here, and apt-get cannot install them"
export LIGHTNING_MRI_ENV=${LIGHTNING_MRI_ENV:-$repo/.venv} OMP_NUM_THREADS=1 WANDB_MODE=offline
python=$LIGHTNING_MRI_ENV/bin/python
slurm=$repo/experiments/slurm
folder=$(mktemp -d)
chmod 755 "$folder"
mkdir "$folder/any folder"
cd "$folder/any folder"
trap 'stop_cluster; echo "files: $folder" >&2' EXIT
start_cluster "$folder/cluster"

fail() {
    echo "failed: $*" >&2
    tail -n 40 ./*.out >&2
    exit 1
}

# poll COMMAND...: until it succeeds, at most twenty minutes
poll() {
    local end=$((SECONDS + 1200))
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not within twenty minutes: $*"
        sleep 0.5
    done
}

# of JOB FIELD: what the controller says of it
of() { scontrol show job "$1" | grep -o "$2=[^ ]*" | head -n 1 | cut -d= -f2; }

# ended JOB: whether it is done; one that is done in another way than by finishing fails all
ended() {
    case $(of "$1" JobState) in
        COMPLETED) return 0 ;;
        FAILED) [ "$(of "$1" ExitCode)" = 4:0 ] && return 0 || fail "job $1 failed" ;; # 4: slices that should not be trusted
        CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY | BOOT_FAIL) fail "job $1 ended as $(of "$1" JobState)" ;;
    esac
    return 1
}
requeued() { [ "$(of "$1" Restarts)" -ge 1 ]; }
requeued_or_ended() { requeued "$1" || ended "$1"; }
begun_or_ended() { "$2" || ended "$1"; }

# cut_off JOB BEGUN: once it makes progress let its time limit come; SLURM, which looks every 30 s, then sends --signal.
# The requeued job is given more time. Fails if the job was done before, as on a fast machine.
cut_off() {
    poll begun_or_ended "$1" "$2"
    local seconds=$(($(date +%s) - $(date -d "$(of "$1" StartTime)" +%s)))
    scontrol update JobId="$1" TimeLimit=$((seconds / 60 + 3)) 2> /dev/null || true
    poll requeued_or_ended "$1"
    scontrol update JobId="$1" TimeLimit=60 2> /dev/null || true
    requeued "$1"
}
limit=(--ntasks-per-node=2 --time=60 --signal=SIGUSR1@150)

if sbatch --wait --output=nowhere.out --export=ALL,LIGHTNING_MRI_ENV="$folder/nowhere" "$slurm/fit.sbatch" none > /dev/null 2>&1; then
    fail "a missing environment was not told"
fi
grep -q "set LIGHTNING_MRI_ENV" nowhere.out || fail "a missing environment was not told"

"$python" -m lightning_mri simulate --output_dir data --n_train 3 --n_test 8 --n_slices 4 --matrix '[96,80]' --pixel_size '[2.3,2.3]'
cat > sweep.yaml <<'YAML'
method: grid
name: two rates
metric: {name: val/nrmse, goal: minimize}
parameters: {phase.learning_rate: {values: [1.0e-5, 1.0e-3]}}
command: [python, fit, --config, finetune/synthetic_flair, '${args}']
YAML
data=(--data.root data/multicoil_train --data.n_subjects 2 --data.n_val 1 --data.n_reconstructions 1 --data.cache_dir cache)

fit_begun() { grep -qs "learning rate" "lightning-mri-fit-$fit.out"; }
for epochs in 100 200 400 800; do
    fit=$(sbatch --parsable "${limit[@]}" "$slurm/fit.sbatch" finetune/synthetic_flair "${data[@]}" \
        --phase.epochs "$epochs" --trainer.check_val_every_n_epoch 50 --trainer.enable_progress_bar false)
    # runs while the fit waits to be started again
    sweep=${sweep:-$(sbatch --parsable --array=1-2 "$slurm/sweep.sbatch" sweep.yaml swept "${data[@]}" --phase.epochs 2 \
        --trainer.check_val_every_n_epoch 1 --trainer.accelerator cpu)}
    cut_off "$fit" fit_begun && break
    echo "fit of $epochs epochs was done before its time was up: again with more"
done
poll ended "$fit"
requeued "$fit" || fail "no fit was requeued"
"$python" - "$fit" "$epochs" <<'PYTHON' || fail "fit did not make all steps"
import sys
from pathlib import Path

from lightning_mri.training.checkpoint import read_run

(last,) = Path("runs/synthetic_flair").glob(f"slurm-{sys.argv[1]}/**/last.ckpt")
run, n_epochs = read_run(last), int(sys.argv[2])
print(f"fit: {run['global_step']} steps of {n_epochs} epochs")
assert run["epoch"] == n_epochs - 1 and run["global_step"] % n_epochs == 0
PYTHON
echo "fit: requeued $(of "$fit" Restarts) times, then finished"

predict_begun() { [ -n "$(find "results-$steps" -name '[!.]*.pt' 2> /dev/null)" ]; }
for steps in 24 48 96 192; do
    predict=$(sbatch --parsable "${limit[@]}" "$slurm/predict.sbatch" data/multicoil_test "results-$steps" \
        --model.sampler HQS --model.sampler.n_steps "$steps")
    cut_off "$predict" predict_begun && break
    echo "predict in $steps steps was done before its time was up: again with more"
done
poll ended "$predict"
requeued "$predict" || fail "no predict was requeued"
[ "$(ls "results-$steps"/*.h5 | wc -l)" -eq 8 ] || fail "predict lost scans: $(ls "results-$steps")"
echo "predict: requeued $(of "$predict" Restarts) times, then finished all 8 scans"

poll ended "${sweep}_1"
poll ended "${sweep}_2"
[ "$(grep -c finished swept/trials.csv)" -eq 2 ] || fail "the sweep did not finish two trials"
echo "sweep: two jobs of an array made two trials"
cat swept/table.md

trap - EXIT
stop_cluster
rm -r "$folder"
echo "all well, and the cluster is gone"
