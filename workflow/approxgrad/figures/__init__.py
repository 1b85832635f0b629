"""Figures of a study, one module for each kind; none of them needs torch or a display."""
