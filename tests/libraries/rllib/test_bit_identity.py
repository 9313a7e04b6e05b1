"""Training by RLlib with probes attached is bit for bit the training without them."""

import numpy as np
import pytest
import torch

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.store import open_store
from gradlab.testing.conformance import compare
from probes.callbacks.rllib import sampler, stored_rollout


class FieldHere(probes.Field):
    """In the training process, where it could do harm; how often the other process gets round to it is chance."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=50, states=2, resolution=5, arrows=3, starts=2),
        probes.Gradient(every=20, states=16, draws=8),
        probes.Curvature(every=50, states=4),
        LandscapeHere(every=100, states=2, starts=2),
        probes.OnPolicy(every=10, trajectories=3),
    ]


def learned(learner):
    """What a learner's future depends on; its metrics hold times."""
    return {
        "module": learner.module["default_policy"],
        "optimizers": dict(learner._named_optimizers),
        "alpha": dict(getattr(learner, "curr_log_alpha", {})),
        "kl": dict(getattr(learner, "curr_kl_coeffs_per_module", {})),
        "updates": learner._weights_seq_no,
        "drawn": torch.rand(1),
    }


def state(algorithm):
    buffer = getattr(algorithm, "local_replay_buffer", None)
    runner = algorithm.env_runner
    parts = learned(algorithm.learner_group._learner)
    envs = [env.unwrapped for env in runner.env.unwrapped.envs]
    parts |= {"env": [(env.state, env.np_random) for env in envs], "acting": runner.module}
    if buffer is not None:
        parts["generator"] = buffer.rng
        parts["episodes"] = [
            [np.asarray(episode.get_observations()), np.asarray(episode.get_actions()), episode.get_rewards()]
            for episode in buffer.episodes
        ]
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_training_is_bit_identical_with_probes(name, algorithms, tmp_path):
    def training(attach):
        algorithm = algorithms(name)
        attach(algorithm)
        for _ in range(3):
            algorithm.train()
        parts = state(algorithm)
        algorithm.stop()
        return parts

    monitors = []

    def attach(algorithm):
        monitors.append(probes.attach(algorithm, tmp_path / "run.db", probes=everything_often(), budget=None))
        return monitors[0]

    found = compare(training, attach)
    assert found.changed == [], found
    assert found.compared > 100
    assert found.failed == {}
    with open_store(tmp_path / "run.db") as store:
        (row,) = store.runs()
        assert (row.algorithm, row.environment, row.library) == (name.upper(), "Pendulum-v1", "rllib")
        probe = "on-policy" if name == "ppo" else "gradient"
        steps = [measured.step for measured in store.measurements(run=row.id, probe=probe)]
    if name == "ppo":
        # Once an update, though its optimizer makes eight steps.
        assert (found.measured, steps) == ({"on-policy": 3}, [400, 800, 1200])
        assert set(monitors[0].left_out) == {"field", "gradient", "curvature", "landscape"}
    else:
        assert set(found.measured) == {"field", "gradient", "curvature", "landscape"}
        assert steps[1:] == sorted(set(steps[1:]))
        assert len(steps) >= 4
        assert set(monitors[0].left_out) == {"on-policy"}


@pytest.mark.parametrize("learned_alpha", [1e-3, 0.1])
def test_a_learner_of_ones_own(learned_alpha, make, minibatch, tmp_path):
    def training(attach):
        torch.manual_seed(0)
        np.random.seed(0)
        learner = make("sac", alpha_lr=learned_alpha)
        attach(learner)
        for seed in range(40):
            learner.update(batch=minibatch("sac", seed=seed), timesteps={"num_env_steps_sampled_lifetime": seed})
        return learned(learner)

    def observations(count, random):
        return random.normal(size=(count, 3))

    chosen = [probes.Gradient(every=10, states=16, draws=8), probes.Curvature(every=20, states=4)]
    found = compare(
        training,
        lambda learner: probes.attach(learner, tmp_path / "run.db", probes=chosen, budget=None, sampler=observations),
    )
    assert found.changed == [], found
    assert (found.measured, found.failed) == ({"gradient": 5, "curvature": 3}, {})


