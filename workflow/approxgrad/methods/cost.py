"""Cost model: how often a model is evaluated for an attribution."""

from __future__ import annotations

from approxgrad.gradients.stencils import stencil


def evaluations(method: str, scheme: str, features: int, *, n_steps: int = 50, baseline_values: int = 1) -> int:
    """Return the model evaluations for the attribution of one input.

    Parameters
    ----------
    method : str
        A name from :data:`approxgrad.methods.attribution.METHODS`.
    scheme : str
        ``exact``, or a finite-difference scheme. For ``exact`` an evaluation is a forward pass that a backward pass
        follows.
    features : int
        Number of features d.
    n_steps : int
        Path points of the Integrated Gradients methods.
    baseline_values : int
        Distinct values of the baseline, which matter for the published variant only: each is a path of its own.

    Returns
    -------
    int
        For the forward scheme: d + 1 for the gradient methods, ``n_steps (d + 1)`` for Integrated Gradients and
        ``n_steps (d + baseline_values)`` for the published variant.
    """
    points = n_steps if method.startswith("integrated_gradients") else 1
    paths = baseline_values if method == "integrated_gradients_published" else 1
    if scheme == "exact":
        return points * paths
    own = stencil(scheme)
    return points * (own.evaluations(features) + (paths - 1) * int(own.uses_base))
