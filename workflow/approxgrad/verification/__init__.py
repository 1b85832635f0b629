"""A finished study computed again in part, and compared."""