# What the measurements are of -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_rollout_is_what_the_loss_is_of(algorithms):
    """At an update's first step the ratio of probabilities is one: the kept steps are those the policy took."""
    algorithm = algorithms("ppo")
    learner = algorithm.learner_group._learner
    seen = []

    def look(*_):
        if not seen:
            seen.append((stored_rollout(learner, "default_policy"), gradlab.view(learner).snapshot()))
            seen.append(learner.kept["default_policy"])

    assert stored_rollout(learner, "default_policy") is None
    learner.get_optimizer(module_id="default_policy").register_step_pre_hook(look)
    algorithm.train()
    (rollout, agent), kept = seen
    mask = kept["loss_mask"]
    assert len(rollout) == int(mask.sum()) == 400
    assert len(mask) > 400
    ours = agent.policy.log_prob(agent.head(rollout.obs), rollout.act)
    assert torch.allclose(ours, kept["action_logp"][mask], atol=1e-5)
    assert rollout.count == int((~mask).sum())
    assert torch.equal(rollout.advantage, kept["advantages"][mask])
    # Standardised over the whole of them, the steps of the library's own making included.
    raw = (rollout.target - rollout.value).double()
    rank = lambda values: values.argsort().argsort().double()  # noqa: E731
    assert torch.corrcoef(torch.stack([rank(raw), rank(rollout.advantage)]))[0, 1] > 0.999
    algorithm.stop()


@pytest.mark.slow
def test_observations_are_those_of_the_buffer(algorithms, random_states):
    algorithm = algorithms("sac")
    algorithm.train()
    buffer = algorithm.local_replay_buffer
    stored = {tuple(row) for episode in buffer.episodes for row in np.asarray(episode.get_observations())}
    before = random_states(), repr(buffer.rng.bit_generator.state)
    found = sampler(buffer)(30, np.random.default_rng(0))
    assert (random_states(), repr(buffer.rng.bit_generator.state)) == before
    assert found.shape == (30, 3)
    assert len({tuple(row) for row in found}) == 30
    assert {tuple(row) for row in found} <= stored
    assert sampler(buffer)(10_000, np.random.default_rng(0)) is None
    algorithm.stop()


def test_ppo_whose_learner_keeps_nothing_is_refused(make, tmp_path):
    with pytest.raises(GradlabError, match=r"keeps no rollout; write class Learner\(KeepsRollout, PPOTorchLearner\)"):
        probes.attach(make("ppo"), tmp_path / "run.db")


@pytest.mark.parametrize(("name", "optimizer"), [("sac", ("policy",)), ("ppo", ())], ids=["sac", "ppo"])
def test_a_hook_comes_with_the_monitor_and_goes_with_it(name, optimizer, make, tmp_path, keeping):
    learner = make(name, learner_class=keeping if name == "ppo" else None)
    one = learner.get_optimizer("default_policy", *optimizer)

    def hooks():
        return len(one._optimizer_step_post_hooks) + len(one._optimizer_step_pre_hooks)

    monitor = probes.attach(learner, tmp_path / "run.db", probes=[probes.Gradient(), probes.OnPolicy()])
    assert hooks() == 1
    monitor.close()
    assert hooks() == 0


def test_a_sampler_is_asked_for(make, tmp_path, minibatch):
    learner = make("sac")
    with probes.attach(learner, tmp_path / "run.db", probes=[probes.Gradient(every=1)], budget=None) as monitor:
        learner.update(batch=minibatch("sac"), timesteps={})
    assert monitor.status.measured == {}
    with pytest.raises(GradlabError, match="pass the algorithm, or sampler=sampler"):
        probes.opening.door_of(learner).source(learner).sample(1, np.random.default_rng(0))
