"""The single-file scripts: what gradlab is told of them is what they train on, and measuring them changes nothing."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.estimators import Deterministic, Reparameterized, ScoreFunction
from gradlab.store import open_store
from gradlab.tangent import parameter_gradient
from gradlab.testing.conformance import differences, digest

FOLDER = Path(__file__).parents[2] / "examples" / "single_file"

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6

SHORT = {
    "ddpg": {"total_timesteps": 400, "learning_starts": 250, "batch_size": 64, "hidden": 32},
    "td3": {"total_timesteps": 500, "learning_starts": 250, "batch_size": 64, "hidden": 32},
    "sac": {"total_timesteps": 500, "learning_starts": 250, "batch_size": 64, "hidden": 32},
    "ppo": {"total_timesteps": 2400, "num_steps": 150, "num_minibatches": 4, "update_epochs": 2, "hidden": 32},
}
OFF_POLICY = ("ddpg", "td3", "sac")


@pytest.fixture(name="script")
def _script(monkeypatch):
    """Gives a script as a module; its folder is on the path, where the background process finds it, too."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def run(module, **options):
    return module.train(module.Args(**(SHORT[module.__name__] | options)))


# What gradlab is told of a script ---------------------------------------------------------------------------------


class Recorder:
    """Stands where the monitor would, and compares gradients at every step of the actor's optimizer."""

    def __init__(self, monkeypatch, module, change=lambda agent: None):
        self.change = change
        self.errors, self.whole = [], []
        monkeypatch.setattr(probes, "attach", self.attach)
        sample = module.ReplayBuffer.sample
        monkeypatch.setattr(module.ReplayBuffer, "sample", lambda rb, count: self.keep(list(sample(rb, count))))
        get_action = getattr(module.Actor, "get_action", None)
        if get_action:

            def recorded(actor, obs):
                if torch.is_grad_enabled():
                    self.random_state = torch.get_rng_state()
                return get_action(actor, obs)

            monkeypatch.setattr(module.Actor, "get_action", recorded)

    def keep(self, batch):
        self.batch = batch
        return batch

    def attach(self, model, store, *, optimizer, sampler, clock, environment):
        self.view = model if callable(model) else lambda: model
        self.sampler, self.clock = sampler, clock
        optimizer.register_step_pre_hook(self.compare)
        return self

    def close(self):
        pass

    def compare(self, *_):
        agent = self.view().snapshot()
        self.change(agent)
        obs = agent.observations(self.batch[0])
        if agent.policy.stochastic:
            zeros = torch.zeros(len(obs), agent.action_size)
            noise = torch.normal(
                zeros, torch.ones_like(zeros), generator=torch.Generator().set_state(self.random_state)
            )
            cotangent = Reparameterized().at_noise(agent, obs, noise[None])[0]
        else:
            cotangent = Deterministic().draw(agent, obs)[0]
        self.take(parameter_gradient(agent, obs, cotangent), dict(self.view().actor.named_parameters()))

    def take(self, ours, theirs):
        pairs = [(-ours[name].flatten(), theirs[name].grad.flatten()) for name in ours]
        whole = [torch.cat(parts) for parts in zip(*pairs, strict=True)]
        self.whole.append(relative_error(*whole))
        # The gradient of a single number, such as the bias of the mean, may be anything beside its rounding.
        least = 0.1 * float(whole[1].norm())
        self.errors.append(max(relative_error(*pair, least) for pair in pairs))


def relative_error(ours, theirs, least=0.0):
    return float((ours - theirs).norm()) / max(float(theirs.norm()), least)


@pytest.mark.parametrize("name", OFF_POLICY)
def test_parity(name, script, monkeypatch, record_property):
    recorder = Recorder(monkeypatch, script(name))
    made = run(script(name))
    assert len(recorder.errors) == {"ddpg": 150, "td3": 125, "sac": 250}[name]
    record_property("relative_error", max(recorder.whole))
    # Of hundreds of minibatches, the gradient of one or another nearly cancels.
    assert np.quantile(recorder.whole, 0.9) <= WHOLE_TOLERANCE
    assert max(recorder.whole) <= TOLERANCE
    assert max(recorder.errors) <= TOLERANCE
    assert recorder.clock() == made.args.total_timesteps
    obs = recorder.sampler(7, np.random.default_rng(0))
    assert obs.shape == (7, 3)
    assert all(any((row == seen).all() for seen in made.rb.obs[: made.rb.added]) for row in obs)


