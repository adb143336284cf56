"""Runs that end at their next whole batch when they are asked to, instead of at once or not at all."""

import os
import signal
from types import FrameType

from pytorch_lightning import Callback, LightningModule, Trainer

ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Stopped(SystemExit):
    """End of a run that a signal asked for; the exit code is 128 plus the signal's number, as a shell has it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class StopSignals(Callback):
    """Notes SIGTERM, SIGINT, SIGUSR1 and SIGHUP until a batch is done.

    Lightning's own handlers end a run with exit code 0, or save in the middle of a step. A second SIGINT interrupts
    at once. A signal that whoever started the process had it ignore, as ``nohup`` does with SIGHUP, stays ignored.
    As the first callback of a training, it listens before any other does something.

    Attributes:
        received: The signal that this process was sent, if any.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process = os.getpid()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        self.listen(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        self.listen(trainer)

    def listen(self, trainer: Trainer) -> None:
        """Take over the signals; Lightning has set its handlers by ``on_train_start`` and ``on_predict_start``."""
        if trainer.received_sigterm:
            self.received = signal.SIGTERM
        self._process = os.getpid()
        for number in (*ENDING, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def ignore(self) -> None:
        """Give the signals back: from here on they end the process."""
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self, trainer: Trainer) -> None:
        """End the run, in all of its processes, if one of them was asked to."""
        asked = self.received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            raise Stopped(self.received or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that inherited the handler
            return
        if number == signal.SIGINT == self.received:
            raise KeyboardInterrupt
        self.received = number
