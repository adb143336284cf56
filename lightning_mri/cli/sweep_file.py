"""What a W&B sweep file asks for, in the terms of Optuna."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lightning_mri.cli import meant
from lightning_mri.files import read_yaml

METHODS = ("grid", "random", "bayes")
EARLY = "hyperband"
CUSTOM = "${args}"
FIELDS = ("method", "metric", "parameters", "command", "run_cap", "early_terminate", "name", "project")
OF_SERVER = ("program", "entity", "description", "controller")
"""Fields that only W&B's own launcher needs."""


@dataclass(frozen=True)
class SweepFile:
    """A sweep file."""

    path: Path  # the file
    name: str  # name of the sweep, by which W&B groups its runs
    project: str  # W&B project
    method: str  # grid, random or bayes
    metric: str  # what is logged in a validation, such as ``val/nrmse``
    maximise: bool  # whether more of it is better
    parameters: Mapping[str, BaseDistribution]  # what may be tried, by the option of ``fit``
    options: tuple[str, ...]  # options of ``fit`` that are the same in all trials
    n_trials: int  # number of trials
    # validations before a hopeless trial is stopped, and the factor between one look at it and the next; none if every
    # trial runs to its end
    early: tuple[int, int] | None

    @classmethod
    def read(cls, path: Path, n_trials: int | None = None) -> "SweepFile":
        """Read a file."""
        content = read_yaml(path)
        if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
            raise ValueError(f"{path} must be a W&B sweep file: it names no parameters")
        for name in content:
            if name not in (*FIELDS, *OF_SERVER):
                raise ValueError(f"{path}: {name} is no field of a sweep{meant(str(name), FIELDS)}")
        method: str = content.get("method", "")
        metric: Any = content.get("metric")
        if method not in METHODS:
            raise ValueError(f"{path}: method must be one of {', '.join(METHODS)}: got {method}")
        named = isinstance(metric, dict) and isinstance(metric.get("name"), str)
        if not named or metric.get("goal", "minimize") not in ("minimize", "maximize"):
            raise ValueError(f"{path}: metric must have a name and the goal minimize or maximize: got {metric}")
        parameters = {str(name): _distribution(path, name, each) for name, each in content["parameters"].items()}
        continuous = [name for name, each in parameters.items() if not isinstance(each, CategoricalDistribution)]
        if method == "grid" and continuous:
            raise ValueError(f"{path}: parameters of a grid must have values: {continuous[0]} has none")
        points = list(_grid(parameters)) if method == "grid" else None
        n: Any = content.get("run_cap", points and len(points)) if n_trials is None else n_trials
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"{path}: {method} needs run_cap or --n_trials, a positive whole number: got {n}")
        return cls(
            path,
            str(content.get("name", path.stem)),
            str(content.get("project", "lightning-mri")),
            method,
            metric["name"],
            metric.get("goal") == "maximize",
            parameters,
            _options(path, content.get("command")),
            n if points is None else min(n, len(points)),
            _early(path, content.get("early_terminate")),
        )

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return what proposes a trial, by its number; a grid is queued, so that no two processes take one point."""
        if self.method == "bayes":
            return optuna.samplers.TPESampler(seed=number)
        return optuna.samplers.RandomSampler(seed=number)

    def pruner(self) -> optuna.pruners.BasePruner:
        """Return what stops trials early."""
        if self.early is None:
            return optuna.pruners.NopPruner()
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=self.early[0], reduction_factor=self.early[1])

    def grid(self) -> list[dict[str, Any]]:
        """Return the points of a grid that are tried; none for other methods."""
        return list(_grid(self.parameters))[: self.n_trials] if self.method == "grid" else []

    def first(self) -> dict[str, Any]:
        """Return a value of each parameter, to see whether ``fit`` takes them."""
        return {
            name: each.choices[0] if isinstance(each, CategoricalDistribution) else each.low  # type: ignore[attr-defined]
            for name, each in self.parameters.items()
        }


def _grid(parameters: Mapping[str, BaseDistribution]) -> Any:
    choices = [each.choices for each in parameters.values() if isinstance(each, CategoricalDistribution)]
    return (dict(zip(parameters, point, strict=True)) for point in product(*choices))


def _distribution(path: Path, name: str, given: Any) -> BaseDistribution:
    """Return what a parameter may be, in the terms of W&B."""
    fields = {name: _number(each) for name, each in given.items()} if isinstance(given, dict) else {}
    low: Any = fields.get("min")
    high: Any = fields.get("max")
    kind = fields.get("distribution")
    if fields.keys() - {"distribution"} == {"value"}:
        return CategoricalDistribution([_choice(fields["value"])])
    if fields.keys() - {"distribution"} == {"values"} and isinstance(fields["values"], list) and fields["values"]:
        return CategoricalDistribution([_choice(each) for each in fields["values"]])
    numbers = isinstance(low, int | float) and isinstance(high, int | float) and -math.inf < low < high < math.inf
    if numbers and fields.keys() <= {"min", "max", "distribution"}:
        whole = float(low).is_integer() and float(high).is_integer()
        if (kind == "int_uniform" and whole) or (kind is None and isinstance(low, int) and isinstance(high, int)):
            return IntDistribution(int(low), int(high))
        if kind in (None, "uniform", "log_uniform_values") and (low > 0 or kind != "log_uniform_values"):
            return FloatDistribution(low, high, log=kind == "log_uniform_values")
    raise ValueError(
        f"{path}: parameter {name} must have value, values, or min < max with the distribution uniform, int_uniform (of"
        f" whole numbers) or log_uniform_values, and nothing else: got {given}"
    )


def _number(value: Any) -> Any:
    """Return a number that YAML takes for text, since it has no dot, such as 1e-5, as a number."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value) else value


def _choice(value: Any) -> Any:
    """Return a value as it stands on a command line, a list or mapping as text."""
    return json.dumps(value) if isinstance(value, list | dict) else _number(value)


def _early(path: Path, given: Any) -> tuple[int, int] | None:
    """Return after how many validations a trial may be stopped, and the factor to the next time."""
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("type") != EARLY:
        raise ValueError(f"{path}: early_terminate must have the type {EARLY}: got {given}")
    counts = {"eta": 3, **{name: value for name, value in given.items() if name != "type"}}
    enough = "min_iter" in counts or {"max_iter", "s"} <= counts.keys()
    whole = all(isinstance(each, int) and each >= 1 for each in counts.values()) and counts["eta"] >= 2
    if not enough or not whole or counts.keys() - {"min_iter", "max_iter", "s", "eta"}:
        raise ValueError(
            f"{path}: early_terminate must have min_iter, or max_iter and s, and may have eta of 2 or more, all whole"
            f" numbers: got {given}"
        )
    return math.ceil(counts.get("min_iter") or counts["max_iter"] / counts["eta"] ** counts["s"]), counts["eta"]


def _options(path: Path, command: Any) -> tuple[str, ...]:
    """Return the options of ``fit`` between its name and those of the trial."""
    words = [str(word) for word in command] if isinstance(command, list) else str(command or "").split()
    if "fit" not in words or words[-1] != CUSTOM:
        raise ValueError(f"{path}: command must run fit with {CUSTOM} at its end: got {' '.join(words) or 'none'}")
    return tuple(words[words.index("fit") + 1 : -1])
