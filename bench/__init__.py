"""Benchmark of the finite-difference engine beside its peers, its ceiling, its scaling and its memory."""
