"""Commands that call one function each: their options are its arguments."""

from collections.abc import Callable
from typing import Any

from jsonargparse import ArgumentParser

from lightning_mri.cli.options import parse
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
    functions: dict[str, Callable[..., str]] = {"show": show, "import": import_weights, "export": export_weights}
    parser = ArgumentParser(prog="lightning-mri weights", exit_on_error=False)
    commands = parser.add_subcommands(dest="command")
    for name, function in functions.items():
        command = ArgumentParser(exit_on_error=False)
        command.add_argument("path", type=str, help="File, or the name of a shipped prior.")
        command.add_function_arguments(function, skip={"path"})
        commands.add_subcommand(name, command)
    if not arguments or arguments[0] not in functions:
        parser.print_help()
    values = parser.instantiate(parse(parser, arguments))
    print(functions[values.command](**values[values.command].as_dict()))


def _call(name: str, function: Callable[..., Any], arguments: list[str]) -> Any:
    """Return what a function returns for a command line, or a YAML file, that names its arguments."""
    parser = ArgumentParser(prog=f"lightning-mri {name}", description=_first_line(function), exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these.")
    parser.add_function_arguments(function)
    values = parser.instantiate(parse(parser, arguments)).as_dict()
    values.pop("config")
    return function(**values)


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]
