"""Training with probes attached is bit for bit the training without them."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise

import probes
from gradlab.testing.conformance import differences, digest

ALGORITHMS = {"td3": TD3, "ddpg": DDPG, "sac": SAC}


def train(name, steps, callback=lambda model: None):
    """One seeded run; the digest is taken after training and before anything is closed."""
    env = gymnasium.make("Reacher-v5")
    noise = None if name == "sac" else NormalActionNoise(np.zeros(2), np.full(2, 0.1))
    model = ALGORITHMS[name](
        "MlpPolicy",
        env,
        seed=3,
        learning_starts=100,
        batch_size=64,
        buffer_size=5000,
        action_noise=noise,
        policy_kwargs={"net_arch": [32, 32]},
        device="cpu",
    )
    attached = callback(model)
    model.learn(steps, callback=attached)
    return digest(model=model, env=env, drawn=torch.rand(1)), attached


class FieldHere(probes.Field):
    """In the training process, where it could do harm; how often the other process gets round to it is chance."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=200, states=2, resolution=9, arrows=5, starts=4),
        probes.Gradient(every=200, states=16, draws=8),
        probes.Curvature(every=200, states=8),
        LandscapeHere(every=400, states=4, starts=4),
        probes.Simulator("Reacher-v5", every=1000, states=4, draws=8, horizon=5),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("td3", 3000), ("ddpg", 600), ("sac", 600)])
def test_training_is_bit_identical_with_probes(tmp_path, name, steps):
    without, _ = train(name, steps)
    with_probes, monitor = train(
        name,
        steps,
        lambda model: probes.attach(model, store=tmp_path / "run.db", probes=everything_often(), budget=None),
    )
    changed = differences(without, with_probes)
    assert changed == [], "\n".join(changed[:50])
    # The comparison means something only if the probes did measure.
    status = monitor.status
    assert status.failed == {}, status
    assert status.measured["gradient"] >= steps // 200
    assert status.measured["field"] >= steps // 200
    assert status.measured["landscape"] >= steps // 400
    assert len(without) > 200


class Careless(BaseCallback):
    """What an instrument must not be: it measures with the live modules and the global generator."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def _on_step(self):
        if self.num_timesteps == 150:
            self.fault(self.model)
        return True


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda model: torch.randn(1), id="draws from torch's global generator"),
        pytest.param(lambda model: np.random.rand(), id="draws from numpy's global generator"),
        pytest.param(
            lambda model: model.critic_target(torch.zeros(1, 10), torch.zeros(1, 2))[0].sum().backward(),
            id="leaves gradients",
        ),
        pytest.param(lambda model: model.actor.register_forward_hook(lambda *_: None), id="leaves a hook"),
        pytest.param(lambda model: model.get_env().step(np.zeros((1, 2))), id="steps the live environment"),
        pytest.param(lambda model: model.replay_buffer.sample(4), id="samples from the live replay buffer"),
    ],
)
def test_the_digest_catches_a_careless_probe(fault):
    clean, _ = train("td3", 160)
    touched, _ = train("td3", 160, lambda model: Careless(fault))
    assert differences(clean, touched) != []