FAULTS = {
    "the other critic": ("td3", lambda agent: setattr(agent, "critics", agent.critics[::-1])),
    "the smallest instead of the first": ("td3", lambda agent: setattr(agent, "reduction", "min")),
    "the first instead of the smallest": ("sac", lambda agent: setattr(agent, "reduction", "first")),
    "no entropy": ("sac", lambda agent: setattr(agent, "entropy", 0.0)),
    "α as it was at the start": ("sac", lambda agent: setattr(agent, "entropy", 1.0)),
    "actions in another box": ("sac", lambda agent: setattr(agent, "policy", gradlab.policies.SquashedGaussian(1e-6))),
    "critics in another box": ("ddpg", lambda agent: setattr(agent, "critics", (Doubled(agent.critics[0]),))),
}


class Doubled(nn.Module):
    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def forward(self, obs, act):
        return self.critic(obs, 2 * act)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_agent_is_noticed(fault, script, monkeypatch):
    name, change = FAULTS[fault]
    recorder = Recorder(monkeypatch, script(name), change)
    run(script(name))
    assert max(recorder.whole) > 1e-2


class OnPolicyRecorder(Recorder):
    """Compares at the first minibatch after each rollout: there the ratio is one, and no clip acts."""

    def __init__(self, monkeypatch, normalise=True):
        self.normalise = normalise
        self.errors, self.whole, self.rollouts = [], [], []
        monkeypatch.setattr(probes, "attach", self.attach)
        permutation = np.random.permutation
        monkeypatch.setattr(np.random, "permutation", lambda count: self.keep(permutation(count)))

    def attach(self, model, store, *, environment):
        self.agent = model
        self.handle = None
        return self

    def step(self, step, *, rollout):
        self.rollouts.append(rollout)
        self.optimizer.register_step_pre_hook(self.compare)

    def compare(self, optimizer, *_):
        if self.rollouts and len(self.errors) < len(self.rollouts):
            rows = np.array_split(self.batch, self.minibatches)[0]
            rollout, agent = self.rollouts[-1], self.agent.snapshot()
            weight = rollout.advantage[rows]
            if self.normalise:
                weight = (weight - weight.mean()) / (weight.std() + 1e-8)
            agent.critics = (lambda obs, act: weight,)
            obs = agent.observations(rollout.obs[rows])
            mean, log_std = agent.head(obs).detach().chunk(2, -1)
            noise = (rollout.act[rows] - mean) / log_std.exp()
            ours = parameter_gradient(agent, obs, ScoreFunction().at_noise(agent, obs, noise[None])[0])
            assert not any(ours.pop(name).any() for name in list(ours) if name.startswith("critic."))
            self.take(ours, dict(self.agent.actor.named_parameters()))


@pytest.fixture(name="ppo_recorder")
def _ppo_recorder(script, monkeypatch):
    """A recorder of PPO, which has no hook of gradlab's to come by its optimizer."""

    def recorded(minibatches, **options):
        recorder = OnPolicyRecorder(monkeypatch, **options)
        recorder.minibatches = minibatches
        adam = torch.optim.Adam

        def made(*args, **kwargs):
            recorder.optimizer = adam(*args, **kwargs)
            return recorder.optimizer

        monkeypatch.setattr(torch.optim, "Adam", made)
        # A scaled gradient would not be the loss's.
        made = run(script("ppo"), num_minibatches=minibatches, max_grad_norm=np.inf)
        assert len(recorder.errors) == len(recorder.rollouts) == 2
        return recorder, made

    return recorded


@pytest.mark.parametrize("minibatches", [1, 4])
def test_parity_on_policy(minibatches, ppo_recorder, record_property):
    # Of one minibatch, the advantages are those of the rollout to the letter.
    recorder, made = ppo_recorder(minibatches, normalise=minibatches > 1)
    record_property("relative_error", max(recorder.whole))
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.errors) <= TOLERANCE
    first, second = recorder.rollouts
    # Episodes of 200 steps, rollouts of 150: the second has the ends of the first episodes and begins new ones.
    assert first.lengths.tolist() == [150] * 8
    assert second.lengths.tolist() == [50, 100] * 8
    assert torch.equal(second.obs[150], made.obs[0, 1])
    assert torch.equal(second.act[-1], made.actions[-1, -1])


def test_advantages_that_are_not_those_used_are_noticed(ppo_recorder):
    recorder, _ = ppo_recorder(4, normalise=False)
    assert min(recorder.whole) > 1e-2


