"""One input of a model explained within a budget of evaluations."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.gradients.directional.directions import DirectionalDifference
from approxgrad.gradients.evaluating.arrays import Given
from approxgrad.gradients.evaluating.checks import Model, broadcast_baselines, check_inputs
from approxgrad.gradients.evaluating.counting import CountedModel
from approxgrad.gradients.evaluating.evaluation import evaluation, failure
from approxgrad.gradients.evaluating.perturbations import Steps
from approxgrad.gradients.evaluating.targets import Target, as_outputs, select_outputs, target_indices
from approxgrad.methods.attribution import attribute_with, configured_method
from approxgrad.methods.method import METHODS, Method

RESERVE = 4
"""Evaluations that are kept for the checks of batches that grow."""

ROUNDED_SUM = 1e-3
"""How far the probabilities of a model may sum to something else than 1."""


@dataclass(frozen=True)
class Explanation:
    """An attribution and what is known of it.

    Attributes
    ----------
    attribution : Tensor or array
        Shaped like the image.
    image : ndarray
        What was explained.
    target : int, tuple of int or None
        Which output.
    output : float
        Its value.
    method : str
        The attribution method.
    budget, evaluations : int
        Evaluations that were allowed and made, checks of the model included.
    directions : int
        Directions along which the model was differentiated.
    cosine, cosine_lower, cosine_upper : float
        Predicted cosine of estimated and whole gradient, with its interval of 90 %.
    agreement, agreement_lower, agreement_upper : float
        Predicted correlation of the map with that of the whole gradient, likewise.
    """

    attribution: Any = field(repr=False)
    image: NDArray[np.float64] = field(repr=False)
    target: Any
    output: float
    method: str
    budget: int
    evaluations: int
    directions: int
    cosine: float
    cosine_lower: float
    cosine_upper: float
    agreement: float
    agreement_lower: float
    agreement_upper: float

    @property
    def values(self) -> NDArray[np.float64]:
        """The attribution as an array."""
        own = self.attribution
        return np.asarray(own.cpu().double().numpy() if isinstance(own, Tensor) else own, dtype=np.float64)

    def numbers(self) -> dict[str, Any]:
        """Return all but the arrays, as JSON holds them: None where nothing is known."""
        own = {name: value for name, value in asdict(self).items() if name not in ("attribution", "image")}
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in own.items()
        }

    def __str__(self) -> str:
        what = "the only output" if self.target is None else f"output {self.target}"
        return (
            f"{METHODS[self.method].label} of {what}, {self.output:.4g}, from {self.evaluations:,} evaluations; "
            f"{self.quality}"
        )

    @property
    def quality(self) -> str:
        """The predicted quality in words."""
        if not self.values.any():
            return "every derivative is 0: try a larger step, or inputs in the units that the model takes"
        if not np.isfinite(self.agreement):
            return "nothing is predicted of its quality"
        interval = f"{self.agreement_lower:.2f} to {self.agreement_upper:.2f}"
        return f"predicted agreement with the whole map {self.agreement:.2f} ({interval})"


def explain(
    model: Model,
    image: Any,
    target: Target = None,
    *,
    budget: int = 1000,
    method: str = "input_x_gradient",
    step: Steps = 0.1,
    order: Any = "luma",
    quality: float | None = None,
    baselines: Any = 0,
    seed: int = 0,
    check_rows: bool = True,
) -> Explanation:
    """Explain an output of a model for one image, series or row of a table, within a budget of evaluations.

    The gradient is estimated along cosine directions (:class:`approxgrad.DirectionalDifference`).

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs.
    image : Tensor or array
        One input of the model: channels, height and width for a picture; a batch of a single one will do.
    target : Target
        The output to explain; by default the largest one.
    budget : int
        Most evaluations to make, with all that look at the model.
    method : str
        ``input_x_gradient``, ``saliency``, ``integrated_gradients``, ``gradient`` or one of your own that is a function
        of input and gradient.
    step, order, quality, seed
        As of :class:`approxgrad.DirectionalDifference`.
    baselines : float, Tensor or array
        Where the path of Integrated Gradients begins.
    check_rows : bool
        Whether to refuse a model whose outputs for a row depend on chance or on other rows, which takes some 30
        evaluations.

    Raises
    ------
    TypeError, ValueError
        As of :func:`approxgrad.attribute`, and if the budget does not pay for anything.

    Examples
    --------
    >>> found = explain(model, image, budget=500)  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    Gradient × Input of output 3, 8.11, from 496 evaluations; predicted agreement with the whole map 0.81 (0.74 to 0.87)
    """
    if not callable(model):
        raise TypeError(f"model: expected a callable, got {type(model).__name__}; OnnxModel(path) is that of a file")
    described = METHODS.get(method) if isinstance(method, str) else None
    if described is None or not (described.complete or described.from_gradient is not Method.from_gradient):
        raise ValueError(f"method: got {method!r}, expected one that is a function of gradients, such as saliency")
    own = configured_method(method, {})
    options: dict[str, Any] = {"basis": "cosine", "order": order, "quality": quality, "seed": seed}
    source = DirectionalDifference(step, budget=budget, check_rows=check_rows, **options)
    given = Given(model, _batch(model, image))
    check_inputs(given.inputs)
    counted = CountedModel(given.model)
    chosen, output = _explained_output(counted, given.inputs, given.target(target))
    starts = broadcast_baselines(given.baselines(baselines), given.inputs)
    ready = source.prepare(counted, (given.inputs,), (), target_indices(chosen, 1, given.inputs.device))
    left = budget - counted.evaluations - RESERVE
    if left < 2:
        fewer = "; check_rows=False takes fewer" if check_rows else ""
        raise ValueError(
            f"budget: {budget} evaluations are too few, as looking at the model takes {counted.evaluations + RESERVE} "
            f"and a derivative 2{fewer}"
        )
    source = DirectionalDifference(step, budget=left, check_rows=check_rows, **options)
    found = attribute_with(own, ready, given.inputs, chosen, source, starts, check_rows=check_rows)
    predicted = source.predicted
    assert predicted is not None
    point, start = (one.double().reshape(1, -1) for one in (given.inputs, starts))

    def map_of(gradient: Tensor) -> Tensor:
        return own.from_gradient(point, gradient) if own.derived else own.factor(point, start) * gradient

    agreement = (float(value) for value in predicted.of_map(map_of))
    cosine = [float(value) for value in (predicted.cosine, predicted.lower, predicted.upper)]
    if quality is not None and cosine[0] < quality:
        warnings.warn(
            f"quality: {counted.evaluations:,} evaluations are predicted to give a cosine of {cosine[0]:.2f}, not "
            f"{quality:g}; a larger budget, or an order that was measured, helps",
            stacklevel=2,
        )
    values = given.inputs[0].double().cpu().numpy()
    return Explanation(
        given.returned(found)[0],
        values,
        chosen,
        output,
        method,
        budget,
        counted.evaluations,
        int(predicted.directions),
        *cosine,
        *agreement,
    )


def _batch(model: Model, image: Any) -> Any:
    """Return a single input as a batch of one."""
    if not isinstance(image, (Tensor, np.ndarray)):
        raise TypeError(f"image: expected a tensor or an array, got {type(image).__name__}, as the model takes it")
    shape = getattr(model, "shape", None)
    one = len(image.shape) == len(shape) + 1 if isinstance(shape, tuple) else len(image.shape) > 3
    if one and len(image) != 1:
        raise ValueError(f"image: expected a single one, got shape {tuple(image.shape)}")
    image = image.detach() if isinstance(image, Tensor) else image
    return image if one else image[None]


def _explained_output(model: Model, inputs: Tensor, target: Target) -> tuple[Target, float]:
    """Return the output that is explained, the largest by default, and its value."""
    with evaluation():
        try:
            outputs = as_outputs(model(inputs.clone())).double()
        except (TypeError, ValueError):
            raise
        except Exception as error:
            raise ValueError(failure([inputs], error)) from error
    if target is None and outputs.numel() > 1:
        if outputs.ndim != 2:
            raise ValueError(
                f"target: an output has shape {tuple(outputs.shape[1:])}, so say which number is explained"
            )
        target = int(outputs[0].argmax())
    if outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.min() >= 0 and abs(outputs.sum() - 1) <= ROUNDED_SUM:
        warnings.warn(
            "outputs: sum to 1, as probabilities do, and are explained as they are; logits tell more where one of them "
            "is near 1: transform='log' of a model from a file or a service explains these",
            stacklevel=3,
        )
    indices = target_indices(target, 1, outputs.device)
    value = float(select_outputs(outputs, indices, 1))
    place = () if indices is None else tuple(indices[0].tolist())
    return place[0] if len(place) == 1 else place or None, value
