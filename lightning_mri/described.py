"""Objects made from plain values that a file holds, and from nothing that it may name besides."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from inspect import isabstract
from numbers import Integral, Real
from typing import Any, TypeVar, get_type_hints

Base = TypeVar("Base")
PLAIN: dict[Any, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
}
"""What a value of an annotation must be an instance of, and the words for it; True is no number."""


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


def check_fields(made: Any, *kinds: type) -> None:
    """Check the fields of a dataclass that are of some kinds by their annotation: "no" would count as true.

    Args:
        made: Object of a dataclass.
        kinds: Some of bool, int and float.

    Raises:
        ValueError: If one is anything else.
    """
    for each in fields(made):
        if each.type in kinds:
            value, (kind, rule) = getattr(made, each.name), PLAIN[each.type]
            if not isinstance(value, kind) or (isinstance(value, bool) and each.type is not bool):
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
