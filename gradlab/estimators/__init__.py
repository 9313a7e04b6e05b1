"""Policy-gradient estimators, one file per family: each draws cotangents [draws, states, m] at the head."""
