"""Adapters: an Agent out of a live object or a checkpoint, one file per library."""
