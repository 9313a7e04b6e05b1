"""What can be asked of an estimator's draws, one question a module."""
