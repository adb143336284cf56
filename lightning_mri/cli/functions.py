"""Commands that call one function each: their options are its arguments."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from lightning_mri.cli import meant
from lightning_mri.cli.mistakes import rules_of_constructors
from lightning_mri.cli.options import LIST, parse
from lightning_mri.files import count

PRIOR = ("path",)
WEIGHTS = {"show": "show", "import": "import_weights", "export": "export_weights"}
READER_STUDY = {"create": "create_reader_study", "analyze": "analyze_reader_study", "plan": "plan_reader_study"}


def simulate(arguments: list[str]) -> None:
    """Make synthetic scans."""
    files = _call("simulate", _of("datasets", "simulate"), arguments)
    folders = dict.fromkeys(str(file.parent) for file in files)
    print(f"{count(len(files), 'scan')} written to {' and '.join(folders)}")


def prepare(arguments: list[str]) -> int:
    """Make raw scans a folder to train on; return 3 if some scans failed."""
    prepared = _call("prepare", _of("datasets", "prepare_folder"), arguments)
    print(prepared)
    return 3 if prepared.failures else 0


def calibrate(arguments: list[str]) -> None:
    """Measure how often error bars hold."""
    print(_call("calibrate", _of("reconstruction", "calibrate"), arguments))


def weights(arguments: list[str]) -> None:
    """Show, import or export a prior."""
    _choose("weights", "weights", WEIGHTS, arguments, PRIOR)


def reader_study(arguments: list[str]) -> None:
    """Create or analyze a blinded reader study, or plan how many patients it takes."""
    _choose("reader-study", "reconstruction.reader_study", READER_STUDY, arguments)


def _of(module: str, name: str) -> Callable[..., Any]:
    """Import a function: what a command does not need is not imported for it."""
    function: Callable[..., Any] = getattr(importlib.import_module(f"lightning_mri.{module}"), name)
    return function


def _choose(
    name: str, module: str, functions: Mapping[str, str], arguments: list[str], positional: Sequence[str] = ()
) -> None:
    """Print what one of several functions of a module returns; the first word names it."""
    if arguments == [LIST]:
        print("\n".join(functions))
        return
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: lightning-mri {name} {{{','.join(functions)}}} [options]\n")
        print("\n".join(f"  {each:10}{_first_line(_of(module, function))}" for each, function in functions.items()))
        return
    first, *options = arguments
    if first not in functions:
        words = f"{', '.join(functions)}: got {first}{meant(first, functions)}"
        raise ValueError(f"lightning-mri {name} must be followed by one of {words}")
    print(_call(f"{name} {first}", _of(module, functions[first]), options, positional))


def _call(name: str, function: Callable[..., Any], arguments: list[str], positional: Sequence[str] = ()) -> Any:
    """Return what a function returns for a command line, or a YAML file, that names its arguments."""
    parser = ArgumentParser(prog=f"lightning-mri {name}", description=_first_line(function), exit_on_error=False)
    for each in positional:
        parser.add_argument(each, type=str, help="File, or the name of a shipped prior.")
    parser.add_argument("--config", action="config", help="YAML file with any of these.")
    parser.add_function_arguments(function, skip=set(positional))
    parsed = parse(parser, arguments)
    with rules_of_constructors():
        values = parser.instantiate(parsed).as_dict()
    values.pop("config")
    return function(**values)


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]
