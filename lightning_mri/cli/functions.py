"""Commands that call one function each: their options are its arguments."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from lightning_mri.cli import meant
from lightning_mri.cli.options import LIST, parse
from lightning_mri.datasets import prepare_folder
from lightning_mri.datasets import simulate as simulate_folder
from lightning_mri.reconstruction import calibrate as measure_error_bars
from lightning_mri.weights import export_weights, import_weights, show


def simulate(arguments: list[str]) -> None:
    """Make synthetic scans."""
    _call("simulate", simulate_folder, arguments)


def prepare(arguments: list[str]) -> None:
    """Make raw scans a folder to train on."""
    print(_call("prepare", prepare_folder, arguments))


def calibrate(arguments: list[str]) -> None:
    """Measure how often error bars hold."""
    print(_call("calibrate", measure_error_bars, arguments))


def weights(arguments: list[str]) -> None:
    """Show, import or export a prior."""
    _choose("weights", {"show": show, "import": import_weights, "export": export_weights}, arguments, ("path",))


def reader_study(arguments: list[str]) -> None:
    """Create or analyze a blinded reader study, or plan how many patients it takes."""
    study = importlib.import_module("lightning_mri.reconstruction.reader_study")  # its statistics are an extra
    functions = {
        "create": study.create_reader_study,
        "analyze": study.analyze_reader_study,
        "plan": study.plan_reader_study,
    }
    _choose("reader-study", functions, arguments)


def _choose(
    name: str, functions: Mapping[str, Callable[..., Any]], arguments: list[str], positional: Sequence[str] = ()
) -> None:
    """Print what one of several functions returns; the first word names it."""
    if arguments == [LIST]:
        print("\n".join(functions))
        return
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: lightning-mri {name} {{{','.join(functions)}}} [options]\n")
        print("\n".join(f"  {each:10}{_first_line(function)}" for each, function in functions.items()))
        return
    first, *options = arguments
    if first not in functions:
        words = f"{', '.join(functions)}: got {first}{meant(first, functions)}"
        raise ValueError(f"lightning-mri {name} must be followed by one of {words}")
    print(_call(f"{name} {first}", functions[first], options, positional))


def _call(name: str, function: Callable[..., Any], arguments: list[str], positional: Sequence[str] = ()) -> Any:
    """Return what a function returns for a command line, or a YAML file, that names its arguments."""
    parser = ArgumentParser(prog=f"lightning-mri {name}", description=_first_line(function), exit_on_error=False)
    for each in positional:
        parser.add_argument(each, type=str, help="File, or the name of a shipped prior.")
    parser.add_argument("--config", action="config", help="YAML file with any of these.")
    parser.add_function_arguments(function, skip=set(positional))
    values = parser.instantiate(parse(parser, arguments)).as_dict()
    values.pop("config")
    return function(**values)


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]
