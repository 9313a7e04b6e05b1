"""Many exact states of one environment, stepped together: one kind of lanes a module.

Whatever steps a batch of exact states fast enough can stand behind ``lanes.base.Lanes``.
"""
