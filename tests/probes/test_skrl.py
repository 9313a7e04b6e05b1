"""skrl's door: training with probes is bit for bit the training without them, and they measure what it does."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import probes
from gradlab.adapters.skrl_memory import Rollouts, observations, stored_observations
from gradlab.rollout_advantages import can_be_made_anew, parity, with_raw_advantages
from gradlab.statistics.rollout import rollout_gradient, value_fit
from gradlab.store import open_store
from gradlab.testing.conformance import differences, digest

OFF_POLICY, ON_POLICY = ["DDPG", "TD3", "SAC"], ["PPO", "A2C", "TRPO"]


class FieldHere(probes.Field):
    """In the training process, where it could do harm; how often the other process gets round to it is chance."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=100, states=2, resolution=9, arrows=5, starts=4),
        probes.Gradient(every=100, states=16, draws=8),
        probes.Curvature(every=100, states=8),
        LandscapeHere(every=200, states=4, starts=4),
    ]


def train(skrl_runs, algorithm, attach=lambda agent: None, **options):
    """One seeded run; the digest is taken once the monitor is closed, so that a hook left behind shows."""
    agent, trainer = skrl_runs.prepared(algorithm, **options)
    monitor = attach(agent)
    trainer.train()
    if monitor is not None:
        monitor.close()
    # How long things took differs between any two runs.
    agent.tracking_data = {name: values for name, values in agent.tracking_data.items() if "time (ms)" not in name}
    return digest(agent=agent, env=trainer.env, drawn=torch.rand(1)), monitor


def attached(path, chosen):
    return lambda agent: probes.attach(agent, store=path / "run.db", probes=chosen, budget=None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["raw", "scaled", "mixed"])
@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_training_is_bit_identical_with_probes(algorithm, kind, skrl_runs, tmp_path):
    options = {"raw": {}, "scaled": {"scaled": True}, "mixed": {"mixed_precision": True}}[kind]
    options |= {"env": "Pendulum-v1", "steps": 400 if kind == "raw" else 250}
    without, _ = train(skrl_runs, algorithm, **options)
    with_probes, monitor = train(skrl_runs, algorithm, attached(tmp_path, everything_often()), **options)
    changed = differences(without, with_probes)
    assert changed == [], "\n".join(changed[:50])
    assert len(without) > 100
    # The comparison means something only if the probes did measure.
    status = monitor.status
    assert (status.failed, status.skipped, status.left_out) == ({}, {}, {})
    often = options["steps"] // 100
    assert status.measured["gradient"] >= often
    assert status.measured["field"] >= often
    assert status.measured["curvature"] >= often
    assert status.measured["landscape"] >= options["steps"] // 200


#: The library's TRPO has neither mixed precision nor layers that policy and value share.
KINDS = {"PPO": ["raw", "scaled", "mixed", "shared"], "A2C": ["raw", "mixed", "shared"], "TRPO": ["raw", "scaled"]}


@pytest.mark.parametrize(("algorithm", "kind"), [(name, kind) for name, kinds in KINDS.items() for kind in kinds])
def test_training_on_policy_is_bit_identical_with_probes(algorithm, kind, skrl_runs, tmp_path):
    options = {
        "raw": {},
        "scaled": {"scaled": True},
        "mixed": {"mixed_precision": True},
        "shared": {"policy": skrl_runs.Shared},
    }[kind] | {"env": "Pendulum-v1", "envs": 4, "steps": 128, "rollouts": 32}
    without, _ = train(skrl_runs, algorithm, **options)
    chosen = [probes.OnPolicy(every=10, trajectories=3), probes.Gradient(every=10)]
    with_probes, monitor = train(skrl_runs, algorithm, attached(tmp_path, chosen), **options)
    changed = differences(without, with_probes)
    assert changed == [], "\n".join(changed[:50])
    assert len(without) > 100
    # Once a rollout, before its first step, and nothing that needs a critic.
    status = monitor.status
    assert (status.failed, status.skipped, status.measured) == ({}, {}, {"on-policy": 4})
    assert status.left_out == {"gradient": "the agent has no critic of (obs, act)"}
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.library, run.algorithm) == ("skrl", algorithm)
        assert [row.step for row in store.measurements(run=run.id)] == [32, 64, 96, 128]


