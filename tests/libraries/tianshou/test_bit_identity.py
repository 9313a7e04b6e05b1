"""Training by Tianshou's trainers with probes attached is bit for bit the training without them."""

import numpy as np
import pytest
import torch

import probes
from gradlab.store import open_store
from gradlab.testing.conformance import differences, digest
from probes.callbacks.tianshou import rollout, sampler

OFF_POLICY = ["ddpg", "td3", "sac"]


def state(trainer):
    """All that the run's future depends on; the library's wrappers of optimizers are no torch optimizers."""
    algorithm, collector = trainer.algorithm, trainer.params.training_collector
    optimizers = [wrapped._optim for wrapped in algorithm._optimizers]
    if hasattr(getattr(algorithm, "alpha", None), "_optim"):
        optimizers.append(algorithm.alpha._optim)
    buffer = collector.buffer
    # An array of objects is not looked into.
    buffers = [vars(buffer) | {"buffers": None}, *map(vars, getattr(buffer, "buffers", []))]
    generators = [one["_random_state"].get_state() for one in buffers]
    plain = {name: value for name, value in vars(algorithm).items() if isinstance(value, int | float)}
    return digest(
        algorithm=algorithm,
        optimizers=optimizers,
        buffers=buffers,
        generators=generators,
        env=collector.env,
        plain=plain,
        returns=vars(algorithm.ret_rms) if hasattr(algorithm, "ret_rms") else None,
        steps=collector.collect_step,
        drawn=torch.rand(1),
    )


def run(train, name, attach=lambda trainer: None, **options):
    """The state after a run, before anything is closed."""
    trainer = train(name, **options)
    monitor = attach(trainer)
    trainer.run()
    return state(trainer), monitor


