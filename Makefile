# Every target sets up what it needs: a virtual environment in .venv, from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m lightning_mri
STAMP := $(VENV)/.ready
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## create .venv with the tested versions
# torch goes first and alone, so that a machine with a local build of it uses that one; fastmri goes without what it
# asks for, since that includes torchvision, which it never imports and whose wheels do not fit every build of torch
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps fastmri
	touch $@

# make demo SHORT=1 does the same on a handful of slices
ifdef SHORT
TRAINING := --n_train 3 --n_slices 2
TESTING := --n_test 1 --n_slices 1
FITTING := --data.n_subjects 2 --data.n_val 1 --data.n_reconstructions 1 --phase.epochs 6
else
TRAINING := --n_train 20 --n_slices 8 --spacing_mm 8
TESTING := --n_test 6 --n_slices 2 --spacing_mm 16
FITTING :=
endif

demo: setup  ## simulate, fine-tune on 20 FLAIR subjects, reconstruct, compare: 4 to 9 minutes on 2 cores
	rm -rf demo && mkdir demo
	cd demo && ../$(RUN) simulate --output_dir data/flair --n_test 0 $(TRAINING)
	cd demo && ../$(RUN) simulate --output_dir data/flair --n_train 0 --seed 1 $(TESTING)
	cd demo && ../$(RUN) fit --config finetune/synthetic_flair $(FITTING)
	cd demo && ../$(RUN) test --config test --output_dir results $(wordlist 1,6,$(FITTING))
	@echo "Look at demo/results/index.html"

# one thread for each process that a test starts, too: two processes of two threads wait for each other on two cores
test: export OMP_NUM_THREADS := 1
test-all: export OMP_NUM_THREADS := 1

test: setup  ## run the fast tests: 3 to 5 minutes on 2 cores
	$(BIN)/python -m pytest -n 2 -m 'not gpu and not slow'

test-all: setup  ## run every test that needs no GPU
	$(BIN)/python -m pytest -n 2

test-gpu: setup  ## run the tests that need a GPU
	$(BIN)/python -m pytest -m gpu

test-slurm: setup  ## run the SLURM files on a one-node cluster of its own (root, Debian)
	bash tests/slurm/run.sh

test-docker: setup  ## build the image, or run every line of the Dockerfile in a chroot (root)
	bash tests/docker/run.sh

lint: setup  ## ruff, the import rules between rooms, the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile

types: setup  ## mypy on the package
	$(BIN)/mypy

bench: setup  ## speed as ratios to named peers, on the CPU
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python experiments/bench.py
	$(BIN)/python experiments/bench_training.py

gpu: setup  ## all that needs a GPU: tests and speed, less than 10 minutes; goes on where it was cut off
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	bash experiments/gpu.sh

docs: setup  ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/mkdocs.yml

fuzz: setup  ## damage files of every format, 400 cases each (8,800): about 1 hour on one core
	$(BIN)/python -m pytest -m 'not gpu' tests/io/test_fuzz.py --hypothesis-profile=fuzz

chaos: setup  ## kill fit, prepare and predict at 100 random moments each: about 30 minutes
	CHAOS=100 $(BIN)/python -m pytest -s tests/test_chaos.py

.PHONY: help setup demo test test-all test-gpu test-slurm test-docker lint types bench gpu docs fuzz chaos
