"""How a model is evaluated: which rows, in which batches, with which checks, and how fast."""
