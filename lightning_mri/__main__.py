"""The command: ``python -m lightning_mri`` and ``lightning-mri`` are the same thing."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning_mri.cli import run
from lightning_mri.cli.pages import help_for
from lightning_mri.messages import printable


def main(arguments: list[str] | None = None) -> None:
    """Run one command line; exit code 2 and one sentence for input that can't be used."""
    whole_process, arguments = arguments is None, sys.argv[1:] if arguments is None else arguments
    if (text := help_for(arguments)) is not None:
        print(text, end="")
    else:
        with harmless_output(to_the_end=whole_process):
            run(arguments)


class Harmless:
    """A stream that a terminal shows and never obeys, whatever file names and headers hold.

    Colours and cursor movements are left out, other control characters escaped; progress bars return to the start of
    a line, or go to another.
    """

    SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
    BETWEEN_BARS = re.compile(r"(?:\n|\x1b\[A)+")
    KEPT = re.compile(r"(^\r|\r?\n|\t)")

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write what is harmless."""
        if not text.isprintable() and not self.BETWEEN_BARS.fullmatch(text):
            parts = self.KEPT.split(self.SEQUENCE.sub("", text))
            text = "".join(part if self.KEPT.fullmatch(part) else printable(part) for part in parts)
        with self._while_read():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting."""
        with self._while_read():
            self.stream.flush()

    @contextmanager
    def _while_read(self) -> Iterator[None]:
        """End the process where whoever read its output has seen enough, as `head` has, with the code of SIGPIPE."""
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())  # for what is still waiting
            sys.exit(141)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def harmless_output(to_the_end: bool) -> Iterator[None]:
    """Let output pass through `Harmless`, that of libraries, too."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Harmless(sys.stdout), Harmless(sys.stderr)
    try:
        yield
    finally:
        if not to_the_end:
            sys.stdout, sys.stderr = streams


if __name__ == "__main__":
    main()
