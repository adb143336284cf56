"""What is wrong with a command line, in one sentence with the nearest right word, from what jsonargparse says of it."""

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from lightning_mri.cli import meant
from lightning_mri.origin import IMPORTED

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "pathlib.Path": "a path",
    "collections.abc.Sequence": "a list, such as [2,4]",
    "tuple": "a list, such as [2,4]",
    "collections.abc.Mapping": "names and values, such as {name: value}",
}

ANY_CLASS = "One or more arguments specifying"
OF_SEVERAL = "Does not validate against any of the Union"
LIBRARIES = ("pytorch_lightning.", "torch.")
OWN = ("lightning_mri.", *LIBRARIES)


def corrected(parser: argparse.ArgumentParser, message: str) -> str:
    """Return one sentence for an error of parsing: which option, the rule, what came, and what was probably meant."""
    message = " ".join(message.split())
    return _corrected(parser, message) or message


def _corrected(parser: argparse.ArgumentParser, message: str, start: str = "") -> str | None:
    """Return the sentence; None for what is not known here.

    Args:
        parser: What has the options.
        message: What jsonargparse says.
        start: What options begin with that the message names without it: those of a class that an option names.
    """
    options = _options(parser)
    if found := re.search(r"(?:unrecognized arguments|ambiguous option): (--?[^\s=]+)", message):
        return f"{found[1]} is no option of {parser.prog}{meant(found[1], options)}"
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        hint = f"; did you mean --data.root {found[1]}?" if "--data" in options else f": see {parser.prog} --help"
        return f"{found[1]} must follow the name of an option{hint}"
    if found := re.search(r"argument (?:\S+/)?(--\S+): expected", message):
        return f"{found[1]} must be followed by a value{_help(parser, found[1].removeprefix('--'))}"
    if found := re.match(
        r'the following arguments are required: (?:--)?([\w.]+)|Parser key "(\S+)": .*Got value: None$', message
    ):
        return _missing(parser, start + (found[1] or found[2]))
    if found := re.search(r"(?:Group '(\S+)' does not accept option|^Option) '(\S+)'", message):
        name = f"--{start}{found[1]}.{found[2]}" if found[1] else f"--{start}{found[2]}"
        return f"{name} is no option of {parser.prog}{meant(name, options)}"
    if found := re.match(r'(?:Parser key "([^"]+)"|--(\S+\.help)): (.*)', message):
        return _of_key(start + (found[1] or found[2]), found[3], parser)
    return None


@contextmanager
def rules_of_constructors() -> Iterator[None]:
    """Let a constructor's own error through, where jsonargparse lists all that would have been taken instead."""
    try:
        yield
    except ValueError as error:
        rule: BaseException = error
        while str(rule).startswith(OF_SEVERAL) and rule.__cause__ is not None:
            rule = rule.__cause__
        raise rule from None


def refuse_null(options: Namespace, start: str = "") -> None:
    """Refuse a null for an option of a class that takes none: jsonargparse looks at those of the command alone."""
    for name, value in vars(options).items():
        if not isinstance(value, Namespace):
            continue
        key, given = f"{start}{name}", value.get("init_args") or value
        kind = import_object(value["class_path"]) if "class_path" in value else None
        for option, hint in (get_type_hints(kind.__init__) if kind else {}).items():
            if hint is not Any and NoneType not in get_args(hint) and given.get(option, ...) is None:
                raise ValueError(f"--{key}.{option} must not be null")
        refuse_null(given, f"{key}.")


