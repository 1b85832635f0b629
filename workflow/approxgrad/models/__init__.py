"""Models: architectures, own networks, training, weights, and how they run."""
