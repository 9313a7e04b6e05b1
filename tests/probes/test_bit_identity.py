"""Training with probes attached is bit for bit the training without them."""

import time

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TQC, TRPO, CrossQ
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecNormalize

import probes
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, open_store
from gradlab.tangent import tangent_kernel
from gradlab.testing.conformance import differences, digest

ALGORITHMS = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "tqc": TQC, "crossq": CrossQ}
ON_POLICY = {"ppo": PPO, "a2c": A2C, "trpo": TRPO}


def train(name, steps, callback=lambda model: None):
    """One seeded run; the digest is taken after training and before anything is closed."""
    env = gymnasium.make("Reacher-v5")
    noise = None if name in ("sac", "tqc", "crossq") else NormalActionNoise(np.zeros(2), np.full(2, 0.1))
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
@pytest.mark.parametrize(("name", "steps"), [("td3", 3000), ("ddpg", 600), ("sac", 600), ("tqc", 400), ("crossq", 400)])
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


class Policy(probes.Probe):
    """What can be measured without a critic of (obs, act): V, and how far one step moves the policy."""

    name = "policy"

    def refusal(self, agent):
        return None if agent.value is not None else "the agent has no value function"

    def measure(self, agent, obs, generator):
        value = agent.v(obs).detach().double()
        kernel = tangent_kernel(agent, obs)
        trace = kernel.blocks.diagonal(dim1=-2, dim2=-1).sum(-1)
        agent.policy.sample(agent.head(obs), agent.policy.noise((len(obs), agent.action_size), generator, obs))
        return Measurement(
            {
                name: Estimate(x.mean().item(), x.std().item() / len(x) ** 0.5, len(x))
                for name, x in (("value", value), ("kernel", trace))
            }
        )


def train_on_policy(name, task, callback=lambda model: None):
    """One seeded run of four rollouts of 16 steps in eight environments, with normalised observations and rewards."""
    env = VecNormalize(make_vec_env(task, n_envs=8, seed=1))
    options = {} if name == "a2c" else {"batch_size": 32}
    model = ON_POLICY[name]("MlpPolicy", env, n_steps=16, seed=3, device="cpu", **options)
    attached = callback(model)
    model.learn(512, callback=attached)
    return digest(model=model, env=env, drawn=torch.rand(1)), attached


@pytest.mark.parametrize(
    ("name", "task"), [("ppo", "Reacher-v5"), ("ppo", "CartPole-v1"), ("a2c", "Reacher-v5"), ("trpo", "Reacher-v5")]
)
def test_training_on_policy_is_bit_identical_with_probes(tmp_path, name, task):
    def attach(model):
        defaults = [probe for probe in probes.default_probes(task) if probe.name != "on-policy"]
        chosen = [Policy(every=10, states=32), probes.OnPolicy(every=10), *defaults]
        return probes.attach(model, store=tmp_path / "run.db", probes=chosen, budget=None)

    without, _ = train_on_policy(name, task)
    with_probes, monitor = train_on_policy(name, task, attach)
    changed = differences(without, with_probes)
    assert changed == [], "\n".join(changed[:50])
    assert len(without) > 100
    # Once a rollout, at its end, and nothing that needs a critic.
    status = monitor.status
    assert (status.failed, status.skipped) == ({}, {})
    assert status.measured == {"policy": 4, "on-policy": 4}
    assert set(monitor.left_out) == {
        "field",
        "gradient",
        "curvature",
        "landscape",
        "estimators",
        "simulator",
        "smoothness",
        "returns",
        "health",
    }
    assert monitor.left_out["gradient"] == "the agent has no critic of (obs, act)"
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert run.algorithm == name.upper()
        assert run.library == ("sb3-contrib" if name == "trpo" else "stable-baselines3")
        for probe in ("policy", "on-policy"):
            rows = store.measurements(run=run.id, probe=probe)
            assert [row.step for row in rows] == [128, 256, 384, 512]


def test_an_agent_that_no_probe_can_measure_is_said_to_be_one(tmp_path, caplog):
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu")
    with (
        caplog.at_level("WARNING", "gradlab"),
        probes.attach(model, store=tmp_path / "run.db", probes=[probes.Gradient(), probes.Field()]) as monitor,
    ):
        assert monitor.status.measured == {}
    assert "none of the probes can measure this agent" in caplog.text
    assert "gradient: the agent has no critic of (obs, act)" in caplog.text


def test_a_rollout_that_takes_long_is_not_taken_for_dead(tmp_path, monkeypatch):
    """Within a rollout nothing is measured, and the run's record goes on."""
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu")
    monitor = probes.attach(model, store=tmp_path / "run.db", probes=[Policy(every=10, states=32)])
    beats = []
    monkeypatch.setattr(RunWriter, "heartbeat", lambda run, step: beats.append(step))
    monitor.alive(7)
    deadline = time.monotonic() + 20
    while not beats:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monitor.alive(8)
    monitor.close()
    # The second comes too soon after the first; the last is that of the end.
    assert beats == [7, 8]
    assert monitor.status.step == 8
    monitor.alive(9)
    assert beats == [7, 8]


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


class AtTheEnd(BaseCallback):
    """Does something in the place of the last training, which would overwrite what is done in an earlier one."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.num_timesteps == 512:
            self.model.train = lambda: self.fault(self.model)


@pytest.fixture(scope="module")
def clean_on_policy():
    return train_on_policy("ppo", "Reacher-v5", lambda model: AtTheEnd(lambda model: None))[0]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda model: next(model.rollout_buffer.get(8)), id="reads the rollout by its own generator"),
        pytest.param(
            lambda model: model.policy.predict_values(torch.zeros(1, 10)).sum().backward(), id="leaves gradients"
        ),
        pytest.param(lambda model: model.policy(torch.zeros(1, 10)), id="draws an action"),
        pytest.param(lambda model: model.policy.set_training_mode(True), id="changes the mode"),
    ],
)
def test_the_digest_catches_a_careless_probe_on_policy(fault, clean_on_policy):
    touched, _ = train_on_policy("ppo", "Reacher-v5", lambda model: AtTheEnd(fault))
    assert differences(clean_on_policy, touched) != []


def test_the_digest_finds_nothing_where_nothing_was_done(clean_on_policy):
    again, _ = train_on_policy("ppo", "Reacher-v5", lambda model: AtTheEnd(lambda model: None))
    assert differences(clean_on_policy, again) == []
