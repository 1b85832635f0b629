"""Gradients from differences along directions that move many features at once: all of them, or those of a budget."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from approxgrad.gradients.directional.bases import Basis, Groups, RandomCosines
from approxgrad.gradients.directional.directional_rows import DirectionalRows
from approxgrad.gradients.directional.groups import checked_groups, numbered_groups
from approxgrad.gradients.directional.moves import rounded_share
from approxgrad.gradients.directional.prediction import Estimate, Prediction
from approxgrad.gradients.directional.spectrum import BASES, Spectrum
from approxgrad.gradients.directional.spending import Spending, check_budget, path_points, spending
from approxgrad.gradients.evaluating.batching import OUTPUT_SHARE, PATH_SHARE, balanced_slices
from approxgrad.gradients.evaluating.captum_call import CaptumCall, like_inputs
from approxgrad.gradients.evaluating.checks import Model, checked_count, is_number
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.perturbations import Steps, checked_steps, steps_of_features
from approxgrad.gradients.evaluating.targets import Target, target_indices
from approxgrad.gradients.stencils import stencil

CPU = torch.device("cpu")
# Arrays of 8-byte numbers that are in memory at once: of directions x features, and for each output.
DIRECTION_BUFFERS, OUTPUT_BUFFERS = 6, 8
# Arrays of inputs x path points that are in memory at once.
POINT_BUFFERS = 6
# A feature whose moves lose more than this share to rounding is not moved: its derivative is lost.
LOST_SHARE = 0.5
# A predicted cosine that is surely below this is announced as of no use.
USELESS = 0.3


class DirectionalDifference(CaptumCall):
    """Gradient from differences along directions that move many features: all, or those that a budget pays for.

    With directions u_k and a step h the derivatives ``D_k = (f_t(x + h u_k) - f_t(x - h u_k)) / 2 h`` give the gradient
    ``sum_k D_k u_k``. With fewer directions than features this is the part of the gradient that lies in their span, so
    directions come first that most of the gradient can be expected in. The output of a quantised network is a
    staircase: a step along one feature crosses few stairs unless it leaves the data, one along all features crosses
    many, each feature moving by ``h / sqrt(d)`` only. An instance has the signature of captum's ``gradient_func``, as
    :class:`approxgrad.FiniteDifference`.

    Parameters
    ----------
    step : float or Tensor
        Length h of a step, positive, in units of the features. A tensor that broadcasts to one input gives every
        feature a unit of its own: feature i is moved by ``h_i u_ki``. Several inputs may have a tuple.
    scheme : str, optional
        ``forward``, ``backward`` or ``central``; by default central, or with a budget forward, which pays for nearly
        twice as many directions.
    budget : int, optional
        Most evaluations that the gradient of one input may cost, without those that check the model; by default all
        directions are taken. In Integrated Gradients it is for all points of the path
        (:meth:`path_attributions`); captum's own methods ask for a gradient at each point, and pay for each.
    basis : str
        The directions. ``orthogonal``: random, orthonormal, each along nearly all features. ``cosine``: the cosine
        transform of pictures, in opponent colours if they have three channels, or of series and tables. ``haar``:
        Haar's wavelets. ``pixels``: single features in random order. ``random``: independent random directions, whose
        estimate ``d / q sum_k D_k u_k`` is unbiased. See :mod:`.directional.products` for what is a picture.
    order : "luma" or Spectrum
        Which directions come first. ``luma``: low frequencies, and before those of colours those of all colours
        together. A :class:`approxgrad.Spectrum` of the same basis: those that had the most energy in some pilots.
    groups : Tensor, optional
        In place of a basis: integers that broadcast to one input, or a tuple of these for several inputs. Features with
        the same number move together, each by the same, as with captum's feature masks.
    quality : float, optional
        Predicted cosine between estimated and whole gradient, between 0 and 1, at which the budget is spent no further;
        inputs are then differentiated one by one.
    probes : int, optional
        Random directions for the prediction, paid from the budget; by default 32, but at most one in twelve. With a
        budget for all directions of the basis there are none, unless there is a `quality`.
    path_points : int, optional
        Points of a path that the budget is divided among; by default as :func:`.spending.spending`.
    seed : int
        Of all that is random, which is the same for all inputs and on every device.
    batch_size, memory_budget, check_rows
        As in :class:`.evaluated.BatchedGradient`, which also describes further attributes.

    Attributes
    ----------
    predicted : Prediction or None
        What the last call with a budget or with groups spent on each input, and how much of the gradient it caught.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.

    Notes
    -----
    Cost per input for q directions and m probes: q + m + 1 evaluations for ``forward`` and ``backward``, 2 (q + m) for
    ``central``, and the checks of :class:`approxgrad.FiniteDifference`; the directions add the work of a few products
    of vectors of d features for each. The dtype rounds every entry of x + h u. The gradient is that of the steps that
    were really made: it solves ``M g = y`` with the made steps M and the differences y of the outputs, by refinement of
    the solution for exact steps. Where rounding takes most of a feature's moves, the derivative is taken as 0, with a
    warning; a step that is lost in all features is refused.
    """

    def __init__(
        self,
        step: Steps = 0.1,
        scheme: str | None = None,
        *,
        budget: int | None = None,
        basis: Literal["orthogonal", "cosine", "haar", "pixels", "random"] = "orthogonal",
        order: Literal["luma"] | Spectrum = "luma",
        groups: Tensor | tuple[Tensor, ...] | None = None,
        quality: float | None = None,
        probes: int | None = None,
        path_points: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        check_rows: bool = True,
    ) -> None:
        super().__init__(batch_size, memory_budget=memory_budget, check_rows=check_rows)
        self.seed = checked_count("seed", seed, 0)
        self.step: Steps = checked_steps(step)
        self.scheme = ("central" if budget is None else "forward") if scheme is None else scheme
        self.stencil = stencil(self.scheme)
        budget, probes, path_points = (
            None if value is None else checked_count(name, value, least)
            for name, value, least in (("budget", budget, 1), ("probes", probes, 0), ("path_points", path_points, 1))
        )
        check_budget(budget, probes, path_points, self.stencil)
        if budget is None and (path_points is not None or (probes is not None and groups is None)):
            name = "probes" if path_points is None else "path_points"
            raise ValueError(f"{name}: needs a budget, without which all directions are taken; leave it out")
        if not isinstance(basis, str) or basis not in BASES:
            raise ValueError(f"basis: got {basis!r}, expected one of {', '.join(BASES)}")
        if isinstance(order, Spectrum) and basis != order.basis:
            raise ValueError(f"order: is a spectrum of the basis {order.basis}, expected one of {basis}")
        if not isinstance(order, Spectrum) and order != "luma":
            raise ValueError(f"order: expected 'luma' or a Spectrum, got {order!r}")
        checked_groups(groups)
        if groups is not None and basis != "orthogonal":
            raise ValueError("groups: they are the directions, and expect no basis beside them")
        if quality is not None and not (is_number(quality) and 0 < quality < 1):
            raise ValueError(f"quality: expected a number between 0 and 1, got {quality!r}")
        if quality is not None and (budget is None or probes == 0):
            raise ValueError("quality: needs a budget that it may spend, with probes that tell when to stop")
        self.evaluations, self.basis, self.order, self.groups = budget, basis, order, groups
        self.quality, self.probes, self.path_points = quality, probes, path_points
        self.predicted: Prediction | None = None

    def __repr__(self) -> str:
        step = f"{self.step:g}" if isinstance(self.step, float) else "one for each feature"
        what = ", groups" if self.groups is not None else f", basis={self.basis!r}" * (self.basis != "orthogonal")
        paid = "" if self.evaluations is None else f", budget={self.evaluations}"
        return f"DirectionalDifference(step={step}, scheme={self.scheme!r}{paid}{what}, seed={self.seed})"

    @property
    def along_path(self) -> bool:
        """Whether Integrated Gradients leave the points of the path to :meth:`path_attributions`."""
        return self.chooses_points

    @property
    def chooses_points(self) -> bool:
        """Whether the points of a path follow from the budget."""
        return self.evaluations is not None

    def differentiated(self, stream: Stream) -> tuple[Tensor, ...]:
        """Return the approximated gradients, and keep what is predicted of them."""
        found, predicted = self._estimate(stream)
        self._tell(predicted)
        return like_inputs(found, stream.inputs)

    def path_attributions(
        self, forward_fn: Model, inputs: Tensor, baselines: Tensor, target: Target, n_steps: int
    ) -> Tensor:
        """Return the Integrated Gradients attribution that a budget pays for, shaped like the inputs.

        The points of the path are the middles of equal parts: `path_points`, or as many as the budget says, whatever
        `n_steps`. All have the same directions.

        Parameters
        ----------
        forward_fn, inputs, target
            As in :meth:`__call__`; the inputs are a single tensor.
        baselines : Tensor
            Where paths begin, shaped like the inputs.
        n_steps : int
            Of no effect.
        """
        ends, starts = inputs.detach(), baselines.detach().to(inputs)
        size = self._basis([ends.shape[1:]], CPU).size
        watched = self.quality is not None
        points = self.path_points or path_points(self.evaluations, self.stencil, size, self.probes, watched)
        spent = spending(self.evaluations, self.stencil, size, self.probes, points, watched)
        shares = (torch.arange(points, dtype=torch.float64, device=ends.device) + 0.5) / points
        indices = target_indices(target, len(ends), ends.device)
        each = POINT_BUFFERS * 8 * ends[0].numel() * points
        results, parts = [], []
        with evaluation():
            for part in balanced_slices(len(ends), max(1, int(PATH_SHARE * self.budget(ends.device)) // each)):
                ways = (ends[part].double() - starts[part].double()).unsqueeze(1)
                along = starts[part].double().unsqueeze(1) + shares.reshape(-1, *[1] * (ends.ndim - 1)) * ways
                own = None if indices is None else indices[part].repeat_interleave(points, dim=0)
                stream = self.stream(forward_fn, along.flatten(0, 1).to(ends.dtype), own)
                found, predicted = self._estimate(stream, spent)
                results.append((ways.squeeze(1) * found.reshape(ends[part].shape)).to(ends.dtype))
                parts.append(predicted)
        self._tell(Prediction.joined(parts))
        return torch.cat(results)

    def _basis(self, shapes: Sequence[Sequence[int]], device: torch.device) -> Basis:
        """Return the directions that there are for inputs of some shapes."""
        if self.groups is not None:
            return Groups(numbered_groups(self.groups, shapes, device))
        if isinstance(self.order, Spectrum):
            self.order.check(shapes)
        return BASES[self.basis](shapes, self.seed, device)

    def _estimate(self, stream: Stream, spent: Spending | None = None) -> tuple[Tensor, Prediction]:
        """Return the mean gradient over the points of each input, which follow each other, and what is predicted of it.

        The gradient is float64 of shape (inputs, d).
        """
        basis = self._basis([point.shape[1:] for point in stream.inputs], stream.device)
        watched = self.quality is not None
        spent = spent or spending(self.evaluations, self.stencil, basis.size, self.probes, watched=watched)
        order = self.order.order(basis) if isinstance(self.order, Spectrum) else basis.order()
        order = order[: spent.directions]
        steps = steps_of_features(self.step, stream.inputs)
        kept, share = self._kept(stream, steps, basis.reach)
        probes = RandomCosines(basis.features, self.seed + 1, stream.device) if spent.probes else basis
        budget, points = self.budget(stream.device), spent.points
        elements = int(PATH_SHARE * budget) // (2 * 8 * DIRECTION_BUFFERS)
        per_input = 8 * OUTPUT_BUFFERS * points * (spent.directions + spent.probes + basis.features)
        largest = 1 if self.quality else max(1, int(OUTPUT_SHARE * budget) // (2 * per_input))
        found = []
        for part in balanced_slices(stream.rows // points, largest):
            rows = slice(part.start * points, part.stop * points)
            own = DirectionalRows(stream, rows, steps, self.stencil, elements, kept)
            found.append(own.estimate(basis, order, spent, probes, share, self.quality))
        estimate = Estimate.joined(found)
        return estimate.gradient * (steps.max() / steps), Prediction.of(estimate, basis, order, probes, spent)

    def _tell(self, predicted: Prediction) -> None:
        """Keep a prediction if there is anything to predict, and warn of a budget that is of no use."""
        self.predicted = None if self.evaluations is None and self.groups is None else predicted
        if self.evaluations is None or self.groups is not None or not float(predicted.upper.nanmedian()) < USELESS:
            return
        warnings.warn(
            f"budget: {self.evaluations:,} evaluations are of little use here, where the estimate is predicted to have "
            f"a cosine of {float(predicted.cosine.nanmedian()):.2f} with the whole gradient; groups= of features, such "
            "as patches of pixels, take one evaluation each",
            stacklevel=4,
        )

    def _kept(self, stream: Stream, steps: Tensor, reach: float | Tensor) -> tuple[Tensor | None, float]:
        """Return which features can be moved, of shape (N, d), and the largest share that rounding takes of them.

        None stands for all of them. The directions move features by about `reach` times their step.
        """
        widths = [point[0].numel() for point in stream.inputs]
        shares = torch.cat(
            [
                rounded_share(point.reshape(stream.rows, -1), own)
                for point, own in zip(stream.inputs, (steps * reach).split(widths), strict=True)
            ],
            dim=1,
        )
        kept = shares <= LOST_SHARE
        lost = int((~kept).sum())
        if lost == 0:
            return None, float(shares.max())
        kind = str(stream.inputs[0].dtype).removeprefix("torch.")
        if lost == kept.numel():
            least = 2 * float((steps * shares).min()) / LOST_SHARE
            raise ValueError(
                f"step: {float(steps.max()):g} is lost in {kind}, x + h u is x for every feature of the inputs; "
                f"expected at least {least:.1g}"
            )
        self.lost_steps += lost
        warnings.warn(
            f"step: lost in {kind} for {lost:,} of {kept.numel():,} derivatives, where rounding takes most of h u; "
            "they are taken as 0. A larger step, one step for each feature, or float64 helps",
            stacklevel=5,
        )
        return kept, float(shares[kept].max())