def test_layers_that_are_random_in_training_are_measured_as_they_act(skrl_runs, tmp_path):
    """An update has the networks in training mode, where dropout draws from the global random state."""

    class Dropping(skrl_runs.Actor):
        def __init__(self, **spaces):
            super().__init__(**spaces)
            self.net.insert(1, nn.Dropout(0.2))

    options = {"policy": Dropping, "steps": 80}
    without, _ = train(skrl_runs, "TD3", **options)
    chosen = [probes.Gradient(every=10, states=8, draws=4)]
    with_probes, monitor = train(skrl_runs, "TD3", attached(tmp_path, chosen), **options)
    assert differences(without, with_probes) == []
    assert (monitor.status.failed, monitor.status.measured) == ({}, {"gradient": 5})


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda agent: torch.randn(1), id="draws from torch's global generator"),
        pytest.param(lambda agent: agent.memory.sample(agent._tensors_names, batch_size=4), id="samples by the memory"),
        pytest.param(lambda agent: agent.policy.register_forward_hook(lambda *_: None), id="leaves a hook"),
        pytest.param(
            lambda agent: agent._observation_preprocessor(torch.ones(4, 3), train=True), id="updates the statistics"
        ),
        pytest.param(
            lambda agent: agent.policy.compute({"observations": torch.ones(1, 3)})[0].sum().backward(),
            id="leaves gradients",
        ),
    ],
)
def test_the_digest_catches_a_careless_probe(fault, skrl_runs, clean):
    def attach(agent):
        calls = []

        def once(*_):
            calls.append(1)
            if len(calls) == 5:
                fault(agent)

        agent.policy_optimizer.register_step_post_hook(once)

    touched, _ = train(skrl_runs, "SAC", attach, env="Pendulum-v1", steps=45, scaled=True)
    changed = [path for path in differences(clean, touched) if not path.endswith("policy_optimizer.hooks")]
    assert changed != []


@pytest.fixture(scope="module")
def clean(skrl_runs):
    return train(skrl_runs, "SAC", env="Pendulum-v1", steps=45, scaled=True)[0]


def test_the_digest_finds_nothing_where_nothing_was_done(skrl_runs, clean):
    assert differences(clean, train(skrl_runs, "SAC", env="Pendulum-v1", steps=45, scaled=True)[0]) == []


# Steps and observations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [40, 700])
def test_steps_are_the_trainers_own(starts, skrl_runs, tmp_path):
    """Also once the circular memory of 500 rows has been written over, before or after the first update."""
    agent, trainer = skrl_runs.prepared("TD3", steps=1203, learning_starts=starts, policy_delay=3)
    monitor = probes.attach(agent, store=tmp_path / "run.db", probes=[probes.Gradient(every=10**6)])
    seen = []
    step = monitor.step
    monitor.step = lambda t: (seen.append(t), step(t))
    trainer.train()
    monitor.close()
    assert seen == list(range(starts + 3, 1204, 3))


