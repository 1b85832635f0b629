"""The step of a finite difference, chosen from model evaluations."""
