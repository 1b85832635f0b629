"""A study: its configuration, the cells that follow from it, and the work of one cell."""
