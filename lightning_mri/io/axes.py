"""Axes of arrays that come without a header: what they are called, and how they become slices."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

WORDS = {
    "coil": ("coil", "coils", "channel", "c"),
    "slice": ("slice", "z"),
    "y": ("y", "readout"),
    "x": ("x", "phase"),
    "volume": ("time", "t", "frame", "echo", "repetition", "volume"),
    "part": ("part", "complex", "ri"),
    "1": ("1",),
}
FRAMES = ("volume", "slice")
USUAL = {2: "y x", 3: "coil y x", 4: "slice coil y x"}
SLICES_FIRST = (("slice", "coil", "y", "x"), ("slice", "y", "x"))
"""Axes of which slices lie together, in the order in which they are read."""
MAX_COILS_GUESSED = 64
"""More are not taken for coils where a reading with fewer is possible."""


@dataclass(frozen=True)
class Axes:
    """Names of an array's axes, one word each, as in einops: "coil z y x", "t z y x coil", "y x part".

    y is the readout and x the phase encoding; z or slice, coil, time (or echo ...: volumes) and part (real and
    imaginary) may be missing; 1 names an axis of length 1.
    """

    words: str
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = {word: name for name, words in WORDS.items() for word in words}
        unknown = [word for word in self.words.split() if word not in known]
        if unknown:
            raise ValueError(f"axes must be words of {', '.join(known)}: got {' '.join(unknown)!r}")
        names = [known[word] for word in self.words.split()]
        units = iter(range(len(names)))
        object.__setattr__(self, "names", tuple(f"one{next(units)}" if name == "1" else name for name in names))
        if len(set(self.names)) != len(self.names) or not {"x", "y"} <= set(self.names):
            raise ValueError(f"axes must name x, y and every other axis once: got {self.words!r}")

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse an array that has other axes."""
        lengths = dict(zip(self.names, shape, strict=False))
        wrong = [
            name for name, n in lengths.items() if (name.startswith("one") and n != 1) or (name == "part" and n != 2)
        ]
        if len(shape) != len(self.names) or wrong:
            raise ValueError(f"axes must fit the array: got {self.words!r} for the shape {shape}")

    def length(self, name: str, shape: tuple[int, ...]) -> int:
        """Return the length of an axis, 1 where there is none."""
        return shape[self.names.index(name)] if name in self.names else 1

    def mask(self, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a mask of k-space of a ``shape``, whose axes have the order of k-space's, as [..., y, x] or [..., x].

        It has k-space's axes but the coil's, or these without y, or y and x alone; frames come volume by volume, as in
        `slices`. Of what has other axes y and x are exchanged alone.
        """
        own = [name for name in self.names if name in FRAMES or name in ("y", "x")]
        for kept in (own, [name for name in own if name not in FRAMES], [name for name in own if name != "y"]):
            if mask.shape == tuple(self.length(name, shape) for name in kept):
                order = [kept.index(name) for name in (*FRAMES, "y", "x") if name in kept]
                rest = tuple(self.length(name, shape) for name in ("y", "x") if name in kept)
                return mask.transpose(order).reshape(-1, *rest) if mask.ndim > len(rest) else mask.transpose(order)
        turned = self.names.index("x") < self.names.index("y") and min(mask.shape[-2:], default=1) > 1
        return mask.swapaxes(-1, -2) if turned and mask.ndim > 1 else mask

    def shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Return the shape [slice, coil, y, x] of an array, whose volumes follow each other along the slices."""
        n_slices = self.length("volume", shape) * self.length("slice", shape)
        return n_slices, self.length("coil", shape), self.length("y", shape), self.length("x", shape)

    def slices(self, values: Any, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop`` of an array, or of what is indexed like one, [slice, coil, y, x]."""
        if self.names in SLICES_FIRST:
            return np.asarray(values[start:stop]).reshape(stop - start, *self.shape(values.shape)[1:])
        n_slices = self.length("slice", values.shape)
        chosen = []
        for i in range(start, stop):
            where = {"volume": i // n_slices, "slice": i % n_slices}
            index = tuple(where.get(name, 0 if name.startswith("one") else slice(None)) for name in self.names)
            rest = [name for name in self.names if name not in where and not name.startswith("one")]
            wanted = ["part"] * ("part" in rest) + [name if name in rest else "1" for name in ("coil", "y", "x")]
            image = rearrange(np.asarray(values[index]), f"{' '.join(rest)} -> {' '.join(wanted)}")
            chosen.append(image[0] + 1j * image[1] if "part" in rest else image)
        return np.stack(chosen) if chosen else np.empty((0, *self.shape(values.shape)[1:]), np.complex64)


def named_axes(path: Path, field: str, shape: tuple[int, ...], words: str | None) -> tuple[Axes, tuple[str, ...]]:
    """Return the axes of an array, as given or else as guessed, and the warning where they were guessed."""
    try:
        if words is None:
            axes, taken = guess_axes(shape)
            return axes, (taken,) if len(shape) > 2 else ()
        axes = Axes(words)
        axes.check(shape)
    except ValueError as error:
        raise ValueError(f"{path}: {field}: {error}") from error
    return axes, ()


def guess_axes(shape: tuple[int, ...]) -> tuple[Axes, str]:
    """Return the axes of an array without header, and how they were taken, for a warning.

    They are [slice, coil, y, x], [coil, y, x] or [y, x]; but the coil is last where it would be more than 64 coils
    otherwise, and no more so.
    """
    if len(shape) < 2:
        raise ValueError(f"an array must have 2 axes or more: got shape {shape}")
    if len(shape) not in USUAL:
        raise ValueError(f"axes must be given for arrays of more than 4 axes, as in 'z coil y x': got shape {shape}")
    words = USUAL[len(shape)]
    if len(shape) > 2 and shape[-3] > MAX_COILS_GUESSED >= shape[-1]:
        words = {3: "y x coil", 4: "slice y x coil"}[len(shape)]
    taken = f"the axes {shape} were taken for [{', '.join(words.split())}]"
    return Axes(words), f"{taken}: {names_others(words)}"


def names_others(words: str) -> str:
    """Return how to name other axes than these, as of one coil where a third axis was taken for several."""
    others = f", as in {words.replace('coil', 'slice')!r}" if {*words.split()} == {"coil", "y", "x"} else ""
    return f"axes (--data.axes) can name others{others}"
