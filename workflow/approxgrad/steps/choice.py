"""The step of a finite difference, chosen from model evaluations.

The error of a difference has two parts. Rounding, inside the model and of x + h, gives noise / h; what the function
does between x and x + h grows with h. Both are measured at some of the inputs, and the step minimises their sum.

A smooth model bends, and the rule is that of the literature. A network of rectifiers is linear up to its first kink,
where the error jumps from rounding alone to the size of the kink. Its best step is about the largest one with no kink
in reach of any feature, for most inputs.

The output of a quantised or rounded model is a staircase. No smaller step removes the noise of its stairs, so the step
has to cross several of them, and the truncation error over that distance is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxgrad.gradients.evaluating.arrays import Given
from approxgrad.gradients.evaluating.checks import Model, broadcast_baselines, check_inputs
from approxgrad.gradients.evaluating.evaluated import BatchedGradient
from approxgrad.steps.arrays import Array, Flags
from approxgrad.steps.kinks import Kinks, best_step
from approxgrad.steps.search import RATIO, Search

# Shares of the inputs whose error does not exceed the minimised one. The median input would do, but just past the first
# kink the error is larger by orders of magnitude, while a step that is too small by some factor loses only that factor.
# With kinks of constant density these shares take a step below the median's by a factor:
COUNTED = 2 ** -(0.5**0.5)  # of 1.4, if kinks were counted along every feature
SAMPLED = 0.7  # of 1.9, if they were counted for some inputs, or rounding takes the step past first kinks
ESTIMATED = 0.8  # of 3.1, for estimates, which tell the distance only to a factor of two
ACROSS_STAIRS = 0.57  # for counted kinks of a staircase, whose noise leaves less to lose past the first kink

# Share of the bends that have to grow like those of a smooth function; on a staircase, noise makes some do so.
SMOOTH, SMOOTH_STAIRS = 0.5, 0.75


FEATURES, ORTHOGONAL = "features", "orthogonal"
"""What a step moves: one feature, or all of them along a direction of an orthonormal basis."""


@dataclass(frozen=True)
class StepChoice:
    """A chosen step and what it was chosen from.

    Attributes
    ----------
    step : float
        The step h, in units of the features, with two significant digits.
    scheme : str
        The finite-difference scheme that it is for.
    regime : str
        What limits the step: ``smooth`` (curvature), ``kinks`` (of a piecewise linear model) or ``staircase`` (of a
        quantised or rounded output, half precision included). If nothing does, the step is the size of the inputs:
        ``linear``, where a smaller step only has more rounding error, or ``piecewise constant``, where there is no
        gradient to approximate, as for a forest or class labels.
    noise : float
        Standard deviation of the rounding error of the target output; for a staircase, of what the stairs add to a
        smooth function, at least quantum / sqrt(12).
    curvature : float or None
        In the smooth regime: root mean square of the second derivative along a feature (central: of the third).
    kink_distance : float or None
        In the regime of kinks: the step within which half of the points meet a kink in some feature.
    error : float
        Predicted root mean square error of a derivative along a feature, averaged over the path for Integrated
        Gradients. In the regime of kinks it is for an input whose error is not above the usual; for a piecewise
        constant model, how much differences over steps of this size disagree.
    evaluations : int
        Model evaluations made, at most :func:`approxgrad.steps.search.most_evaluations`.
    quantum : float or None
        Height of the stairs of a staircase or a piecewise constant model: the unit of its jumps, or their root mean
        square if there is none.
    """

    step: float
    scheme: str
    regime: str
    noise: float
    curvature: float | None
    kink_distance: float | None
    error: float
    evaluations: int
    quantum: float | None = None


@dataclass(frozen=True)
class _Limit:
    """What limits the step, as in :class:`StepChoice`, and the truncation error there."""

    regime: str
    step: float
    truncation: float
    curvature: float | None = None
    kink_distance: float | None = None


def choose_step(
    model: Model,
    inputs: Any,
    target: Any = None,
    scheme: str = "forward",
    *,
    directions: str = FEATURES,
    baselines: Any = None,
    n_steps: int = 50,
    seed: int = 0,
    batch_size: int | None = None,
    check_rows: bool = True,
) -> StepChoice:
    """Choose the step with the smallest error of the gradient, from model evaluations only.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs; no autograd and no ``nn.Module`` needed.
    inputs : Tensor, array or DataFrame
        Floating-point, shape (N, ...): inputs like those that are to be attributed. Up to 64 of them are tried. Arrays
        and data frames are taken as by :func:`approxgrad.attribute`, targets and baselines too.
    target : Target, array or Series
        The output that is explained, in any form of :data:`approxgrad.gradients.evaluating.targets.Target`.
    scheme : str
        ``forward``, ``backward`` or ``central``.
    directions : str
        ``features`` for :class:`approxgrad.FiniteDifference`, ``orthogonal`` for
        :class:`approxgrad.DirectionalDifference`, whose step is the length of a move of all features.
    baselines : float, Tensor, array, Series or DataFrame, optional
        For Integrated Gradients: where its paths begin, a number or what broadcasts to the inputs. Without
        it the step is for the gradient at the inputs themselves.
    n_steps : int
        Points of each path, which only count if there are baselines. Rounding errors average over the path, but each
        point may meet its own kink, so more points mean a smaller step before kinks.
    seed : int
        Of the points, features and signs that are tried; the same seed gives the same step.
    batch_size, check_rows
        As in :class:`approxgrad.FiniteDifference`; the check takes at most 72 evaluations.

    Returns
    -------
    StepChoice
        One step for all inputs and features.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, and as in :meth:`approxgrad.FiniteDifference.__call__`.

    Notes
    -----
    Noise comes from difference tables along features. On the smallest scale on which most features show a bend, bends
    either grow like those of a smooth function (:func:`smooth_step`) or come from kinks, whose distances are measured
    (:mod:`approxgrad.steps.kink_survey`). Jumps of the output reveal a staircase, for which differences at steps up to
    eight times the size of the inputs show the error (:mod:`approxgrad.steps.ladder`), unless kinks stand clear of the
    stairs.

    Cost in evaluations: about 1,000 for smooth models, of which 300 to 500 look for jumps. Some thousand for networks
    of rectifiers; if the step has to stay before the first kink, two more for each pair of feature and path point of
    the inputs that are tried, for at most 65,536 pairs. 8,000 to 10,000 for staircases, and if kinks decide there, what
    kinks cost in addition.

    Examples
    --------
    >>> import torch
    >>> from approxgrad import choose_step
    >>> rows = torch.linspace(0.1, 1.5, 60, dtype=torch.float64).reshape(20, 3)
    >>> choice = choose_step(lambda x: torch.exp(x).sum(dim=1), rows)
    >>> choice.regime, 1e-9 < choice.step < 1e-7
    ('smooth', True)
    """
    if not callable(model):
        raise TypeError(f"model: expected a callable, got {type(model).__name__}")
    if directions not in (FEATURES, ORTHOGONAL):
        raise ValueError(f"directions: got {directions!r}, expected {FEATURES} or {ORTHOGONAL}")
    given = Given(model, inputs)
    check_inputs(given.inputs)
    source = BatchedGradient(batch_size, check_rows=check_rows)
    _check_integer("seed", seed, least=0)
    _check_integer("n_steps", n_steps, least=1)
    begin = None if baselines is None else broadcast_baselines(given.baselines(baselines), given.inputs)
    path_points = 1 if begin is None else n_steps
    stream = source.stream(given.model, given.inputs, given.target(target))
    search = Search(
        stream.model,
        stream.inputs[0],
        stream.indices,
        scheme,
        begin,
        path_points,
        seed,
        batch_size=stream.size,
        orthogonal=directions == ORTHOGONAL,
    )

    noise = search.noise()
    stairs = search.stairs()
    noise = max(noise, stairs.noise if stairs else 0.0)
    # A step below the resolution of the inputs is lost in them; one above their size leaves the data.
    largest, error = search.scale, None
    if stairs is None or not stairs.named:
        limit, quantum = _limit(search, noise, path_points, seed, COUNTED, SMOOTH), None
    else:
        quantum, ladder = stairs.quantum, search.ladder(noise)
        limit = _Limit("piecewise constant", min(largest, ladder.largest), 0.0)
        if stairs.even:
            # At single points and with kinks larger than the stairs, most inputs have no error up to their first kink;
            # the ladder's mean square over all inputs would choose a smaller step.
            largest = ladder.largest
            single = path_points == 1 and directions == FEATURES
            if single and not ladder.clips and largest >= RATIO * search.scale:
                limit = _limit(search, noise, 1, seed, ACROSS_STAIRS, SMOOTH_STAIRS)
            step = limit.step if limit.regime == "kinks" else ladder.best()
            limit = _Limit("staircase", step, 0.0, None, limit.kink_distance)
        error = ladder.error(min(limit.step, largest))
    step = float(f"{min(max(limit.step, 2 * search.resolution * search.scale), largest):.2g}")
    if error is None:
        error = math.hypot(search.rounding(noise / math.sqrt(path_points), step), limit.truncation)
    evaluations = source.check_evaluations + search.probe.evaluations
    limited = limit.regime, noise, limit.curvature, limit.kink_distance
    return StepChoice(step, scheme, *limited, error, evaluations, quantum)


def _limit(search: Search, noise: float, path_points: int, seed: int, clear: float, smooth: float) -> _Limit:
    """Return what limits the step of a function with this noise.

    It is smooth if a share `smooth` of the bends is. With counted kinks, a share `clear` of the inputs has no larger
    error.
    """
    scale = search.bend_scale(noise)
    bends, larger = search.bends(scale)
    seen = search.seen(bends, noise, scale)
    averaged_noise = noise / math.sqrt(path_points)
    if not seen.any():
        return _Limit("linear", search.scale, 0.0)
    if _is_smooth(bends, larger, seen & search.seen(larger, noise, RATIO * scale), search.order, smooth):
        bend = math.sqrt(max(0.0, float(np.mean(bends**2)) - search.bend_noise(noise, scale) ** 2))
        curvature = search.derivative(bend, scale)
        step = smooth_step(averaged_noise, curvature, search.order)
        return _Limit("smooth", step, search.truncation(bend) * (step / scale) ** search.order, curvature)
    rounding = search.features * search.rounding(averaged_noise, 1.0) ** 2
    density = search.features * search.kink_density(seen, scale)

    def best(kinks: Kinks, share: float) -> tuple[float, float]:
        return best_step(kinks, np.abs(bends[seen]), density, rounding, path_points, share, seed)

    kinks = search.kinks(noise, scale / math.sqrt(search.features))
    step, error = best(kinks, clear if kinks.counted else SAMPLED)
    first = float(kinks.reach(np.log([2.0]) / path_points)[0])
    if step < first:
        # To stay before the first kink takes a finer count, or a margin.
        counted = search.counted_kinks(first)
        kinks, share = (kinks, ESTIMATED) if counted is None else (counted[0], clear if counted[1] else SAMPLED)
        step, error = best(kinks, share)
    distance = float(kinks.reach(np.log([2.0]))[0])
    return _Limit("kinks", step, error / math.sqrt(search.features), kink_distance=distance)


def smooth_step(noise: float, curvature: float, order: int) -> float:
    """Return the step that minimises the mean squared error of a difference of a smooth, noisy function.

    Moré and Wild, 2012, "Estimating derivatives of noisy simulations", https://doi.org/10.1145/2168773.2168777.

    The curvature is the second derivative for a one-sided difference, the third for the central one. For order 1 the
    step is ``8^(1/4) sqrt(noise / f'')``, where 2 noise^2 / h^2 + (f'' h / 2)^2 is smallest; for order 2 it is
    ``(3 noise / f''')^(1/3)``, where noise^2 / (2 h^2) + (f''' h^2 / 6)^2 is.
    """
    if curvature == 0:
        return math.inf
    return 8**0.25 * math.sqrt(noise / curvature) if order == 1 else (3 * noise / curvature) ** (1 / 3)


def _is_smooth(bends: Array, larger: Array, seen: Flags, order: int, share: float) -> bool:
    """Return whether this share of the bends grows with the scale like those of a smooth function, as few kinks do."""
    if not seen.any():
        return False
    growth = larger[seen] / bends[seen] / RATIO**order
    return bool(np.mean((growth > 0.7) & (growth < 1.4)) > share)


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value}")
