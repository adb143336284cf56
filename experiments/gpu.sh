#!/usr/bin/env bash
# Everything that needs a GPU, in less than ten minutes. What has ended is kept in gpu/, so that a second call goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p gpu

part() { # NAME COMMAND...
    if [ -e "gpu/$1.done" ]; then
        echo "$1: done before, see gpu/$1.log"
    else
        "${@:2}" 2>&1 | tee "gpu/$1.log"
        touch "gpu/$1.done"
    fi
}

part training .venv/bin/python experiments/bench_training.py --device cuda --repeats 1 --output gpu/training.md
part bench .venv/bin/python experiments/bench.py --device cuda --repeats 1 --output gpu/bench.md
part tests .venv/bin/python -m pytest -m gpu
