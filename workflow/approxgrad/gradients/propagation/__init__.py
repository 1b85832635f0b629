"""Differences of a network's outputs without cancellation, propagated from layer to layer."""
