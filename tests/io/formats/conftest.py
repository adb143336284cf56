"""What tests of formats have in common."""

import pytest

from tests.builders import RNG

START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def own_numbers() -> None:
    """Let each test draw the same numbers whichever tests ran before it: one in many failed by those it got."""
    RNG.bit_generator.state = START
