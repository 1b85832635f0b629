"""Gradient sources of a study whose setting is a number of model evaluations."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from approxgrad.descriptions import Integer, Once, option
from approxgrad.gradients.source import SourceKind, evaluation_limits

Budgets = Annotated[
    tuple[Annotated[Integer, option("", ge=2, le=10**9)], ...],
    option("Most evaluations of the model for the attribution of one input, each a source of its own.", min_length=1),
    Once,
]


def path_points(budget: int, features: int) -> int:
    """Return at how many points of a path gradients are taken: one while the budget is below the features.

    One gradient that is known better is nearer to the integral than several that are known worse.
    """
    return max(1, min(round(budget / features), budget // 2))


class Budgeted(SourceKind):
    """What kinds have in common that spend a given number of evaluations on each input, whatever the method.

    Attributes
    ----------
    looks : dict
        Label, colour and marker of each variant.
    """

    varied: ClassVar[str] = "budgets"
    setting_name: ClassVar[str] = "evaluations"
    setting_label: ClassVar[str] = "model evaluations for each input"
    symbol: ClassVar[str] = "n"
    is_budget: ClassVar[bool] = True
    looks: ClassVar[dict[str, tuple[str, str, str]]]

    @property
    def variant(self) -> str:
        """The variant: the field that has the kind's name."""
        return str(getattr(self, self.name))

    @property
    def options(self) -> list[str]:
        """Names of options that have another value than by default, with numbers, so that a study can have both."""
        return [word.replace(" ", "") for word in self._words]

    @property
    def _words(self) -> list[str]:
        own = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "dtypes" and field.default not in (dataclasses.MISSING, value):
                own[field.name] = value
        return [value if isinstance(value, str) else f"{name} {_number(value)}" for name, value in own.items()]

    @property
    def family(self) -> str:
        """The variant and its options."""
        return "-".join([self.variant, *self.options])

    @property
    def label(self) -> str:
        """The variant for readers, with its options."""
        return ", ".join([self.looks[self.variant][0], *self._words])

    @property
    def colours(self) -> dict[str, str]:  # type: ignore[override]  # with the options of this one
        """Colours of variants, whatever their options."""
        return {name: look[1] for name, look in self.looks.items()} | {self.family: self.looks[self.variant][1]}

    @property
    def markers(self) -> dict[str, str]:  # type: ignore[override]
        """Markers, as colours."""
        return {name: look[2] for name, look in self.looks.items()} | {self.family: self.looks[self.variant][2]}

    def shared(self, limits: dict[str, Any]) -> dict[str, Any]:
        """Return what all callables take of the limits of :meth:`gradient`."""
        return evaluation_limits(limits) | {"seed": limits.get("seed", 0)}


def _number(value: float) -> str:
    return np.format_float_positional(value, trim="-")
