"""Shapley values of trees in the place of a gradient: what Integrated Gradients can be compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import option
from approxgrad.gradients.source import SOURCES, Setting, SourceKind


@SOURCES.add
@dataclass(frozen=True)
class Shapley(SourceKind):
    """Interventional Shapley values (TreeSHAP) with the baseline of a path: no gradient, and another quantity.

    Like Integrated Gradients they sum to the change of the output between baseline and input. The two agree where
    features do not interact.
    """

    name: ClassVar[str] = "shapley"
    needs: ClassVar[str] = "trees"
    colours: ClassVar[dict[str, str]] = {"shapley": "#AA4499"}
    markers: ClassVar[dict[str, str]] = {"shapley": "d"}
    implementation: ClassVar[str] = "approxgrad.models.tree_shap"

    shapley: Annotated[
        Literal["trees"],
        option(
            "Shapley values, computed by the library shap from the trees themselves, in the place of Integrated"
            " Gradients: another quantity, whose source can be named as the `reference` of an experiment."
        ),
    ]

    @property
    def label(self) -> str:
        """What it is, and what it is not."""
        return "TreeSHAP (another quantity)"

    @property
    def along_path(self) -> bool:
        """True: they change features from the baseline of a path to the input."""
        return True

    def cost(self, setting: Setting, features: int) -> int:
        """Return 0: the trees are read, not evaluated."""
        return 0

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a :class:`approxgrad.models.tree_shap.ShapleyValues`."""
        made: Callable[..., Any] = import_module(self.implementation).ShapleyValues()
        return made
