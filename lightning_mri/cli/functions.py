"""Commands that call one function each: their options are its arguments."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_mri.cli import meant
from lightning_mri.cli.mistakes import first_sentence, rules_of_constructors
from lightning_mri.cli.options import command_parser, parse
from lightning_mri.cli.pages import HELP, LIST
from lightning_mri.lazy import lazy
from lightning_mri.messages import count

# what a command does not need is not imported for it
datasets, reconstruction = lazy("lightning_mri.datasets"), lazy("lightning_mri.reconstruction")
priors, studies = lazy("lightning_mri.weights"), lazy("lightning_mri.reconstruction.reader_study")
reports = lazy("lightning_mri.training.report")

PRIOR = ("path",)
WEIGHTS = {"show": "show", "import": "import_weights", "export": "export_weights"}
READER_STUDY = {"create": "create_reader_study", "analyze": "analyze_reader_study", "plan": "plan_reader_study"}


def simulate(arguments: list[str]) -> None:
    """Make synthetic scans."""
    files = _call("simulate", datasets.simulate, arguments)
    folders = dict.fromkeys(str(file.parent) for file in files)
    print(f"{count(len(files), 'scan')} written to {' and '.join(folders)}")


def prepare(arguments: list[str]) -> int:
    """Make raw scans a folder to train on; return 3 if some scans failed."""
    prepared = _call("prepare", datasets.prepare_folder, arguments)
    print(prepared)
    return 3 if prepared.failures else 0


def calibrate(arguments: list[str]) -> None:
    """Measure how often error bars hold."""
    print(_call("calibrate", reconstruction.calibrate, arguments))


def report(arguments: list[str]) -> None:
    """Write one page about runs of fit, predict and test."""
    parser = command_parser("report", "Write one page about runs of fit, predict and test.")
    parser.add_argument("runs", nargs="+", type=Path, help="Folders that fit, predict or test has written.")
    parser.add_argument("--output_dir", type=Path, required=True, help="Folder for the page and its slices.")
    print(reports.report(**parse(parser, arguments).as_dict()))


def weights(arguments: list[str]) -> None:
    """Show, import or export a prior."""
    _choose("weights", priors, WEIGHTS, arguments, PRIOR)


def reader_study(arguments: list[str]) -> None:
    """Create or analyze a blinded reader study, or plan how many patients it takes."""
    _choose("reader-study", studies, READER_STUDY, arguments)


def _choose(
    name: str, module: Any, functions: Mapping[str, str], arguments: list[str], positional: Sequence[str] = ()
) -> None:
    """Print what one of several functions of a module returns; the first word names it."""
    if arguments == [LIST]:
        print("\n".join(functions))
        return
    if not arguments or arguments[0] in HELP:
        print(f"usage: lightning-mri {name} {{{','.join(functions)}}} [options]\n")
        print("\n".join(f"  {each:10}{_first_line(getattr(module, function))}" for each, function in functions.items()))
        return
    first, *options = arguments
    if first not in functions:
        words = f"{', '.join(functions)}: got {first}{meant(first, functions)}"
        raise ValueError(f"lightning-mri {name} must be followed by one of {words}")
    print(_call(f"{name} {first}", getattr(module, functions[first]), options, positional))


def _call(name: str, function: Callable[..., Any], arguments: list[str], positional: Sequence[str] = ()) -> Any:
    """Return what a function returns for a command line, or a YAML file, that names its arguments."""
    parser = command_parser(name, _first_line(function))
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
    return f"{first_sentence(function.__doc__ or '')}."
