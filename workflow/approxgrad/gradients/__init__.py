"""Gradient sources: the exact gradient, the finite-difference engine, and what both share."""
