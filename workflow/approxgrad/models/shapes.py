"""Which shapes of inputs an architecture takes: known before torch is loaded."""

from __future__ import annotations

SMALLEST_SIDE = {"cnn": 4, "resnet18": 1, "resnet50": 1}
"""Pixels of the shorter side, for each architecture that takes images only."""


def shape_fault(architecture: str, shape: tuple[int, ...]) -> str | None:
    """Return why an architecture does not take inputs of a shape, or None if it does."""
    smallest = SMALLEST_SIDE.get(architecture)
    if smallest is None or (len(shape) == 3 and min(shape[1:]) >= smallest):
        return None
    return f"architecture {architecture}: expected images with sides of at least {smallest} pixels, got shape {shape}"
