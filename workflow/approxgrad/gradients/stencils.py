"""Finite-difference schemes as data: where each evaluates the model, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stencil:
    """One scheme for a first derivative: with step h, ``sum(c * f(x + o * h * e_i) for o, c) / h`` along feature i.

    Attributes
    ----------
    offsets : tuple of int
        Multiples o of the step. Offset 0 is the unperturbed input, which all features share.
    coefficients : tuple of float
        Weight c of each evaluation; they sum to zero.
    order : int
        The truncation error of a smooth model shrinks like ``h ** order``.
    """

    offsets: tuple[int, ...]
    coefficients: tuple[float, ...]
    order: int

    @property
    def uses_base(self) -> bool:
        """Whether the unperturbed output is used."""
        return 0 in self.offsets

    @property
    def shifts(self) -> tuple[int, ...]:
        """The offsets that perturb a feature."""
        return tuple(offset for offset in self.offsets if offset != 0)

    @property
    def weights(self) -> dict[int, float]:
        """The coefficient of each offset."""
        return dict(zip(self.offsets, self.coefficients, strict=True))

    def evaluations(self, features: int) -> int:
        """Return the model evaluations for the derivatives along so many features at one point."""
        return int(self.uses_base) + len(self.shifts) * features


# Fornberg (1988), "Generation of finite difference formulas on arbitrarily spaced grids", tables 1 (central) and 3.
SCHEMES: dict[str, Stencil] = {
    "forward": Stencil(offsets=(0, 1), coefficients=(-1.0, 1.0), order=1),
    "backward": Stencil(offsets=(-1, 0), coefficients=(-1.0, 1.0), order=1),
    "central": Stencil(offsets=(-1, 1), coefficients=(-0.5, 0.5), order=2),
}


def stencil(scheme: str) -> Stencil:
    """Return the stencil of a scheme; a ValueError if there is no such scheme."""
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise ValueError(f"scheme: got {scheme!r}, expected one of {', '.join(SCHEMES)}")
    return SCHEMES[scheme]