def _of_key(key: str, message: str, parser: argparse.ArgumentParser) -> str:
    """Return one sentence for the value of an option, which may be a class with options of its own."""
    nested = re.search(r"Problem with given class_path '(\S+)': (.*)", message)
    if nested and nested[1].startswith(LIBRARIES) and class_names(parser, key):
        return _missing(parser, key)  # the base, whose option was given without a class
    if nested and (kind := import_object(nested[1])):
        of_class = ArgumentParser(prog=kind.__name__)
        of_class.add_class_arguments(kind, key)
        if told := _corrected(of_class, nested[2], f"{key}."):
            return told
    came = re.search(r"(?:Given value|Got value|import path string): (.*?)(?: - |$)", message)
    got = f": got {came[1]}" if came else ""
    if literals := re.findall(r"Literal\[(.*?)\]", message):
        choices = list(dict.fromkeys(choice.strip("'\" ") for choice in ",".join(literals).split(",")))
        return f"--{key} must be one of {', '.join(choices)}{got}{meant(came[1] if came else '', choices)}"
    if names := _names_in(message) or (class_names(parser, key) if "import path string" in message else []):
        return _of_class(parser, key, message, names, came[1] if came else "NestedArg")
    if found := re.search(r"Expected a tuple with (\d+) elements?", message):
        return f"--{key} must be {found[1]} values, such as [{','.join('1' * int(found[1]))}]{got}"
    for kind in re.findall(r"Expected a <class '(\S+?)'>", message):
        if kind in KINDS:
            return f"--{key} must be {KINDS[kind]}{got}"
    if "<class '" in message:
        return f"--{key} must be another kind of value{got}"
    return f"--{key}: {message.split(' Given value type')[0]}"


def _of_class(parser: argparse.ArgumentParser, key: str, message: str, names: Sequence[str], came: str) -> str:
    """Return one sentence for an option that takes a class of some names."""
    unknown = re.search(r"has no attribute '(\w+)'", message)
    if not unknown and "NestedArg" in came:
        return _missing(parser, key)  # an option of it was given alone
    word = unknown[1] if unknown else came
    return f"--{key} must be one of {', '.join(names)}: got {word}{meant(word, names)}"


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser that a user may have meant."""
    options = [option for action in parser._actions for option in action.option_strings]
    return [option for option in options if not option.endswith((".help", "+"))]


def _names_in(message: str) -> list[str]:
    """Return the names of the classes that may stand where the one may that a message names; none if it names none."""
    named = re.search(rf"<class '((?:{'|'.join(map(re.escape, OWN))})\S+?)'>", message)
    base = import_object(named[1]) if named else None
    return sorted(_names(base)) if base else []


def class_names(parser: argparse.ArgumentParser, dest: str) -> list[str]:
    """Return the names of the classes that an option takes, or its help, sorted; none if it takes no class."""
    dest = dest.removesuffix(".help")
    hint = next((getattr(action, "_typehint", None) for action in parser._actions if action.dest == dest), None)
    kinds = [kind for kind in (hint, *get_args(hint)) if inspect.isclass(kind) and kind.__subclasses__()]
    if not kinds or not kinds[0].__module__.startswith(OWN):
        return []
    return sorted(_names(kinds[0], ("lightning_mri", *IMPORTED)))


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring as plain text, without the names of code that it points to."""
    return re.sub(r"[,;]? see `\w+`|`", "", " ".join(text.split()).split(". ")[0].removesuffix("."))


def _missing(parser: argparse.ArgumentParser, dest: str) -> str:
    """Return the sentence for an option that must be given."""
    named = f"--{dest}" if f"--{dest}" in _options(parser) else dest.upper()
    return f"{named} is missing{_help(parser, dest)}"


def _help(parser: argparse.ArgumentParser, dest: str) -> str:
    """Return what is said of an option, as a clause."""
    if names := class_names(parser, dest):
        return f": one of {', '.join(names)}"
    text = first_sentence(next((action.help or "" for action in parser._actions if action.dest == dest), ""))
    # "Folder to write to" goes on in lower case, "W&B sweep file" and "PNG to draw into" do not
    is_word = re.match(r"[A-Z][a-z]*\b(?!&)", text) is not None
    return f": {text[:1].lower() if is_word else text[:1]}{text[1:]}" if text else ""


def import_object(path: str) -> Any:
    """Return the object of a dotted path; None if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def _names(base: Any, modules: Sequence[str] = ("",)) -> set[str]:
    """Return the names of this package's and the user's classes that may stand where a base may, of some modules."""
    kinds: list[Any] = [base]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {
        kind.__name__
        for kind in kinds
        if not inspect.isabstract(kind)
        and not kind.__module__.startswith(LIBRARIES)
        and kind.__module__.startswith(tuple(modules))
    }
