"""What the command prints is harmless to a terminal, and ends quietly where nobody reads it."""

import io
import os

import pytest

from lightning_mri.__main__ import Harmless


def test_progress_bars_still_move() -> None:
    out = io.StringIO()
    stream = Harmless(out)
    for text in ("\r 50% |", "\n", "\x1b[A\x1b[A", "a\rb", "\x1b[1mbold\x1b[0m\t"):
        stream.write(text)
    assert out.getvalue() == "\r 50% |\n\x1b[A\x1b[Aa\\rbbold\t"


def test_a_reader_who_has_seen_enough_ends_the_command_in_silence() -> None:
    """As `head` does; 141 is the code of SIGPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        Harmless(out).write("much")
        with pytest.raises(SystemExit) as stop:
            Harmless(out).flush()
    assert stop.value.code == 141
