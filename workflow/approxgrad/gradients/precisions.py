"""Precisions in which models are evaluated."""

PRECISIONS = ("float32", "float64")
"""The lowest first."""
