"""Worlds: problems whose gradients, values and variances are known in closed form."""
