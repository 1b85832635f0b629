"""Attribution methods over a gradient source, and what they cost in model evaluations."""
