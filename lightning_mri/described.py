"""Objects made from plain values that a file holds, and from nothing that it may name besides."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from inspect import isabstract
from numbers import Integral, Real
from typing import Any, TypeVar, get_type_hints

Base = TypeVar("Base")


def build(base: type[Base], what: str, description: Mapping[str, Any]) -> Base:
    """Make one of the classes derived from ``base``, from ``{"class": name, "arguments": {...}}``.

    An argument that is annotated as a dataclass is made from the mapping that stands for it.

    Args:
        base: The abstract class; only what is derived from it, directly or not, and has no abstract method is made.
        what: What it is called in an error.
        description: Name of the class and its arguments as plain values.

    Raises:
        ValueError: If the class is not known, or does not take the arguments.
    """
    known = {name_of(kind): kind for kind in derived(base)}
    name, arguments = description.get("class"), description.get("arguments", {})
    if name not in known:
        module = name.rpartition(".")[0] if isinstance(name, str) else ""
        hint = f"; a class from elsewhere must be allowed by --import {module}, or be imported" if module else ""
        raise ValueError(f"{what} must be one of {', '.join(sorted(known))}: got {name!r}{hint}")
    hints = get_type_hints(known[name].__init__)
    try:
        return known[name](**{key: _nested(hints.get(key), value) for key, value in arguments.items()})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{name} must take the arguments in its description: {error}") from error


def check_flags(made: Any) -> None:
    """Check that the fields of a dataclass which are True or False by their annotation are: "no" would count as true.

    Raises:
        ValueError: If one is anything else.
    """
    for each in fields(made):
        if each.type is bool and not isinstance(value := getattr(made, each.name), bool):
            raise ValueError(f"{each.name} must be True or False: got {value!r}")


def check_numbers(made: Any) -> None:
    """Check that the fields of a dataclass which are numbers by their annotation are: "4" has no order among them.

    Raises:
        ValueError: If one is anything else.
    """
    rules: dict[Any, tuple[type, str]] = {int: (Integral, "a whole number"), float: (Real, "a number")}
    for each in fields(made):
        kind, rule = rules.get(each.type, (object, ""))
        value = getattr(made, each.name)
        if not isinstance(value, kind) or (rule and isinstance(value, bool)):
            raise ValueError(f"{each.name} must be {rule}: got {value!r}")


def derived(base: type[Base]) -> Iterator[type[Base]]:
    """Yield all imported classes that are derived from ``base``, directly or not, but for the abstract ones."""
    for kind in base.__subclasses__():
        if not isabstract(kind):
            yield kind
        yield from derived(kind)


def name_of(kind: type) -> str:
    """Return the name of a class of this package, and the module, too, of one from elsewhere."""
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    return kind.__name__ if ours else f"{kind.__module__}.{kind.__name__}"


def _nested(kind: Any, value: Any) -> Any:
    """Return the dataclass that a mapping stands for, and other values as they are."""
    return kind(**value) if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping) else value
