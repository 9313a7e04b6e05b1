"""The gradient of a return by the chain rule along the closed loop, one differenced step at a time."""

from gradlab.simulation.chain.rule import Chain, chain_rule

__all__ = ["Chain", "chain_rule"]
