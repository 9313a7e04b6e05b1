"""A rollout's advantages made anew from its rewards and values, at any λ; and how they were normalised."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.rollout import Rollout


def can_be_made_anew(rollout: Rollout) -> str:
    """What a rollout lacks for its advantages to be made anew, in words; empty where it lacks nothing.

    Example:
        >>> one = torch.ones(1)
        >>> can_be_made_anew(Rollout(one[:, None], one[:, None], one, one, one, torch.tensor([0]), reward=one))
        'bootstrap, loss'
    """
    return ", ".join(name for name in ("reward", "bootstrap", "loss") if getattr(rollout, name) is None)


def generalized_advantages(
    rollout: Rollout, gae_lambda: float | None = None, bootstrap: Tensor | None = None
) -> Tensor:
    """Σ_l (γλ)ˡ δ_{t+l}, δ_t = r_t + γV(s_{t+1}) − V(s_t), within each trajectory, before any normalisation.

    After a trajectory's last step the rollout's ``bootstrap`` stands for γV(s_{t+1}). λ = 1 is the discounted
    reward-to-go, with the bootstrap where it was cut off, less the baseline V(s_t).
    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".

    Args:
        rollout: with rewards, bootstrap and loss.
        gae_lambda: λ; the rollout's own when None.
        bootstrap: [R], in place of the rollout's own.

    Returns:
        [N], float64.

    Raises:
        GradlabError: the rollout lacks what they are made from.

    Example:
        >>> from gradlab.on_policy_loss import OnPolicyLoss
        >>> v, one = torch.tensor([1.0, 2.0]), torch.ones(2, 1)
        >>> loss = OnPolicyLoss(discount=0.5, gae_lambda=1.0)
        >>> rollout = Rollout(one, one, v, v, v, torch.tensor([0, 0]), reward=v, bootstrap=torch.ones(1), loss=loss)
        >>> generalized_advantages(rollout)
        tensor([1.5000, 1.0000], dtype=torch.float64)
    """
    lack = can_be_made_anew(rollout)
    if lack:
        raise GradlabError(f"rollout: its advantages cannot be made anew without its {lack}; fill these fields")
    assert rollout.reward is not None
    assert rollout.bootstrap is not None
    assert rollout.loss is not None
    discount = rollout.loss.discount
    carry = discount * (rollout.loss.gae_lambda if gae_lambda is None else gae_lambda)
    value, ends = rollout.value.double(), rollout.lengths.cumsum(0) - 1
    following = discount * value.roll(-1)
    following[ends] = (rollout.bootstrap if bootstrap is None else bootstrap).to(following)
    delta = rollout.reward.double() + following - value
    # A table of trajectories by steps, so that the recursion takes as many operations as the longest has steps.
    within = torch.arange(len(rollout), device=value.device) - (ends - rollout.lengths + 1)[rollout.trajectory]
    table = delta.new_zeros(int(rollout.lengths.max()) + 1, rollout.count)
    table[within, rollout.trajectory] = delta
    # Thousands of small steps, which numpy takes a tenth of the time for.
    rows = table.cpu().numpy()
    for step in range(len(rows) - 2, -1, -1):
        rows[step] += carry * rows[step + 1]
    return torch.from_numpy(rows).to(delta)[within, rollout.trajectory]


def parity(rollout: Rollout) -> float:
    """The largest difference of the advantages made anew from the rollout's own, over the largest number behind them.

    A wrong λ, γ or reward shows here; roundings of float32 are below 1e-6.

    Raises:
        GradlabError: the rollout lacks what they are made from, or its own before normalisation.
    """
    if rollout.raw_advantage is None:
        raise GradlabError("rollout: nothing to compare advantages with; fill its raw_advantage")
    # Roundings are of the numbers that the advantages are differences of.
    scale = max(float(part.abs().max()) for part in (rollout.raw_advantage, rollout.value, rollout.target))
    gap = float((generalized_advantages(rollout) - rollout.raw_advantage.double()).abs().max())
    return gap / scale if scale > 0 else gap


def normalisation(rollout: Rollout) -> tuple[float, float]:
    """Shift m and scale s of Â = (A − m)/s, A the advantages before they were normalised; (0, 1) where they were not.

    Raises:
        GradlabError: the advantages used are no such function of those before, or s is not positive.

    Example:
        >>> a, one = torch.tensor([1.0, 3.0]), torch.ones(2, 1)
        >>> used = (a - 2) / 4
        >>> normalisation(Rollout(one, one, used, a, a, torch.tensor([0, 0]), raw_advantage=a))
        (2.0, 4.0)
    """
    if rollout.raw_advantage is None:
        return 0.0, 1.0
    before, used = rollout.raw_advantage.double(), rollout.advantage.double()
    if float((before - used).abs().max()) <= 1e-6 * float(before.abs().max()):
        return 0.0, 1.0
    spread = float(used.std()) if len(used) > 1 else 0.0
    if not spread > 0:
        raise GradlabError("rollout: all its advantages are the same after normalisation, so the scale is unknown")
    scale = float(before.std()) / spread
    shift = float(before.mean() - scale * used.mean())
    gap = float((before - shift - scale * used).abs().max())
    if not gap <= 1e-4 * max(float(before.abs().max()), scale):
        raise GradlabError(
            f"rollout: advantage is not (raw_advantage − m)/s for any m and s, off by {gap:.1e}; fill both with those "
            "of the same steps"
        )
    return shift, scale


def with_raw_advantages(rollout: Rollout) -> Rollout:
    """The rollout with its advantages before normalisation, made anew where it does not hold them and these fit.

    Example:
        >>> from gradlab.on_policy_loss import OnPolicyLoss
        >>> v, one = torch.tensor([1.0, 3.0]), torch.ones(2, 1)
        >>> loss = OnPolicyLoss(discount=0.5, gae_lambda=1.0)
        >>> rollout = Rollout(one, one, v - 2, v, 0 * v, torch.arange(2), reward=v, bootstrap=torch.zeros(2), loss=loss)
        >>> normalisation(with_raw_advantages(rollout))
        (2.0, 1.0)
    """
    if rollout.raw_advantage is not None or can_be_made_anew(rollout):
        return rollout
    made = replace(rollout, raw_advantage=generalized_advantages(rollout))
    try:
        normalisation(made)
    except GradlabError:
        return rollout
    return made
