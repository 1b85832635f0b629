"""Gradient sources: the exact gradient and the finite-difference engine, with what both share."""
