"""Checkpoints in files: which files there are, what is in them, and what lies beside them."""
