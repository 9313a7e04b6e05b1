"""Probes: measuring a training run while it goes on, without changing it."""
