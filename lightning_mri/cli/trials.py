"""Trials of a sweep in a folder: several processes may run them, each an ordinary `fit`; their state is Optuna's."""

import ctypes
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from lightning_mri.cli.options import in_order
from lightning_mri.cli.sweep_file import SweepFile
from lightning_mri.evaluation.sweep import (
    STORAGE,
    Result,
    best_and_spread,
    start_of,
    trial_name,
    validations,
    write_sweep,
)
from lightning_mri.files import for_results, locked
from lightning_mri.messages import count
from lightning_mri.origin import IMPORTED, own_code

POLL_S = 0.5
PR_SET_PDEATHSIG = 1
REFUSED = 2
"""Exit code of `fit` where the user can mend it."""
FIT = (sys.executable, "-m", "lightning_mri", "fit")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
OF_AGENT = re.compile(r"--trainer\.logger[=\0]([\w.]+\.)?WandbLogger(?=\0|$)")
STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}


AGAIN = "again"
"""Where a trial notes the number of the failed one that it repeats."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
KEPT = (TrialState.RUNNING, *DONE)
"""States of trials whose options of `fit` others have to share."""


class Sweep:
    """A sweep in a folder; several processes may run it at a time, and one that died is replaced by the next.

    Trials that failed are tried again when it is started anew. It ends at the first one whose input is refused, if none
    has given a number yet: the others would be refused, too.

    Raises:
        ValueError: If the folder holds trials of another sweep, or with other options of `fit` or files that these
            name, or `fit` does not take the options, or one would be overruled by those of each trial.
    """

    def __init__(self, file: SweepFile, folder: Path, options: Sequence[str], program: Sequence[str] = FIT) -> None:
        self.file, self.folder, self.options, self.program = file, folder, options, program
        self._check_unset()
        if not (folder / STORAGE).exists():
            self._check()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with ExitStack() as held:
            with for_results(folder):
                held.enter_context(locked(folder, wait=True))
            storage = JournalStorage(JournalFileBackend(str(folder / STORAGE)))
            is_other = bool(set(optuna.get_all_study_names(storage)) - {file.name})
            if not is_other:
                self.study = optuna.create_study(
                    storage=storage,
                    study_name=file.name,
                    direction="maximize" if file.maximise else "minimize",
                    pruner=file.pruner(),
                    load_if_exists=True,
                )
                begun = [trial.distributions for trial in self.study.trials if trial.distributions]
                is_other = any(each != dict(file.parameters) for each in begun)
            if is_other:
                raise ValueError(f"{folder} holds trials of another sweep than {file.path}: give another --output_dir")
            self._settle_options()
            for point in file.grid()[len(self._trials()) :]:
                self.study.enqueue_trial(point)
            if not self._is_running():
                self._repeat_failed()

    def run(self) -> int:
        """Run trials until all are done, then write table and picture; return 3 if some failed.

        Raises:
            ValueError: If all of them failed, or `fit` refuses the input of one before any has given a number.
        """
        while (found := self._next()) is not None:
            trial, lock = found
            with lock:
                self._run(trial)
        with locked(self.folder, wait=True):
            trials = self._trials()
            results = [self._result(trial) for trial in trials if trial.state in STATES]
            print(write_sweep(self.folder, results, self.file.metric, self.file.maximise), flush=True)
        failed = [result for result in results if result.state == STATES[TrialState.FAIL]]
        told = f"{len(failed)} of {count(len(trials), 'trial')} failed; the same command tries them again"
        if len(failed) == len(trials):
            raise ValueError(f"{self.folder}: {told}; the last: {failed[-1].reason}")
        if failed:
            print(told, file=sys.stderr)
        return 3 if failed else 0

    def _trials(self) -> list[FrozenTrial]:
        """Return the trials without those that were repeated."""
        trials = self.study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(AGAIN) for trial in trials}
        return [trial for trial in trials if trial.number not in repeated]

    def _settle_options(self) -> None:
        """Note the options and files that all trials share; others may replace them while all trials have failed."""
        options, noted = [*self.file.options, *self.options], self.study.user_attrs
        named = [Path(part) for word in in_order(options) for part in word.split("=", 1) if os.path.isfile(part)]
        hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (*named, *own_code(IMPORTED))]
        if (noted.get("options"), noted.get("files", hashes)) == (options, hashes):
            return
        if noted:
            if any(trial.state in KEPT for trial in self._trials()):
                raise ValueError(
                    f"{self.folder} holds trials with other options of fit, or of files that have changed since: give"
                    f" the same ({' '.join(noted['options'])}), or another --output_dir"
                )
            self._check()
        self.study.set_user_attr("options", options)
        self.study.set_user_attr("files", hashes)

    def _is_running(self) -> bool:
        """Return whether some process runs a trial."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                self._keep(trial).close()
            except BlockingIOError:
                return True
        return False

    def _repeat_failed(self) -> None:
        """Queue the trials that failed once more: what they lacked may be there by now."""
        for trial in self._trials():
            if trial.state is TrialState.FAIL:
                self.study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})

    def _check_unset(self) -> None:
        """Refuse options that those of a trial would overrule."""
        varied = [_option(f"--{name}") for name in self.file.parameters]
        # the file may name W&B's logger, which its own agent does not give and each trial has anyhow
        of_file = OF_AGENT.sub("", "\0".join(self.file.options)).split("\0")
        for name in map(_option, (*of_file, *self.options)):
            if name in varied:
                raise ValueError(f"{name} is varied by {self.file.path}: change the file")
            if name.startswith(tuple(self._own(self.folder))):
                raise ValueError(f"{name} is set by the sweep for each trial: leave it out")

    def _check(self) -> None:
        """Let ``fit`` read its options, once for the first value of each parameter."""
        command = [*self._fit(self.file.first(), self.folder / "check"), "--print_config"]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            lines = checked.stderr.strip().splitlines() or ["fit cannot be started"]
            raise ValueError(f"{self.file.path}: {lines[-1].removeprefix('error: ')}")

    def _next(self) -> tuple[Trial, ExitStack] | None:
        """Return a trial that nobody runs, kept for this process; None if there is no more."""
        with locked(self.folder, wait=True):
            for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                trial = Trial(self.study, frozen._trial_id)
                with suppress(BlockingIOError):  # else its process has died
                    return trial, self._keep(trial)
            trials = self._trials()
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and len(trials) >= self.file.n_trials:
                return None
            self.study.sampler = self.file.sampler(len(self.study.get_trials(deepcopy=False)))
            trial = self.study.ask(fixed_distributions=dict(self.file.parameters))
            return trial, self._keep(trial)

    def _keep(self, trial: Trial | FrozenTrial) -> ExitStack:
        folder = self._folder(trial)
        folder.mkdir(exist_ok=True)
        lock = ExitStack()
        lock.enter_context(locked(folder))
        return lock

    def _run(self, trial: Trial) -> None:
        """Run a trial to its end, unless it is stopped early, and note what became of it."""
        folder, before = self._folder(trial), self.study.get_trials(deepcopy=False)[trial.number]
        n_reported = len(before.intermediate_values)  # by the process that it is taken over from
        print(f"trial {trial.number}: {trial.params}", flush=True)
        with (folder / "fit.log").open("a") as log:
            command = self._fit(trial.params, folder)
            process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_end_with_parent)
        state = TrialState.COMPLETE
        with _passing_on_signals(process):
            while process.poll() is None:
                time.sleep(POLL_S)
                for _, value in validations(folder, self.file.metric)[n_reported:]:
                    n_reported += 1  # W&B counts so, too, to stop a trial early
                    trial.report(value, n_reported)
                if state is TrialState.COMPLETE and trial.should_prune():
                    state = TrialState.PRUNED
                    process.terminate()
        code = process.returncode
        stopped_by = -code if code < 0 else code - 128
        if state is TrialState.COMPLETE and stopped_by in STOP_SIGNALS:
            # it did not fail: the next process goes on with it
            raise SystemExit(128 + stopped_by)
        found = best_and_spread(folder, self.file.metric, self.file.maximise)
        if found is None or (state is TrialState.COMPLETE and code != 0):
            errors = re.findall("^error: (.*)", (folder / "fit.log").read_text(errors="replace"), re.MULTILINE)
            ended = f"exit code {code}" if code else f"{self.file.metric} was never a number"
            reason = errors[-1] if errors else f"{ended}, see fit.log"
            trial.set_user_attr("reason", reason)
            self.study.tell(trial, state=TrialState.FAIL)
            if code == REFUSED and all(each.state not in DONE for each in self._trials()):
                raise ValueError(f"trial {trial.number} was refused, as the others would be: {reason}")
            print(f"trial {trial.number} failed: {reason}", file=sys.stderr)
        elif state is TrialState.PRUNED:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, found[0])

    def _fit(self, parameters: Mapping[str, Any], folder: Path) -> list[str]:
        """Return the command line of a trial: an ordinary ``fit``."""
        given = {f"--{key}": value for key, value in parameters.items()} | self._own(folder)
        return [*self.program, *self.file.options, *self.options, *(f"{name}={value}" for name, value in given.items())]

    def _own(self, folder: Path) -> dict[str, Any]:
        """Return the options that the sweep gives to a trial: it logs into its own folder, for W&B offline."""
        metrics = {"save_dir": str(folder), "flush_logs_every_n_steps": 1}
        about = {"project": self.file.project, "group": self.file.name, "name": folder.name, "save_dir": str(folder)}
        loggers = [
            {"class_path": "lightning_mri.training.MetricsFile", "init_args": metrics},
            {"class_path": "pytorch_lightning.loggers.WandbLogger", "init_args": {"offline": True, **about}},
        ]
        return {
            "--checkpoint.dirpath": folder,
            "--trainer.default_root_dir": folder,
            "--ckpt_path": "last",
            "--trainer.logger": json.dumps(loggers),
            "--trainer.enable_progress_bar": "false",
        }

    def _folder(self, trial: Trial | FrozenTrial) -> Path:
        return (self.folder / trial_name(trial.number)).absolute()

    def _result(self, trial: FrozenTrial) -> Result:
        folder, metric = self._folder(trial), self.file.metric
        found, start = best_and_spread(folder, metric, self.file.maximise), start_of(folder, metric)
        value, spread = (None, None) if found is None or trial.state is TrialState.FAIL else found
        reason = str(trial.user_attrs.get("reason", ""))
        return Result(trial.number, dict(trial.params), value, spread, STATES[trial.state], reason, start)


def _option(word: str) -> str:
    """Return the name of the option that a word of a command line sets; a class and its arguments have one name."""
    return word.partition("=")[0].removesuffix("+").replace(".init_args", "")


def _end_with_parent() -> None:
    """Let Linux send SIGTERM to a trial when its sweep dies, so that no other process goes on with it beside it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _passing_on_signals(process: subprocess.Popen[bytes]) -> Any:
    """Let a trial end by the signal that ends the sweep; it is gone on with when the sweep is started again."""

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    except SystemExit:
        process.terminate()
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
