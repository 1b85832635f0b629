"""What others have published for few evaluations, for comparison."""
