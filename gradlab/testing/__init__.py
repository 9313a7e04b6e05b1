"""What tests of an agent's own can use: whether a training run was left as it would have been."""
