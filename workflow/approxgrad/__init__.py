"""Feature attributions with exact or approximated gradients.

The names below are imported on first use, so that reading a table or drawing a figure does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from approxgrad.attribution import attribute
    from approxgrad.compilation import CompiledModel
    from approxgrad.finite_differences import FiniteDifference
    from approxgrad.gradients import ExactGradient
    from approxgrad.original import ApproxAttribution
    from approxgrad.provenance import read_provenance
    from approxgrad.step_choice import StepChoice, choose_step

__version__ = "0.1.0"

__all__ = [
    "ApproxAttribution",
    "CompiledModel",
    "ExactGradient",
    "FiniteDifference",
    "StepChoice",
    "attribute",
    "choose_step",
    "read_provenance",
]

_MODULES = {
    "ApproxAttribution": "approxgrad.original",
    "CompiledModel": "approxgrad.compilation",
    "ExactGradient": "approxgrad.gradients",
    "FiniteDifference": "approxgrad.finite_differences",
    "StepChoice": "approxgrad.step_choice",
    "attribute": "approxgrad.attribution",
    "choose_step": "approxgrad.step_choice",
    "read_provenance": "approxgrad.provenance",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'approxgrad' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