def test_advantages_of_a_rollout_are_generalised_ones(script, monkeypatch):
    """Episode by episode and in the other direction, as the sum of discounted temporal differences."""
    module = script("ppo")
    recorder = OnPolicyRecorder(monkeypatch)
    recorder.step = lambda step, rollout: recorder.rollouts.append(rollout)
    made = run(module, total_timesteps=2400)
    rollout, decay = recorder.rollouts[-1], made.args.gamma * made.args.gae_lambda
    delta = (made.rewards + made.args.gamma * made.next_values - made.values).T.flatten().double()
    expected = torch.stack(
        [
            sum(
                decay ** (k - t) * delta[k]
                for k in range(t, len(rollout))
                if rollout.trajectory[k] == rollout.trajectory[t]
            )
            for t in range(160)
        ]
    )
    assert torch.allclose((rollout.target - rollout.value)[:160].double(), expected, atol=1e-5)


# Measuring changes nothing ----------------------------------------------------------------------------------------


class FieldHere(probes.Field):
    """In the training process, where it could do harm."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=50, states=2, resolution=7, arrows=3, starts=4),
        probes.Gradient(every=50, states=16, draws=8),
        probes.Curvature(every=50, states=8),
        LandscapeHere(every=100, states=4, starts=4),
        probes.OnPolicy(every=50),
    ]


#: What is gradlab's in a script.
OURS = {"args", "agent", "monitor", "space", "starts", "weighed", "trajectory", "notes"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_training_is_bit_identical_with_gradlab(name, script, monkeypatch, tmp_path):
    def digested(**options):
        made = vars(run(script(name), **options))
        found = digest(**{key: part for key, part in made.items() if key not in OURS}, drawn=torch.rand(1))
        # A vector of environments makes generators for its spaces, which it neither seeds nor uses.
        return {path: each for path, each in found.items() if name != "ppo" or "_space._np_random" not in path}

    without = digested(gradlab=False)
    attach, monitors = probes.attach, []

    def attach_often(*args, **options):
        monitors.append(attach(*args, probes=everything_often(), budget=None, **options))
        return monitors[0]

    monkeypatch.setattr(probes, "attach", attach_often)
    changed = differences(without, digested(store=str(tmp_path / "run.db")))
    assert changed == [], "\n".join(changed[:50])
    assert len(without) > 100
    # The comparison means something only if the probes did measure.
    status = monitors[0].status
    assert (status.failed, status.skipped) == ({}, {})
    if name == "ppo":
        assert status.measured == {"on-policy": 2}
    else:
        assert set(status.measured) == {"field", "gradient", "curvature", "landscape"}
        assert status.measured["gradient"] >= 3


def test_another_seed_is_noticed(script):
    first, second = (digest(made=vars(run(script("td3"), gradlab=False, seed=seed))["actor"]) for seed in (1, 2))
    assert differences(first, second) != []


# As a user runs them ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_the_default_probes_measure_a_script(name, script, tmp_path):
    store = tmp_path / "run.db"
    steps = {} if name == "ppo" else {"total_timesteps": 1300}
    made = run(script(name), store=str(store), **steps)
    status = made.monitor.status
    assert status.failed == {}
    assert status.step == 2400 if name == "ppo" else 1300
    with open_store(store) as opened:
        (stored,) = opened.runs()
        assert (stored.algorithm, stored.library, stored.environment) == (name.upper(), "CleanRL", "Pendulum-v1")
        if name == "ppo":
            assert status.measured["on-policy"] >= 1
        else:
            # A run this short may leave the budget for one of the dear ones only.
            assert status.measured["gradient"] + status.measured.get("curvature", 0) >= 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("ddpg", 4_000), ("td3", 7_000), ("sac", 4_000)])
def test_it_learns(name, steps, script):
    module = script(name)
    made = module.train(module.Args(gradlab=False, total_timesteps=steps))
    # Five episodes of random actions; a pendulum that is kept upright costs about 150.
    assert np.mean(made.returns[:5]) < -1000
    assert np.mean(made.returns[-5:]) > np.mean(made.returns[:5]) + 500


@pytest.mark.slow
def test_it_learns_on_policy(script):
    module = script("ppo")
    made = module.train(module.Args(gradlab=False, total_timesteps=32_000))
    assert np.mean(made.returns[-16:]) > np.mean(made.returns[:16]) + 250
