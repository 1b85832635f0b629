"""Data sets: one module for each kind, and what the kinds share."""