class FieldHere(probes.Field):
    """In the training process, where it could do harm; how often the other process gets round to it is chance."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=100, states=2, resolution=9, arrows=5, starts=4),
        probes.Gradient(every=50, states=16, draws=8),
        probes.Curvature(every=100, states=8),
        LandscapeHere(every=200, states=4, starts=4),
        probes.OnPolicy(every=10, trajectories=3),
    ]


def closed(monitor):
    monitor.close()
    return monitor.status


@pytest.mark.slow
@pytest.mark.parametrize("name", OFF_POLICY)
def test_training_is_bit_identical_with_probes(name, tmp_path, train):
    options = {"alpha": "auto"} if name == "sac" else {}
    without, _ = run(train, name, **options)
    attach = lambda trainer: probes.attach(trainer, tmp_path / "run.db", probes=everything_often(), budget=None)  # noqa: E731
    with_probes, monitor = run(train, name, attach, **options)
    # The hook that calls the monitor is the one thing that is there beside, until the monitor is closed.
    hooks = [path for path in differences(without, with_probes) if path.endswith(".hooks")]
    assert differences(without, with_probes) == hooks == ["optimizers[0].hooks"]
    status = closed(monitor)
    assert (status.failed, status.skipped) == ({}, {})
    assert status.measured == {"field": 4, "gradient": 7, "curvature": 4, "landscape": 2}
    assert set(monitor.left_out) == {"on-policy"}
    assert len(without) > 100
    with open_store(tmp_path / "run.db") as store:
        (row,) = store.runs()
        assert (row.algorithm, row.environment, row.library) == (name.upper(), "Pendulum-v1", "tianshou")
        steps = [measured.step for measured in store.measurements(run=row.id, probe="gradient")]
        assert steps == [10, 50, 100, 150, 200, 250, 300]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_training_on_policy_is_bit_identical_with_probes(name, tmp_path, train):
    options = {"envs": 8, "steps": 512, "return_scaling": True}
    without, _ = run(train, name, **options)
    attach = lambda trainer: probes.attach(trainer, tmp_path / "run.db", probes=everything_often(), budget=None)  # noqa: E731
    with_probes, monitor = run(train, name, attach, **options)
    assert differences(without, with_probes) == ["optimizers[0].hooks"]
    status = closed(monitor)
    assert (status.failed, status.skipped) == ({}, {})
    # Once an update, though its optimizer makes eight steps.
    assert status.measured == {"on-policy": 4}
    assert set(monitor.left_out) == {"field", "gradient", "curvature", "landscape"}
    with open_store(tmp_path / "run.db") as store:
        (row,) = store.runs()
        rows = store.measurements(run=row.id, probe="on-policy")
        assert [measured.step for measured in rows] == [128, 256, 384, 512]


def test_a_closed_monitor_leaves_nothing(tmp_path, train):
    without, _ = run(train, "td3", steps=40)

    def attach(trainer):
        monitor = probes.attach(trainer, tmp_path / "run.db", probes=everything_often(), budget=None)
        return monitor.close()

    with_probes, _ = run(train, "td3", attach, steps=40)
    assert differences(without, with_probes) == []


def test_a_loop_of_ones_own_off_policy(tmp_path, train, make, fill):
    trainer = train("sac", steps=60)
    with probes.attach(
        trainer.algorithm,
        tmp_path / "run.db",
        probes=[probes.Gradient(every=20, states=16, draws=8)],
        budget=None,
        sampler=sampler(trainer.params.training_collector.buffer),
    ) as monitor:
        trainer.run()
    assert monitor.status.measured == {"gradient": 4}
    assert monitor.status.failed == {}


def test_a_loop_of_ones_own_on_policy(tmp_path, make, fill):
    algorithm = make("trpo")
    with probes.attach(algorithm, tmp_path / "run.db", probes=[probes.OnPolicy(every=10)], budget=None) as monitor:
        for step in (200, 400):
            monitor.step(step, rollout=rollout(algorithm, fill(algorithm, steps=200)))
    assert monitor.status.measured == {"on-policy": 2}


def test_what_the_probe_measures_is_the_acting_policys(tmp_path, train):
    """At the first step of an update the parameters are those that collected; after it they are not."""
    trainer = train("ppo", envs=8, steps=128)
    seen = []

    class Looks(probes.OnPolicy):
        def measure_rollout(self, agent, rollout, generator):
            acting = [parameter.clone() for parameter in agent.actor.parameters()]
            seen.append((acting, rollout, agent.v(rollout.obs).detach()))
            return super().measure_rollout(agent, rollout, generator)

    before = [parameter.detach().clone() for parameter in trainer.algorithm.policy.actor.parameters()]
    with probes.attach(trainer, tmp_path / "run.db", probes=[Looks(every=10)], budget=None):
        trainer.run()
    ((acting, found, value),) = seen
    assert all(torch.equal(*pair) for pair in zip(acting, before, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(trainer.algorithm.policy.actor.parameters(), before, strict=True))
    assert torch.allclose(value, found.value, atol=1e-6)
    assert (len(found), found.count) == (128, 8)
    assert found.notes == (
        "advantages are normalised over the rollout's 128 steps; PPO does so within each minibatch of 32",
    )


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda trainer: torch.randn(1), id="draws from torch's global generator"),
        pytest.param(lambda trainer: np.random.rand(), id="draws from numpy's global generator"),
        pytest.param(
            lambda trainer: trainer.algorithm.critic_old(torch.zeros(1, 3), torch.zeros(1, 1)).sum().backward(),
            id="leaves gradients",
        ),
        pytest.param(
            lambda trainer: trainer.algorithm.policy.actor.register_forward_hook(lambda *_: None), id="leaves a hook"
        ),
        pytest.param(lambda trainer: trainer.params.training_collector.buffer.sample(4), id="samples from the buffer"),
        pytest.param(lambda trainer: trainer.params.training_collector.env.step(np.zeros((1, 1))), id="steps the env"),
        pytest.param(lambda trainer: trainer.algorithm.policy_optim._optim.state.clear(), id="clears the optimizer"),
    ],
)
def test_the_digest_catches_a_careless_probe(fault, train):
    clean, _ = run(train, "td3", steps=20)

    def careless(trainer):
        trainer.params.training_fn = lambda epoch, step: fault(trainer) if step == 10 else None

    touched, _ = run(train, "td3", careless, steps=20)
    assert differences(clean, touched) != []


def test_the_digest_finds_nothing_where_nothing_was_done(train):
    assert differences(run(train, "td3", steps=20)[0], run(train, "td3", steps=20)[0]) == []
