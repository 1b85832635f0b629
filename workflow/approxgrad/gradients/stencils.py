"""Finite-difference stencils as data: where a scheme evaluates the model and with which weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stencil:
    """One finite-difference scheme for a first derivative.

    With step h, the derivative along feature i at x is ``sum(c * f(x + o * h * e_i) for o, c) / h``.

    Attributes
    ----------
    offsets : tuple of int
        Multiples of the step at which the model is evaluated. Offset 0 is the unperturbed input, which
        all features of an input share.
    coefficients : tuple of float
        Weight of each evaluation; they sum to zero.
    order : int
        Order of the truncation error: it shrinks like ``h ** order`` for a smooth model.
    """

    offsets: tuple[int, ...]
    coefficients: tuple[float, ...]
    order: int

    @property
    def uses_base(self) -> bool:
        """Whether the unperturbed output enters."""
        return 0 in self.offsets

    @property
    def shifts(self) -> tuple[int, ...]:
        """The offsets that perturb a feature."""
        return tuple(offset for offset in self.offsets if offset != 0)

    def evaluations(self, features: int) -> int:
        """Return the model evaluations for the derivatives along `features` features at one point."""
        return int(self.uses_base) + len(self.shifts) * features


# Fornberg (1988), "Generation of finite difference formulas on arbitrarily spaced grids", table 1 (central) and 3.
SCHEMES: dict[str, Stencil] = {
    "forward": Stencil(offsets=(0, 1), coefficients=(-1.0, 1.0), order=1),
    "backward": Stencil(offsets=(-1, 0), coefficients=(-1.0, 1.0), order=1),
    "central": Stencil(offsets=(-1, 1), coefficients=(-0.5, 0.5), order=2),
}


def stencil(scheme: str) -> Stencil:
    """Return the stencil of a scheme.

    Raises
    ------
    ValueError
        If there is no such scheme.
    """
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise ValueError(f"scheme: got {scheme!r}, expected one of {', '.join(SCHEMES)}")
    return SCHEMES[scheme]
