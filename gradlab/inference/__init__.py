"""From inner products of gradients to estimates with intervals; knows tensors and numbers, no agents."""
