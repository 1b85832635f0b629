"""Derivatives along directions that move many features at once, within a budget of evaluations."""
