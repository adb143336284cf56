"""What a W&B sweep file asks for, in the terms of Optuna."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import yaml  # type: ignore[import-untyped]
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

METHODS = ("grid", "random", "bayes")
EARLY = "hyperband"
CUSTOM = "${args}"


@dataclass(frozen=True)
class SweepFile:
    """A sweep file.

    Args:
        path: The file.
        name: Name of the sweep, by which W&B groups its runs.
        project: W&B project.
        method: grid, random or bayes.
        metric: What is logged in a validation, such as ``val/nrmse``.
        maximise: Whether more of it is better.
        parameters: What may be tried, by the option of ``fit``.
        options: Options of ``fit`` that are the same in all trials.
        n_trials: Number of trials.
        early: Arguments of the pruner that stops hopeless trials; none if every trial runs to its end.
    """

    path: Path
    name: str
    project: str
    method: str
    metric: str
    maximise: bool
    parameters: Mapping[str, BaseDistribution]
    options: tuple[str, ...]
    n_trials: int
    early: Mapping[str, Any] | None

    @classmethod
    def read(cls, path: Path, n_trials: int | None = None) -> "SweepFile":
        """Read a file.

        Args:
            path: The file.
            n_trials: Number of trials, in place of the file's ``run_cap``.

        Raises:
            ValueError: If it breaks a rule; the message names file and field.
            OSError: If it cannot be read.
        """
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} must be YAML: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
            raise ValueError(f"{path} must be a W&B sweep file: it names no parameters")
        method, metric = content.get("method"), content.get("metric")
        if method not in METHODS:
            raise ValueError(f"{path}: method must be one of {', '.join(METHODS)}: got {method}")
        if not isinstance(metric, dict) or metric.get("goal", "minimize") not in ("minimize", "maximize"):
            raise ValueError(f"{path}: metric must have a name and the goal minimize or maximize: got {metric}")
        parameters = {str(name): _distribution(path, name, each) for name, each in content["parameters"].items()}
        continuous = [name for name, each in parameters.items() if not isinstance(each, CategoricalDistribution)]
        if method == "grid" and continuous:
            raise ValueError(f"{path}: parameters of a grid must have values: {continuous[0]} has none")
        early = content.get("early_terminate")
        if early is not None and early.get("type") != EARLY:
            raise ValueError(f"{path}: early_terminate.type must be {EARLY}: got {early.get('type')}")
        if early is not None and not ("min_iter" in early or {"max_iter", "s"} <= early.keys()):
            raise ValueError(f"{path}: early_terminate must have min_iter, or max_iter and s: got {early}")
        n = content.get("run_cap") if n_trials is None else n_trials
        if method == "grid":
            n = len(list(_grid(parameters)))
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"{path}: {method} needs run_cap or --n_trials, a positive whole number: got {n}")
        return cls(
            path,
            str(content.get("name", path.stem)),
            str(content.get("project", "lightning-mri")),
            method,
            str(metric.get("name")),
            metric.get("goal") == "maximize",
            parameters,
            _options(path, content.get("command")),
            n,
            early,
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
        eta = int(self.early.get("eta", 3))
        first = self.early.get("min_iter") or self.early["max_iter"] / eta ** self.early["s"]
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=math.ceil(first), reduction_factor=eta)

    def grid(self) -> list[dict[str, Any]]:
        """Return every point of a grid; none for other methods."""
        return list(_grid(self.parameters)) if self.method == "grid" else []

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
    """Return what a parameter may be, in the terms of W&B.

    Raises:
        ValueError: If it is none of those that are known.
    """
    given = given if isinstance(given, dict) else {}
    kind = given.get("distribution")
    if "value" in given:
        return CategoricalDistribution([given["value"]])
    if given.get("values"):
        return CategoricalDistribution(given["values"])
    low, high = given.get("min"), given.get("max")
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
        if kind == "int_uniform" or (kind is None and isinstance(low, int) and isinstance(high, int)):
            return IntDistribution(int(low), int(high))
        if kind in (None, "uniform", "log_uniform_values") and (low > 0 or kind != "log_uniform_values"):
            return FloatDistribution(low, high, log=kind == "log_uniform_values")
    raise ValueError(
        f"{path}: parameter {name} must have value, values, or min < max with the distribution uniform, int_uniform or"
        f" log_uniform_values: got {given}"
    )


def _options(path: Path, command: Any) -> tuple[str, ...]:
    """Return the options of ``fit`` between its name and those of the trial.

    Raises:
        ValueError: If the file runs something else.
    """
    words = [str(word) for word in command or ()]
    if "fit" not in words or words[-1] != CUSTOM:
        raise ValueError(f"{path}: command must run fit with {CUSTOM} at its end: got {' '.join(words) or 'none'}")
    return tuple(words[words.index("fit") + 1 : -1])
