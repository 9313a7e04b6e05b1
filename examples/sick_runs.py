"""Three sick runs and a healthy one, in one store: what does the dashboard say of each?

    python examples/sick_runs.py --store sick.db        # some minutes on one core; then
    gradlab dashboard sick.db

All four are TD3 on the same task with the same seed. In each sick one a single thing is broken, as a mistake in
somebody's code might break it:

* ``frozen critic``: a third of the way the critic's optimizer is made anew over a *copy* of the critic, so that from
  there on it trains what nobody uses, while the actor goes on climbing a critic that learns no more.
* ``saturated actor``: the actor's last layer begins a hundred times too large, deep in its tanh, where no gradient
  reaches it.
* ``stale replay``: after the random steps of the beginning the replay takes no steps any more, so that training goes on
  and on about what another policy did.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import gymnasium
import numpy as np
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.noise import NormalActionNoise

import probes

#: Random steps at the beginning of every run.
WARM_UP = 1000


def healthy(model: TD3) -> None:
    """Nothing is broken."""


def frozen_critic(model: TD3) -> None:
    """The optimizer trains a copy of the critic."""
    unused = copy.deepcopy(model.critic)
    model.critic.optimizer = torch.optim.Adam(unused.parameters(), lr=model.lr_schedule(1.0))


def saturated_actor(model: TD3) -> None:
    """The last layer of the actor, and of its target, is a hundred times too large."""
    with torch.no_grad():
        for actor in (model.actor, model.actor_target):
            last = next(layer for layer in reversed(actor.mu) if isinstance(layer, torch.nn.Linear))
            last.weight.mul_(100.0)
            last.bias.mul_(100.0)


def stale_replay(model: TD3) -> None:
    """The replay takes no steps any more."""
    model.replay_buffer.add = lambda *_, **__: None


#: Name of a run → what breaks, and when, as a share of the run; None for when the random steps end.
SICKNESSES: dict[str, tuple[Callable[[TD3], None], float | None]] = {
    "healthy": (healthy, 0.0),
    "frozen critic": (frozen_critic, 1 / 3),
    "saturated actor": (saturated_actor, 0.0),
    "stale replay": (stale_replay, None),
}


class Onset(BaseCallback):
    """Breaks something at a step."""

    def __init__(self, fall_ill: Callable[[TD3], None], step: int) -> None:
        super().__init__()
        self._fall_ill = fall_ill
        self._step = step

    def _on_step(self) -> bool:
        if self.num_timesteps == max(self._step, 1):
            self._fall_ill(self.model)
        return True


def measured(task: str, steps: int) -> list[probes.Probe]:
    """The standard probes, ten times in a run however short it is; training waits for none that has a process."""
    chosen = probes.default_probes(task)
    for probe in chosen:
        probe.every = max(steps // 10, 1)
    return chosen


def train(name: str, store: str, task: str, steps: int, seed: int) -> None:
    """Train one run with probes attached."""
    torch.set_num_threads(1)
    fall_ill, share = SICKNESSES[name]
    env = gymnasium.make(task)
    size = env.action_space.shape[0]
    model = TD3(
        "MlpPolicy",
        env,
        seed=seed,
        device="cpu",
        learning_starts=min(WARM_UP, steps // 5),
        action_noise=NormalActionNoise(np.zeros(size), np.full(size, 0.1)),
        policy_kwargs={"net_arch": [128, 128]},
    )
    onset = model.learning_starts if share is None else int(share * steps)
    monitor = probes.attach(model, store, probes=measured(task, steps), seed=seed, name=f"{name}, seed {seed}")
    model.learn(steps, callback=CallbackList([Onset(fall_ill, onset), monitor]))


def main() -> None:
    """Train what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="sick.db")
    parser.add_argument("--task", default="Reacher-v5")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(SICKNESSES), default=list(SICKNESSES))
    chosen = parser.parse_args()
    for name in chosen.only:
        print(f"{name} …", flush=True)
        train(name, chosen.store, chosen.task, chosen.steps, chosen.seed)


if __name__ == "__main__":
    main()
