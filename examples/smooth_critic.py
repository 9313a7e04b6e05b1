"""TD3's critic step with PAVE's three regularisers, in a plain loop on a toy task; prints what they change.

    python examples/smooth_critic.py [STEPS]

The task is one of tracking: the state moves at random, the reward is −‖a − f(s)‖², f(s) = sin 2s. Both critics see the
same batches; one of them pays λ₁ = .1, λ₂ = .1, λ₃ = .01 for its field, too (arXiv 2601.22970, Reacher's weights).
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from gradlab import Agent
from gradlab.curvature import field_regularity
from gradlab.curvature.losses import curvature_hinge_loss, field_consistency_loss, mixed_partial_loss

OBS, ACT, BATCH = 3, 2, 128
WEIGHTS = (0.1, 0.1, 0.01)


class Critic(nn.Module):
    """Q(s, a) with SiLU units: ReLU would have no curvature to regularise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(OBS + ACT, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """One value a row, [B]."""
        return self.net(torch.cat([obs, act], -1)).squeeze(-1)


def critic_loss(critic: Critic, target: Tensor, batch: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
    """The squared temporal-difference error, and with a generator PAVE's terms."""
    obs, act, next_obs = batch
    loss = (critic(obs, act) - target).square().mean()
    if generator is not None:
        mixed, consistency, hinge = WEIGHTS
        loss = loss + mixed * mixed_partial_loss(critic, obs, act, generator=generator)
        loss = loss + consistency * field_consistency_loss(critic, obs, act, next_obs)
        loss = loss + hinge * curvature_hinge_loss(critic, obs, act, generator=generator)
    return loss


def main(steps: int) -> None:
    """Train both and print a table."""
    torch.manual_seed(0)
    actor = nn.Sequential(nn.Linear(OBS, 64), nn.SiLU(), nn.Linear(64, ACT), nn.Tanh())
    print(
        "| critic | E‖Δ∇Q‖², disturbed | E‖Δ∇Q‖², next state | hinge | negative definite |\n|---|---:|---:|---:|---:|"
    )
    start = Critic().state_dict()
    for name in ("plain", "PAVE"):
        draws = torch.Generator().manual_seed(1)
        probing = torch.Generator().manual_seed(2) if name == "PAVE" else None
        critic, slow = Critic(), Critic()
        critic.load_state_dict(start)
        slow.load_state_dict(start)
        optimiser = torch.optim.Adam(critic.parameters(), 1e-3)
        for _ in range(steps):
            obs = torch.randn(BATCH, OBS, generator=draws)
            act = torch.rand(BATCH, ACT, generator=draws) * 2 - 1
            next_obs = 0.9 * obs + 0.3 * torch.randn(BATCH, OBS, generator=draws)
            reward = -(act - (2 * obs[:, :ACT]).sin()).square().sum(-1)
            with torch.no_grad():
                target = reward + 0.9 * slow(next_obs, actor(next_obs))
            loss = critic_loss(critic, target, (obs, act, next_obs), probing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                for old, new in zip(slow.parameters(), critic.parameters(), strict=True):
                    old.lerp_(new, 0.005)
        states = torch.randn(256, OBS, generator=torch.Generator().manual_seed(3))
        agent = Agent(actor, [critic], [-1.0] * ACT, [1.0] * ACT)
        found = field_regularity(agent, states, next_obs=0.9 * states).means()
        shown = ("mixed_partial", "consistency", "curvature_hinge", "negative_definite")
        print(f"| {name} | " + " | ".join(f"{found[key].value:.3g}" for key in shown) + " |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
