"""One input of a model explained within a budget of evaluations."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.gradients.directional.directions import DirectionalDifference
from approxgrad.gradients.directional.prediction import LEVEL
from approxgrad.gradients.directional.spending import PROBE_SHARE
from approxgrad.gradients.evaluating.arrays import Given
from approxgrad.gradients.evaluating.checks import Model, broadcast_baselines, check_inputs, checked_count
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
        Predicted correlation of the map with that of the whole gradient, which more evaluations come ever nearer to,
        likewise.
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
    _flat: bool = field(default=False, repr=False)  # whether every derivative is 0

    @property
    def values(self) -> NDArray[np.float64]:
        """The attribution as an array."""
        own = self.attribution
        return np.asarray(own.cpu().double().numpy() if isinstance(own, Tensor) else own, dtype=np.float64)

    def numbers(self) -> dict[str, Any]:
        """Return all but the arrays, as JSON holds them: None where nothing is known."""
        left_out = ("attribution", "image", "_flat")
        own = {name: value for name, value in asdict(self).items() if name not in left_out}
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
        if self._flat:
            return "every derivative is 0: try a larger step, or inputs in the units that the model takes"
        if not self.values.any():
            return "the map is 0, as the input is, or the way to it from the baseline; saliency shows the derivatives"
        if not np.isfinite(self.agreement):
            few = not np.isfinite(self.cosine)
            return "too few to predict how good the map is" if few else "nothing is predicted of its quality"
        interval = f"{LEVEL:.0%} interval {self.agreement_lower:.2f} to {self.agreement_upper:.2f}"
        return f"predicted correlation with the map of unlimited evaluations: {self.agreement:.2f} ({interval})"


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
    baselines: Any = None,
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
        Where the path of Integrated Gradients begins; by default 0.
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
    Gradient × Input of output 3, 8.11, from 496 evaluations; predicted correlation with the map of unlimited
    evaluations: 0.81 (90% interval 0.74 to 0.87)
    """
    if not callable(model):
        raise TypeError(f"model: expected a callable, got {type(model).__name__}; OnnxModel(path) is that of a file")
    allowed = explained_methods()
    if not isinstance(method, str) or method not in allowed:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(allowed)}")
    own = configured_method(method, {})
    if baselines is not None and not own.path:
        raise TypeError(f"baselines: {method} has no path that begins there; leave them out")
    budget = checked_count("budget", budget, 1)
    options: dict[str, Any] = {"basis": "cosine", "order": order, "quality": quality, "seed": seed}
    source = DirectionalDifference(step, budget=budget, check_rows=check_rows, **options)
    given, counted, chosen, output = _read(model, image, target)
    starts = broadcast_baselines(given.baselines(0 if baselines is None else baselines), given.inputs)
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

    agreement, low, high = (float(value) for value in predicted.of_map(map_of))
    cosine = float(predicted.cosine)
    if predicted.missed.isnan().any():
        size = given.inputs[0].numel()
        some, every = (budget - left + source.stencil.evaluations(count) for count in (min(PROBE_SHARE, size), size))
        # Low frequencies come first.
        smooth = ", and make a smooth map whatever the model is" if order == "luma" and given.inputs.ndim > 3 else ""
        warnings.warn(
            f"budget: {budget:,} evaluations are too few to tell how good the map is{smooth}; from {some:,} on its "
            f"quality is predicted roughly, and {every:,} give the whole gradient",
            stacklevel=2,
        )
    if quality is not None and cosine < quality:
        warnings.warn(
            f"quality: {counted.evaluations:,} evaluations are predicted to give a cosine of {cosine:.2f}, not "
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
        cosine,
        float(predicted.lower),
        float(predicted.upper),
        agreement,
        low,
        high,
        not bool(predicted.captured.any()),
    )


def explained_methods() -> list[str]:
    """Return the names of the methods that :func:`explain` takes: those that follow from gradients."""
    return [name for name, own in METHODS.items() if own.complete or own.from_gradient is not Method.from_gradient]


def _read(model: Model, image: Any, target: Target) -> tuple[Given, CountedModel, Target, float]:
    """Return a batch of one, its model with the evaluations until now, the explained output and its value."""
    fault, asked = None, 0
    for batch in _batches(model, image):
        given = Given(model, batch)
        check_inputs(given.inputs)
        counted = CountedModel(given.model)
        counted.evaluations = asked
        try:
            return given, counted, *_explained_output(counted, given.inputs, given.target(target))
        except ValueError as error:
            fault, asked = fault or error, counted.evaluations
    assert fault is not None
    raise fault


def _batches(model: Model, image: Any) -> list[Any]:
    """Return a single input as a batch of one; twice if only the model can tell whether it is one already."""
    if not isinstance(image, (Tensor, np.ndarray)):
        raise TypeError(f"image: expected a tensor or an array, got {type(image).__name__}, as the model takes it")
    shape = getattr(model, "shape", None)
    axes = len(image.shape)
    one = axes == len(shape) + 1 if isinstance(shape, tuple) else axes > 3
    if one and len(image) != 1:
        raise ValueError(f"image: expected a single one, got shape {tuple(image.shape)}")
    image = image.detach() if isinstance(image, Tensor) else image
    perhaps = not isinstance(shape, tuple) and axes in (2, 3) and len(image) == 1
    return [image] if one else [image[None], image] if perhaps else [image[None]]


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
            stacklevel=4,
        )
    indices = target_indices(target, 1, outputs.device)
    value = float(select_outputs(outputs, indices, 1))
    place = () if indices is None else tuple(indices[0].tolist())
    return place[0] if len(place) == 1 else place or None, value
