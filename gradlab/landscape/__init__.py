"""The Q-landscape over actions: local optima, basins, slices and fields."""
