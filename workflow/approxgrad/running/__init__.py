"""What surrounds a run and its jobs: one at a time, errors in one line, messages."""
