"""Slices and fields, over actions and over states."""
