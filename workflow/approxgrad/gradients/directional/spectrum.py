"""The mean spectrum of gradients, which says in what order directions are worth their evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.directional.bases import Basis, Coordinates, IndependentDirections, Joined, RandomCosines
from approxgrad.gradients.directional.products import cosine_basis, haar_basis
from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.checks import Model, checked_inputs
from approxgrad.gradients.evaluating.counting import CountedModel
from approxgrad.gradients.evaluating.targets import Target

Shapes = Sequence[Sequence[int]]

BASES: dict[str, Callable[[Shapes, int, torch.device], Basis]] = {
    "orthogonal": lambda shapes, seed, device: RandomCosines(_features(shapes), seed, device),
    "cosine": lambda shapes, seed, device: _joined([cosine_basis(shape, device) for shape in shapes]),
    "haar": lambda shapes, seed, device: _joined([haar_basis(shape, device) for shape in shapes]),
    "pixels": lambda shapes, seed, device: Coordinates(_features(shapes), seed, device),
    "random": lambda shapes, seed, device: IndependentDirections(_features(shapes), seed, device),
}
"""Bases by name: from the shapes of one input of each tensor, a seed and a device."""

ORDERED = ("cosine", "haar", "pixels")
"""Bases whose directions are the same for every seed, so that spectra of them can be kept."""

ELEMENTS = 2**22  # of directions that are made at a time


@dataclass(frozen=True)
class Spectrum:
    """Mean squared coefficients of gradients in a basis: an order of its directions that can be kept and used again.

    Attributes
    ----------
    energies : Tensor
        One number for each direction of the basis, float64 of shape (d,).
    basis : str
        The basis: ``cosine``, ``haar`` or ``pixels``.
    shapes : tuple of tuple of int
        Shape of one input of each input tensor.
    pilots : int
        Inputs whose gradients were averaged.
    evaluations : int
        Evaluations of a model that it cost.
    """

    energies: Tensor
    basis: str
    shapes: tuple[tuple[int, ...], ...]
    pilots: int
    evaluations: int

    @classmethod
    def measured(
        cls,
        model: Model,
        pilots: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        gradient: Callable[..., tuple[Tensor, ...]],
        basis: str = "cosine",
    ) -> Spectrum:
        """Return the mean spectrum of the gradients of some inputs, each scaled to length 1.

        Parameters
        ----------
        model, pilots, target, additional_forward_args
            As for :class:`approxgrad.FiniteDifference`: a few inputs like those that are to be explained, of the same
            model or of another one that sees alike. They serve Integrated Gradients about as well as the middles of
            their paths would.
        gradient : GradientSource
            What differentiates the model at the pilots, such as ``FiniteDifference(0.1)``.
        basis : str
            ``cosine``, ``haar`` or ``pixels``.

        Raises
        ------
        TypeError, ValueError
            If the gradient is not a source, the basis is none of these, or all gradients are zero.

        Notes
        -----
        Cost: that of the gradients, which :attr:`evaluations` counts with the checks of the model.
        """
        if basis not in ORDERED:
            raise ValueError(f"basis: got {basis!r}, expected one of {', '.join(ORDERED)} for a spectrum")
        if not callable(gradient):
            raise TypeError(f"gradient: expected a gradient source such as FiniteDifference(0.1), got {gradient!r}")
        points = checked_inputs(pilots)
        counted = CountedModel(model)
        found = gradient(counted, pilots, target, additional_forward_args)
        rows = torch.cat([own.detach().double().reshape(len(own), -1) for own in found], dim=1)
        sizes = rows.norm(dim=1, keepdim=True)
        if not bool((sizes > 0).any()):
            raise ValueError("pilots: the gradient is zero for each of them; larger steps or other pilots help")
        rows = rows / sizes.clamp(min=torch.finfo(rows.dtype).tiny)
        shapes = tuple(tuple(point.shape[1:]) for point in points)
        made = BASES[basis](shapes, 0, rows.device)
        parts = balanced_slices(made.size, max(1, ELEMENTS // made.features))
        energies = torch.cat([(made.directions(part) @ rows.T).square().mean(dim=1) for part in parts])
        return cls(energies.cpu(), basis, shapes, len(rows), counted.evaluations)

    def check(self, shapes: Shapes) -> None:
        """Refuse, by a ValueError, inputs of other shapes."""
        if self.shapes != tuple(map(tuple, shapes)):
            own, given = (", ".join(str(tuple(shape)) for shape in some) for some in (self.shapes, shapes))
            raise ValueError(f"order: is a spectrum of inputs of shape {own}, but they have shape {given}")

    def order(self, basis: Basis) -> Tensor:
        """Return the numbers of the directions of the basis, those of the most energy first."""
        return basis.smoothed(self.energies.to(basis.device)).argsort(descending=True, stable=True)

    def save(self, path: str | Path) -> None:
        """Write the spectrum as a file of numpy arrays, whose name ends in ``.npz``."""
        others = {name: np.asarray(getattr(self, name)) for name in ("basis", "pilots", "evaluations")}
        for number, shape in enumerate(self.shapes):
            others[f"shape{number:03}"] = np.asarray(shape, dtype=np.int64)
        with Path(path).open("wb") as file:
            np.savez(file, energies=self.energies.cpu().numpy(), **others)  # type: ignore[arg-type]  # none is allow_pickle

    @classmethod
    def load(cls, path: str | Path) -> Spectrum:
        """Return a spectrum that was saved; a ValueError if the file is none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                shapes = [file[name] for name in sorted(file.files) if name.startswith("shape")]
                found = cls(
                    torch.from_numpy(file["energies"].astype(np.float64)),
                    str(file["basis"]),
                    tuple(tuple(int(size) for size in shape) for shape in shapes),
                    int(file["pilots"]),
                    int(file["evaluations"]),
                )
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file") from None
        except Exception as error:
            raise ValueError(f"{path}: is not a spectrum ({type(error).__name__})") from error
        fits = found.energies.shape == (_features(found.shapes),) and bool(torch.isfinite(found.energies).all())
        if found.basis not in ORDERED or not fits:
            raise ValueError(f"{path}: is not a spectrum; its energies do not fit its shape {found.shapes}")
        return found


def _features(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def _joined(bases: list[Basis]) -> Basis:
    return bases[0] if len(bases) == 1 else Joined(bases)
