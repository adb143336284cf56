"""Sentences that a terminal can show."""

from lightning_mri.messages import printable, sentence


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("Grün, µ, 脳 \x1b[2J\r\x9b\u202e\udcff") == "Grün, µ, 脳 \\x1b[2J\\r\\x9b\\u202e\\udcff"
    assert sentence(ValueError("two\n  lines\x1b[31m")) == "two lines\\x1b[31m"
    assert sentence(EOFError()) == "EOFError"