def test_steps_go_on_with_a_second_trainer(skrl_runs, tmp_path):
    from skrl.trainers.torch import SequentialTrainer

    agent, trainer = skrl_runs.prepared("PPO", steps=64, rollouts=32)
    monitor = probes.attach(agent, store=tmp_path / "run.db", probes=[probes.OnPolicy(every=1, trajectories=3)])
    seen = []
    step = monitor.step
    monitor.step = lambda t: (seen.append(t), step(t))
    trainer.train()
    cfg = {"timesteps": 64, "headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(env=trainer.env, agents=agent, cfg=cfg).train()
    monitor.close()
    assert seen == [32, 64, 96, 128]


def test_observations_are_given_as_the_networks_get_them(skrl_runs):
    agent, trainer = skrl_runs.prepared("SAC", steps=120, scaled=True)
    assert stored_observations(agent, 4, np.random.default_rng(0)) is None
    trainer.train()
    raw = agent.memory.tensors["observations"][:120, 0]
    statistics = agent._observation_preprocessor.running_mean.clone()
    assert stored_observations(agent, 121, np.random.default_rng(0)) is None
    found = stored_observations(agent, 120, np.random.default_rng(0))
    wanted = agent._observation_preprocessor(raw)
    assert torch.equal(found.sort(0).values, wanted.sort(0).values)
    assert not torch.allclose(found.mean(0), raw.mean(0), atol=0.1)
    assert torch.equal(observations(agent, raw), wanted)
    assert torch.equal(agent._observation_preprocessor.running_mean, statistics)


# Rollouts -----------------------------------------------------------------------------------------------------------


def rollouts_of(skrl_runs, algorithm, at_first_step, **options):
    """Runs, and calls back with the reader before the first step of every update."""
    agent, trainer = skrl_runs.prepared(algorithm, **options)
    reader = Rollouts(agent)
    optimizer = agent.value_optimizer if algorithm == "TRPO" else agent.optimizer
    found = []

    def look(*_):
        if reader.stepping():
            found.append(at_first_step(agent, reader))
        reader.stepped()

    optimizer.register_step_pre_hook(look)
    trainer.train()
    return found


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("algorithm", ON_POLICY)
def test_a_rollout_is_what_the_policy_did(algorithm, scaled, skrl_runs):
    def at_first_step(agent, reader):
        rollout, viewed = reader.read(), reader.agent().snapshot()
        memory = agent.memory.tensors
        log_prob = viewed.policy.log_prob(viewed.head(rollout.obs), rollout.act)
        stored = memory["log_prob"].transpose(0, 1).flatten()
        assert torch.allclose(log_prob, stored, atol=1e-4)
        assert torch.equal(rollout.advantage, memory["advantages"].transpose(0, 1).flatten())
        assert torch.equal(rollout.act, memory["actions"].transpose(0, 1).flatten(0, 1))
        # V and the targets in units of return: their difference is the advantage before it is normalised.
        advantage = rollout.target - rollout.value
        normalised = (advantage - advantage.mean()) / advantage.std()
        assert torch.allclose(normalised, rollout.advantage, atol=1e-3)
        ends = (memory["terminated"] | memory["truncated"]).transpose(0, 1).flatten()
        ends[agent.memory.memory_size - 1 :: agent.memory.memory_size] = True
        assert rollout.count == int(ends.sum())
        assert torch.equal(rollout.trajectory.diff().bool(), ends[:-1])
        assert not any("off by up to" in note for note in rollout.notes)
        assert any("standardised" in note for note in rollout.notes) == scaled
        assert any("time limit" in note for note in rollout.notes)
        assert value_fit(rollout).rmse.value > 0
        return rollout_gradient(viewed, rollout)

    found = rollouts_of(skrl_runs, algorithm, at_first_step, envs=3, steps=192, rollouts=64, scaled=scaled)
    assert len(found) == 3


def test_the_gradient_of_a_rollout_is_the_librarys_own(skrl_runs):
    """A2C steps once for the whole rollout, by its mean: the rollout's gradient is p.grad."""

    def at_first_step(agent, reader):
        rollout, viewed = reader.read(), reader.agent().snapshot()
        weighted = (viewed.policy.log_prob(viewed.head(rollout.obs), rollout.act) * rollout.advantage).mean()
        named = viewed.named_parameters()
        ours = dict(zip(named, torch.autograd.grad(weighted, list(named.values())), strict=True))
        theirs = dict(agent.policy.named_parameters())
        return max(float((ours[n] + theirs[n].grad).norm() / theirs[n].grad.norm()) for n in ours)

    found = rollouts_of(skrl_runs, "A2C", at_first_step, envs=2, steps=128, grad_norm_clip=0)
    assert len(found) == 2
    assert max(found) < 1e-5


def test_what_time_limits_that_are_bootstrapped_put_into_rewards_is_said(skrl_runs):
    read = lambda agent, reader: reader.read().notes  # noqa: E731
    found = rollouts_of(skrl_runs, "PPO", read, steps=64, time_limit_bootstrap=True)
    assert found == [("where a time limit cut off an episode, γV(s_T) is part of its last reward",)]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("algorithm", ON_POLICY)
def test_its_advantages_can_be_made_anew(algorithm, scaled, skrl_runs):
    def at_first_step(agent, reader):
        rollout = reader.read()
        # Of standardised targets there are none before normalisation: those made anew must be normalised to the used.
        fits = lambda one: parity(one) < 1e-6 if one.raw_advantage is not None else False  # noqa: E731
        assert fits(with_raw_advantages(rollout))
        assert (rollout.raw_advantage is None) == scaled
        for wrong in ({"gae_lambda": 0.85}, {"discount": 0.9}):
            assert not fits(with_raw_advantages(replace(rollout, loss=replace(rollout.loss, **wrong))))
        assert not fits(with_raw_advantages(replace(rollout, reward=-rollout.reward)))
        return rollout

    options = {"envs": 3, "steps": 128, "rollouts": 64, "scaled": scaled, "time_limit_bootstrap": True}
    for rollout in rollouts_of(skrl_runs, algorithm, at_first_step, **options):
        ends = torch.ones(len(rollout), dtype=torch.bool)
        ends[:-1] = rollout.trajectory.diff().bool()
        # What was cut off by the rollout's own end is to be continued, what an episode's end has cut off is not.
        assert bool((rollout.bootstrap != 0).any())
        assert int((rollout.bootstrap != 0).sum()) <= 3


def test_without_the_bootstrap_of_time_limits_advantages_are_not_made_anew(skrl_runs):
    """They run on into the next episode: no rewards of one trajectory make them."""
    read = lambda agent, reader: reader.read()  # noqa: E731
    (rollout,) = rollouts_of(skrl_runs, "PPO", read, steps=64)
    assert can_be_made_anew(rollout) == "reward, bootstrap, loss"


def test_steps_know_their_age_across_rollouts(skrl_runs):
    """Drift's episodes have 25 steps at most, and one that ends tells of the next one's beginning.

    Gymnasium's vector environments take a step to reset, which the library keeps and learns from as an episode's first.
    """

    def at_first_step(agent, reader):
        found = reader.read()
        reader.keep()
        return found

    first, second = rollouts_of(skrl_runs, "PPO", at_first_step, envs=2, steps=80, rollouts=40)
    assert first.previous is None
    assert torch.equal(second.previous.obs, first.obs)
    # The first episode of each environment began nobody knows when; of the second rollout all is known.
    assert int((first.age == -1).sum()) > 0
    assert bool((second.age >= 0).all())
    assert int(second.age.max()) == 25
    for rollout in (first, second):
        same = ~rollout.trajectory.diff().bool() & (rollout.age[:-1] >= 0)
        assert bool((rollout.age.diff()[same] == 1).all())


def test_a_rollouts_ledger_and_the_updates_clipping_are_measured(skrl_runs, tmp_path):
    agent, trainer = skrl_runs.prepared("PPO", envs=4, steps=192, rollouts=64, time_limit_bootstrap=True)
    probe = probes.OnPolicy(every=1, trajectories=3)
    monitor = probes.attach(agent, store=tmp_path / "run.db", probes=[probe], budget=None)
    trainer.train()
    monitor.close()
    with open_store(tmp_path / "run.db") as store:
        names = set(store.scalars(probe="on-policy").name)
    assert {"ledger/gae_bias", "policy/kl", "clipping/share", "clipping/removed"} <= names


def test_actions_that_were_not_the_policys_are_remarked_on(skrl_runs):
    def at_first_step(agent, reader):
        with torch.no_grad():
            agent.policy.log_std_parameter.add_(0.1)
        return reader.read().notes

    (notes,) = rollouts_of(skrl_runs, "PPO", at_first_step, steps=64)
    assert any(note.startswith("log π of the actions taken is off by up to") for note in notes)


def test_no_rollout_before_the_memory_is_full(skrl_runs):
    agent, _ = skrl_runs.prepared("PPO")
    assert Rollouts(agent).read() is None


def test_discrete_actions_are_one_hot(skrl_runs):
    read = lambda agent, reader: reader.read()  # noqa: E731
    env = lambda: skrl_runs.Drift(discrete=True)  # noqa: E731
    (rollout,) = rollouts_of(skrl_runs, "PPO", read, env=env, policy=skrl_runs.Choice, steps=64)
    assert rollout.act.shape == (64, 3)
    assert rollout.act.sum(1).eq(1).all()


def test_nothing_of_a_probe_is_left_when_the_monitor_is_closed(skrl_runs, tmp_path):
    for algorithm, name in (("TD3", "policy_optimizer"), ("PPO", "optimizer"), ("TRPO", "value_optimizer")):
        agent, _ = skrl_runs.prepared(algorithm)
        optimizer = getattr(agent, name)
        monitor = probes.attach(agent, store=tmp_path / "run.db", probes=[probes.Gradient(), probes.OnPolicy()])
        assert len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks) == 1
        monitor.close()
        assert len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks) == 0


