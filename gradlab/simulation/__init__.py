"""Tasks with exact state: capture, restore, and closed-loop returns."""
