"""Commands: what the user types. One function a command, one table of them."""

import difflib
import importlib
import os
import signal
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lightning_mri import __version__
from lightning_mri.lazy import MissingExtraError
from lightning_mri.messages import sentence
from lightning_mri.origin import IMPORTED


@dataclass(frozen=True)
class Command:
    """A command and where it is; its module is imported when it runs, so that help needs none of them."""

    # module of this subpackage and function in it, which takes the command line behind the command's name and may
    # return an exit code
    function: str
    summary: str  # what it does, for the overview
    example: str  # what to type, for the overview

    def load(self) -> Callable[[list[str]], int | None]:
        """Import the function."""
        module, name = self.function.split(":")
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)


COMMANDS = {
    "predict": Command("reconstruct:predict", "reconstruct scans", "predict --data.root PATH --output_dir DIR"),
    "test": Command("reconstruct:test", "compare with baselines", "test --data.root FOLDER --output_dir DIR"),
    "fit": Command("fit:fit", "train or fine-tune a prior", "fit --config finetune/synthetic_flair --data.root FOLDER"),
    "report": Command("functions:report", "one page about runs", "report RUN... --output_dir DIR"),
    "sweep": Command(
        "sweep:sweep", "choose settings of fit", "sweep sweeps/finetune --data.root FOLDER --output_dir DIR"
    ),
    "inspect": Command("inspect:inspect", "see what is in a scan", "inspect PATH --preview picture.png"),
    "prepare": Command(
        "functions:prepare", "make scans a data set", "prepare --config prepare --root FOLDER --output_dir DIR"
    ),
    "weights": Command(
        "functions:weights",
        "show or convert a prior",
        "weights show NAME_OR_FILE; weights import FILE --layout EDMFamily --output FILE",
    ),
    "calibrate": Command("functions:calibrate", "measure error bars", "calibrate --output_dir DIR"),
    "reader-study": Command(
        "functions:reader_study",
        "have images compared blindly",
        "reader-study create --reference DIR --test DIR --output_dir PACKAGE --key KEY.json",
    ),
    "validate": Command(
        "validate:validate", "score a prior on held-out scans", "validate --data.root FOLDER --model.prior CHECKPOINT"
    ),
    "simulate": Command("functions:simulate", "make synthetic scans", "simulate --output_dir DIR"),
    "completion": Command("completion:completion", "complete words by TAB", 'eval "$(lightning-mri completion bash)"'),
}

OVERVIEW = """\
lightning-mri: MRI reconstruction with diffusion priors

{commands}

PATH is a scan or a folder of scans: fastMRI HDF5, ISMRMRD, Bruker, BART, MATLAB or NumPy, with zeros where nothing was
acquired; NIfTI or DICOM images. Mask, calibration lines, coil maps, noise level and scale are found in the data.

Options of a command: lightning-mri COMMAND --help.   Version: --version.   Traceback of an error: add --debug.
"""

OF_ALL = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
"""Options that every command has."""
OF_ALL.add_argument("--debug", action="store_true")
OF_ALL.add_argument("--import", action="append", default=[], dest="modules")


def run(arguments: list[str]) -> None:
    """Run one command; what the user can mend is told in one sentence, with exit code 2; 130 after Ctrl-C."""
    sys.argv = [sys.argv[0], *arguments]  # Lightning starts further processes with it
    try:
        given, rest = OF_ALL.parse_known_args(arguments)
        use_own_parts(given.modules)
        code = _run(*map(_with_home, rest))
    except (ArgumentError, ValueError, OSError, ModuleNotFoundError) as error:
        told = MissingExtraError.of(error) if isinstance(error, ModuleNotFoundError) else error
        if "--debug" in arguments or told is None:
            raise
        print(f"error: {sentence(told)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if "--debug" in arguments:
            raise
        print("stopped by SIGINT", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    if code:
        sys.exit(code)


def _run(name: str = "--help", *options: str) -> int | None:
    if name in ("--help", "-h"):
        width = max(len(command.summary) for command in COMMANDS.values())
        commands = [f"  {command.summary:{width}}  {command.example}" for command in COMMANDS.values()]
        print(OVERVIEW.format(commands="\n".join(commands)), end="")
        return None
    if name == "--version":
        print(f"lightning-mri {__version__}")
        return None
    if name not in COMMANDS:
        raise ValueError(f"the command must be one of {', '.join(COMMANDS)}: got {name!r}{meant(name, COMMANDS)}")
    return COMMANDS[name].load()([*options])


def _with_home(word: str) -> str:
    """Return a word of a command line in which a path is written out, behind ``=``, too, where shells leave it."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return f"{option}{equals}{home_for_tilde(value)}"


def home_for_tilde(text: str) -> str:
    """Return a path in which the ``~/`` that it begins with, or ``~user/``, is written out; other text as it is."""
    return os.path.expanduser(text) if text.startswith("~") and "/" in text else text


def meant(word: str, words: Iterable[str]) -> str:
    """Return the question whether the nearest of some words was meant, in any case; nothing if none is near."""
    by_lower = {each.lower(): each for each in words}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def use_own_parts(names: list[str]) -> None:
    """Import the modules of the user's that a command line allows by ``--import``.

    A checkpoint that names a network from one of them can then be loaded, a file format in it is read; no file ever has
    anything imported by itself.
    """
    IMPORTED[:] = names
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            module = importlib.import_module(name)
        except (ImportError, ValueError) as error:
            raise ValueError(
                f"--import needs the name of a module in this folder or on the path: got {name!r}: {error}"
            ) from error
        if hasattr(module, "locate") and hasattr(module, "read"):
            importlib.import_module("lightning_mri.io").add_format(module)