@pytest.mark.parametrize("scaled", [False, True])
def test_a_task_whose_observations_are_preprocessed_is_not_simulated(scaled, skrl_runs, tmp_path):
    agent, _ = skrl_runs.prepared("TD3", env="Pendulum-v1", scaled=scaled)
    wanted = [probes.Gradient(), probes.Simulator("Pendulum-v1")]
    with (
        probes.attach(agent, tmp_path / "run.db", environment="Pendulum-v1", probes=wanted) as monitor,
        open_store(tmp_path / "run.db") as store,
    ):
        assert store.runs()[0].environment == "Pendulum-v1"
    assert set(monitor.left_out) == ({"simulator"} if scaled else set())
    assert not scaled or "through a preprocessor" in monitor.left_out["simulator"]


@pytest.mark.slow
def test_the_quick_start_measures_by_its_three_lines(tmp_path):
    root = Path(__file__).parents[2]
    lines = (root / "examples/skrl_td3.py").read_text().splitlines()
    assert [line.partition("#")[2] for line in lines if "# gradlab" in line] == [
        f" gradlab {n} of 3" for n in (1, 2, 3)
    ]
    command = [sys.executable, "examples/skrl_td3.py", "--steps", "400", "--store", str(tmp_path / "run.db")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout
    assert "Status(step=400" in said
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.library, run.algorithm, run.environment, run.status) == ("skrl", "TD3", "Pendulum-v1", "finished")
        assert any(row.status == "ok" for row in store.measurements(run=run.id))
