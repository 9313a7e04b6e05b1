"""OnPolicyLoss: what an on-policy algorithm makes of a rollout, as far as its gradient depends on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradlab.errors import GradlabError


@dataclass(frozen=True)
class OnPolicyLoss:
    """The settings of −E[min(ρÂ, clip(ρ, 1−ε, 1+ε)Â)] − c_H E H(π(·|s)) + c_V E (target − V(s))².

    ρ is the ratio of the new to the old probability of the action taken. Without a clip it is −E[ρÂ], which has A2C's
    gradient at ρ = 1 and is TRPO's objective. Source: Schulman et al. 2017, "Proximal policy optimization algorithms"
    (arXiv 1707.06347), equations 7 and 9.

    Attributes:
        discount: γ.
        gae_lambda: λ of the advantages.
        clip: ε; None where nothing is clipped.
        entropy: c_H, the weight of the entropy bonus.
        value: c_V, the weight of V's loss.
        value_clip: how far V may move from what it was before its loss stops pulling; None for no such limit.

    Raises:
        GradlabError: γ or λ lies outside [0, 1], a clip is not above zero, or a weight is not finite.

    Example:
        >>> OnPolicyLoss(discount=0.99, gae_lambda=0.95, clip=0.2).entropy
        0.0
        >>> OnPolicyLoss(discount=0.99, gae_lambda=95)
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: on-policy loss: gae_lambda is 95; it lies from 0 to 1
    """

    discount: float
    gae_lambda: float
    clip: float | None = None
    entropy: float = 0.0
    value: float = 0.0
    value_clip: float | None = None

    def __post_init__(self) -> None:
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise GradlabError(f"on-policy loss: {name} is {getattr(self, name):g}; it lies from 0 to 1")
        for name in ("clip", "value_clip"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise GradlabError(f"on-policy loss: {name} is {limit:g}; it is above zero, or None for no clipping")
        for name in ("entropy", "value"):
            if not math.isfinite(getattr(self, name)):
                raise GradlabError(f"on-policy loss: the weight {name} is {getattr(self, name)}; it must be finite")
