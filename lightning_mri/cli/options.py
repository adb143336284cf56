"""Command lines: options in any order, configurations by name, help that fits a screen."""

import difflib
import json
import sys
from argparse import SUPPRESS, Action, ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

import yaml  # type: ignore[import-untyped]
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader

from lightning_mri.cli import home_for_tilde
from lightning_mri.cli.mistakes import ANY_CLASS, class_names, corrected, first_sentence, import_object, refuse_null
from lightning_mri.cli.pages import HELP, LIST
from lightning_mri.messages import error_context

CONFIGURATIONS = Path(__file__).parents[1] / "configs"
CONFIG = ("-c", "--config")
WIDTH = 120
LABEL = 38
MOST_CHOICES = 4
YAML = get_loader("yaml")


def _load(text: str) -> Any:
    """Read YAML in which None is null, too, and paths may begin with ``~/``.

    With None jsonargparse hands on the null of ``--data.degradation.t2star_s``.
    """
    return _settled(YAML(text))


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _settled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_settled(part) for part in value]
    if isinstance(value, str):
        return None if value == "None" else home_for_tilde(value)
    return value


set_loader("yaml", _load, (yaml.YAMLError,))


def command_parser(name: str, about: str) -> ArgumentParser:
    """Return the parser of a command, which has no options yet and leaves errors to `parse`."""
    return ArgumentParser(prog=f"lightning-mri {name}", description=about, exit_on_error=False)


def parse(parser: ArgumentParser, arguments: Sequence[str], shown: Sequence[str] = ()) -> Namespace:
    """Return the options of a command line; files given by ``--config`` come first, so that the line wins over them."""
    if set(HELP) & set(arguments):
        print(short_help(parser, shown))
        sys.exit(0)
    if list(arguments) == [LIST]:
        print("\n".join(name for name, _, _ in described_options(parser) if name.startswith("--")))
        sys.exit(0)
    if "--help-all" in arguments:
        parser.print_help()
        sys.exit(0)
    for word, value in pairwise([*arguments, "--"]):
        if word.endswith(".help") and value.startswith("--") and (names := class_names(parser, word[2:])):
            raise ValueError(f"{word} must be followed by one of {', '.join(names)}")
    try:
        options = parser.parse_args(in_order(arguments))
    except ArgumentError as error:
        raise ValueError(corrected(parser, str(error))) from error
    refuse_null(options)
    return options


def in_order(arguments: Sequence[str]) -> list[str]:
    """Return a command line with files first, and ``--data``, which chooses a class, before ``--data.root``."""
    groups: list[list[str]] = [[]]
    for word in arguments:
        if word.startswith("--") or word in CONFIG:
            groups.append([])
        groups[-1].append(word)
    positional, *options = groups
    split = [[*option[0].split("=", 1), *option[1:]] if _names_config(option) else option for option in options]
    named = [[each[0], str(find_configuration(each[1])), *each[2:]] if _names_config(each) else each for each in split]
    ordered = sorted(named, key=lambda option: 0 if option[0] in CONFIG else 1 + option[0].split("=")[0].count("."))
    return [*positional, *(word for option in ordered for word in option)]


def _names_config(option: Sequence[str]) -> bool:
    return (option[0] in CONFIG and len(option) > 1) or option[0].startswith("--config=")


def find_configuration(name: str) -> Path:
    """Return the file of a configuration: a path, or the name of one that ships, such as ``finetune/stroke_flair``.

    The name may be written as a path below ``experiments/`` as well: ``experiments/finetune/stroke_flair.yaml``.
    """
    if Path(name).is_file():
        with error_context(Path(name), "a configuration must be YAML that names options"):
            content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"got {content!s:.40}")
        return Path(name)
    short = name.rpartition("experiments/")[2].removesuffix(".yaml")
    shipped = CONFIGURATIONS / f"{short}.yaml"
    if shipped.is_file() and CONFIGURATIONS in shipped.resolve().parents:
        return shipped
    names = configurations()
    near = difflib.get_close_matches(short, names, n=1, cutoff=0.5)
    tops = dict.fromkeys(f"{each.partition('/')[0]}/..." if "/" in each else each for each in names)
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(tops)}"
    raise FileNotFoundError(f"config {name} must be a file or the name of a shipped configuration: {hint}")


def configurations(part: str = "") -> list[str]:
    """Return the names of the configurations that ship; of those alone that set a part, such as ``phase``."""
    files = [file for file in CONFIGURATIONS.rglob("*.yaml") if not part or f"\n{part}:" in file.read_text()]
    return sorted(file.relative_to(CONFIGURATIONS).with_suffix("").as_posix() for file in files)


def short_help(parser: ArgumentParser, shown: Sequence[str] = ()) -> str:
    """Return the options that most people need, one line each, with what they are by default."""
    words = " ".join(action.dest.upper() for action in parser._actions if not action.option_strings)
    lines = [f"usage: {parser.prog} {words} [options]".replace("  ", " "), "", parser.description or ""]
    before = ".none"
    for name, default, text in described_options(parser):
        if shown and not name.startswith(tuple(shown)):
            continue
        if name.partition(".")[0] != before.partition(".")[0] and "." in name + before:
            lines.append("")
        before = name
        label = f"  {name} {default}".rstrip()
        if len(label) > LABEL - 2:
            lines.append(label)
            label = ""
        for part in wrap(text, WIDTH - LABEL) or [""]:
            lines.append(f"{label:{LABEL}}{part}".rstrip())
            label = ""
    if any(action.dest == "config" for action in parser._actions):
        lines += [
            "",
            "--config takes a file or the name of a shipped configuration; what the command line says wins over it.",
            "--print_config shows what a command line amounts to. Every option: --help-all.",
        ]
    return "\n".join(lines)


def described_options(parser: ArgumentParser) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and first sentence of each option; behind one that chooses a class, those of its default."""
    for action in parser._actions:
        if action.default is SUPPRESS or action.help is SUPPRESS or action.dest.count(".") > 1:
            continue
        name = action.option_strings[-1].removesuffix("+") if action.option_strings else action.dest.upper()
        text = first_sentence(str(action.help or ""))
        if text.startswith(ANY_CLASS):
            names = class_names(parser, action.dest) if action.default is None else []
            kind = f"One of {', '.join(names)}" if names else "Class to use"
            text = f"{kind}; {name}.help CLASS tells of its options"
        if isinstance(action.default, Mapping | Namespace) and "class_path" in action.default and name.count(".") == 0:
            path = str(action.default["class_path"])
            yield name, path.rpartition(".")[2], text
            nested = ArgumentParser()
            nested.add_class_arguments(import_object(path), action.dest)
            yield from described_options(nested)
        else:
            yield name, _value(action), text


def _value(action: Action) -> str:
    """Return an option's default as it would be typed, or else what it takes."""
    default = action.default
    if action.dest == "config":
        return "FILE"
    if action.required and action.option_strings:
        return "(required)"
    if default is None or isinstance(default, Mapping | Namespace) or is_dataclass(default):
        choices = _choices(getattr(action, "_typehint", None))
        return "|".join(choices) if len(choices) <= MOST_CHOICES else ""
    if isinstance(default, bool):
        return "" if action.nargs == 0 else str(default).lower()
    return json.dumps(list(default)) if isinstance(default, tuple | list) else str(default)


def _choices(hint: Any) -> list[str]:
    """Return the words that a type leaves to choose from."""
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    return [choice for part in get_args(hint) for choice in _choices(part)]
