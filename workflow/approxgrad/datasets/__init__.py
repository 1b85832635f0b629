"""Data sets: a description of each kind, and what the kinds share."""
