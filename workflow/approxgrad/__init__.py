"""Feature attributions with exact or approximated gradients.

The names below are imported on first use, so that reading a table or drawing a figure does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from approxgrad.evaluation.results import read_results
    from approxgrad.explaining.explanation import explain
    from approxgrad.figures.plotting import plot_attribution
    from approxgrad.gradients.directional.directions import DirectionalDifference
    from approxgrad.gradients.directional.spectrum import Spectrum
    from approxgrad.gradients.evaluating.full_float32 import allow_tf32
    from approxgrad.gradients.exact import ExactGradient
    from approxgrad.gradients.finite_differences import FiniteDifference
    from approxgrad.gradients.published.path_estimates import GEEX, GEFA
    from approxgrad.gradients.published.random_directions import SPSA, GaussianSmoothing
    from approxgrad.gradients.published.surrogates import KernelShap, Lime
    from approxgrad.methods.attribution import attribute
    from approxgrad.methods.group_totals import group_totals
    from approxgrad.methods.original import ApproxAttribution
    from approxgrad.models.compilation import CompiledModel
    from approxgrad.models.onnx_model import OnnxModel
    from approxgrad.models.services.service_model import ServiceModel
    from approxgrad.models.tree_model import TreeModel
    from approxgrad.models.tree_shap import tree_shap
    from approxgrad.provenance.document import read_provenance
    from approxgrad.steps.choice import StepChoice, choose_step

__version__ = "0.1.0"

__all__ = [
    "GEEX",
    "GEFA",
    "SPSA",
    "ApproxAttribution",
    "CompiledModel",
    "DirectionalDifference",
    "ExactGradient",
    "FiniteDifference",
    "GaussianSmoothing",
    "KernelShap",
    "Lime",
    "OnnxModel",
    "ServiceModel",
    "Spectrum",
    "StepChoice",
    "TreeModel",
    "allow_tf32",
    "attribute",
    "choose_step",
    "explain",
    "group_totals",
    "plot_attribution",
    "read_provenance",
    "read_results",
    "tree_shap",
]

_MODULES = {
    "ApproxAttribution": "approxgrad.methods.original",
    "CompiledModel": "approxgrad.models.compilation",
    "DirectionalDifference": "approxgrad.gradients.directional.directions",
    "ExactGradient": "approxgrad.gradients.exact",
    "FiniteDifference": "approxgrad.gradients.finite_differences",
    "GEEX": "approxgrad.gradients.published.path_estimates",
    "GEFA": "approxgrad.gradients.published.path_estimates",
    "GaussianSmoothing": "approxgrad.gradients.published.random_directions",
    "KernelShap": "approxgrad.gradients.published.surrogates",
    "Lime": "approxgrad.gradients.published.surrogates",
    "OnnxModel": "approxgrad.models.onnx_model",
    "SPSA": "approxgrad.gradients.published.random_directions",
    "ServiceModel": "approxgrad.models.services.service_model",
    "Spectrum": "approxgrad.gradients.directional.spectrum",
    "StepChoice": "approxgrad.steps.choice",
    "TreeModel": "approxgrad.models.tree_model",
    "allow_tf32": "approxgrad.gradients.evaluating.full_float32",
    "attribute": "approxgrad.methods.attribution",
    "choose_step": "approxgrad.steps.choice",
    "explain": "approxgrad.explaining.explanation",
    "group_totals": "approxgrad.methods.group_totals",
    "plot_attribution": "approxgrad.figures.plotting",
    "read_provenance": "approxgrad.provenance.document",
    "read_results": "approxgrad.evaluation.results",
    "tree_shap": "approxgrad.models.tree_shap",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'approxgrad' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
