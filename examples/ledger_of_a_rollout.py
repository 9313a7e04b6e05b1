"""What is wrong with the gradient that PPO takes of a rollout, and what does clipping take off it?

    python examples/ledger_of_a_rollout.py [STEPS]

Trains PPO on CartPole with a low λ for STEPS steps (by default 8,192) and prints, at the end of the last rollout, its
ledger, and what the update on the one before has come to. Takes seconds.
"""

from __future__ import annotations

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import gradlab
from gradlab.adapters.stable_baselines3_rollout import stored_rollout

ENVIRONMENTS, ROLLOUT = 8, 256


class AtTheLastRollout(BaseCallback):
    """Keeps the last two rollouts, and measures when the last is complete: before training goes through it."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.before: gradlab.Rollout | None = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        rollout = stored_rollout(self.model)
        if self.num_timesteps >= self.steps and rollout is not None and self.before is not None:
            agent = gradlab.view(self.model)
            ledger = gradlab.rollout_ledger(agent, rollout)
            ledger.check()
            print(ledger)
            # The policy that acted in this rollout is what the update on the one before ended with.
            update = gradlab.policy_update(agent, self.before)
            print(f"\nThe update before: KL {update.kl}")
            print(f"clipped at a share of {update.clipped} of the steps, which took off ‖b‖² = {update.removed}")
        self.before = rollout


def main(steps: int) -> None:
    """Train, and print the ledger of the last rollout."""
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", ENVIRONMENTS, seed=1), n_steps=ROLLOUT, gae_lambda=0.8, seed=0)
    model.learn(steps, callback=AtTheLastRollout(steps))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8192)
