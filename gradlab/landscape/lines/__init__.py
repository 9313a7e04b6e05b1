"""Piecewise-linear critics along a line of actions, exactly."""
