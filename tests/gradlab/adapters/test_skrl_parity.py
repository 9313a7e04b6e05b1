"""Parity with skrl: the actor gradient computed from gradlab's Agent is the library's own, on the same minibatch."""

import pytest
import torch
from torch import nn

from gradlab.adapters import view
from gradlab.estimators import Deterministic, Reparameterized
from gradlab.estimators.trajectory.score import scores_at
from gradlab.policies import ClampedGaussian, Gaussian
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6
OFF_POLICY = ["DDPG", "TD3", "SAC"]


class Recorder:
    """Compares the two gradients at every step of the policy's optimizer; on policy, at the first of a rollout.

    Reads what the policy was given and, for SAC, the random state its noise came from. The library is patched here, in
    the test, and nowhere else.
    """

    def __init__(self, agent, change=lambda agent: None):
        self.agent, self.change = agent, change
        self.errors, self.whole, self.action_errors, self.value_errors = [], [], [], []
        self.clamped, self.ratios = 0, []
        self.on_policy = hasattr(agent, "value")
        inner = agent.policy.act

        def act(inputs, role=""):
            state = torch.get_rng_state()
            result = inner(inputs, role=role)
            if torch.is_grad_enabled():
                self.inputs, self.random_state, self.action = dict(inputs), state, result[0].detach()
            return result

        agent.policy.act = act
        if not self.on_policy:
            agent.policy_optimizer.register_step_pre_hook(lambda *_: self.compare(self.cotangent))
        elif hasattr(agent, "optimizer"):
            self.record_batches()
            agent.optimizer.register_step_pre_hook(lambda *_: self.first_step())

    def record_batches(self):
        inner, recorder, names = self.agent.memory.sample, self, self.agent._tensors_names

        def sample(*args, **kwargs):
            recorder.fresh = True
            for batch in inner(*args, **kwargs):
                recorder.batch = dict(zip(names, batch, strict=True))
                yield batch

        self.agent.memory.sample = sample

    def first_step(self):
        # Of a rollout's epochs the first, whose first minibatch finds the policy that acted.
        rollout = self.agent._rollout
        if rollout != getattr(self, "seen", None):
            self.seen = rollout
            self.compare(self.rollout_cotangent)
            self.compare_value()

    def cotangent(self, agent, obs):
        if not agent.policy.stochastic:
            return Deterministic().draw(agent, obs)[0]
        noise = torch.normal(
            torch.zeros_like(self.action),
            torch.ones_like(self.action),
            generator=torch.Generator().set_state(self.random_state),
        )
        action = agent.policy.sample(agent.head(obs).detach(), noise)[0]
        self.action_errors.append(float((action - self.action).abs().max()))
        if isinstance(agent.policy, ClampedGaussian):
            self.clamped += int(((action == agent.action_low) | (action == agent.action_high)).sum())
        return Reparameterized().at_noise(agent, obs, noise[None])[0]

    def rollout_cotangent(self, agent, obs):
        actions, advantages = self.batch["actions"], self.batch["advantages"]
        if not agent.policy.continuous:
            actions = nn.functional.one_hot(actions[:, 0].long(), agent.action_size).float()
        scores, log_prob = scores_at(agent, obs, actions)
        if type(self.agent).__name__ == "A2C":
            return scores * advantages
        # One, but where the statistics of the observations have been updated between acting and training.
        ratio = (log_prob[:, None] - self.batch["log_prob"]).exp()
        self.ratios.append(float(ratio.log().abs().max()))
        clip = getattr(self.agent.cfg, "ratio_clip", torch.inf)
        followed = advantages * ratio <= advantages * ratio.clip(1 - clip, 1 + clip)
        return scores * advantages * ratio * followed

    def compare(self, cotangent, theirs=None):
        agent = view(self.agent).snapshot()
        self.change(agent)
        obs = agent.observations(self.inputs["observations"])
        ours = parameter_gradient(agent, obs, cotangent(agent, obs))
        named = dict(self.agent.policy.named_parameters())
        assert list(ours) == list(named)
        theirs = theirs or {name: p.grad for name, p in named.items()}
        # The layer of the value in a model that is both has no part in the policy.
        pairs = [(-ours[name].flatten(), theirs[name].flatten()) for name in ours if ours[name].any()]
        self.errors.append(max(relative_error(*pair) for pair in pairs))
        self.whole.append(relative_error(*(torch.cat(parts) for parts in zip(*pairs, strict=True))))

    def compare_value(self):
        agent = view(self.agent).snapshot()
        obs = agent.observations(self.inputs["observations"])
        scale = getattr(self.agent.cfg, "value_loss_scale", 1.0)
        # The loss is in the units of the value preprocessor, V of an Agent in those of returns.
        agent.value.preprocessor = None
        loss = scale * (agent.v(obs) - self.batch["returns"].flatten()).square().mean()
        own = {
            name: p for name, p in agent.value.model.named_parameters() if "value" in name or not agent.value.is_policy
        }
        ours = torch.autograd.grad(loss, list(own.values()))
        live = dict(self.agent.value.named_parameters())
        if scale:
            pairs = zip(ours, (live[name].grad for name in own), strict=True)
            self.value_errors.append(max(relative_error(*pair) for pair in pairs))


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def recorded(skrl_runs, algorithm, change=lambda agent: None, monkeypatch=None, **options):
    """A recorder after a run that has gone through some updates; nothing scales the gradient before it is read."""
    if algorithm in ("PPO", "A2C"):
        options = {"grad_norm_clip": 0} | ({"value_clip": 0} if algorithm == "PPO" else {}) | options
    agent, trainer = skrl_runs.prepared(algorithm, **options)
    recorder = Recorder(agent, change)
    if algorithm == "TRPO":
        record_search(recorder, monkeypatch)
    trainer.train()
    return recorder


def record_search(recorder, monkeypatch):
    """TRPO's policy has no optimizer: its gradient is what conjugate gradients are given."""
    from skrl.agents.torch.trpo import trpo

    search, inner = trpo.conjugate_gradient, recorder.agent.memory.sample

    def sample(*args, **kwargs):
        batches = inner(*args, **kwargs)
        if kwargs["names"] == recorder.agent._tensors_names_policy:
            recorder.batch = dict(zip(kwargs["names"], batches[0], strict=True))
        return batches

    def compare(*, policy, b, **kwargs):
        parameters = dict(policy.named_parameters())
        # An ascent direction, where a loss has a descent direction.
        parts = (-b).split([p.numel() for p in parameters.values()])
        recorder.compare(recorder.rollout_cotangent, dict(zip(parameters, parts, strict=True)))
        return search(policy=policy, b=b, **kwargs)

    monkeypatch.setattr(recorder.agent.memory, "sample", sample)
    monkeypatch.setattr(trpo, "conjugate_gradient", compare)


def check(recorder, times):
    assert len(recorder.errors) == times
    assert max(recorder.errors) <= TOLERANCE
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.action_errors, default=0.0) < 1e-6


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_parity(algorithm, scaled, skrl_runs, record_property):
    recorder = recorded(skrl_runs, algorithm, steps=80, scaled=scaled)
    record_property("relative_error", max(recorder.whole))
    check(recorder, 20 if algorithm == "TD3" else 40)


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3"])
def test_parity_where_the_policy_clips_its_actions(algorithm, skrl_runs):
    def clipping(**spaces):
        return skrl_runs.Actor(clip_actions=True, gain=3.0, **spaces)

    agent, trainer = skrl_runs.prepared(algorithm, policy=clipping, steps=80)
    recorder = Recorder(agent)
    trainer.train()
    check(recorder, 20 if algorithm == "TD3" else 40)
    head = view(agent).action(recorder.inputs["observations"])
    at_face = (head == view(agent).action_low) | (head == view(agent).action_high)
    assert 0 < int(at_face.sum()) < head.numel()


MIXIN_OPTIONS = {
    "clips actions": {"clip_actions": True},
    "clips means": {"clip_mean_actions": True},
    "clips both": {"clip_actions": True, "clip_mean_actions": True},
    "leaves log σ": {"clip_log_std": False},
}


@pytest.mark.parametrize("options", MIXIN_OPTIONS.values(), ids=MIXIN_OPTIONS.keys())
def test_parity_of_sac_whatever_its_policy_clips(options, skrl_runs):
    recorder = recorded(skrl_runs, "SAC", steps=80, policy=lambda **spaces: skrl_runs.Stochastic(options, **spaces))
    check(recorder, 40)
    assert isinstance(view(recorder.agent).policy, ClampedGaussian if "clip_actions" in options else Gaussian)
    assert (recorder.clamped > 100) == ("clip_actions" in options)


def test_parity_of_sac_with_a_fixed_entropy_coefficient(skrl_runs):
    recorder = recorded(skrl_runs, "SAC", steps=80, learn_entropy=False, initial_entropy_value=0.3)
    assert view(recorder.agent).entropy == 0.3
    check(recorder, 40)


@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_parity_under_the_scaler_of_mixed_precision(algorithm, skrl_runs):
    """The scaler divides the gradient again before the step; what autocasting rounds off is the library's own."""
    recorder = recorded(skrl_runs, algorithm, steps=60, mixed_precision=True)
    assert recorder.agent.scaler.is_enabled()
    assert len(recorder.errors) >= 5
    # Autocasting rounds to eight bits; without the division the gradient would be many thousand times too large.
    assert max(recorder.whole) <= 0.5


#: The library's TRPO needs a GaussianMixin and layers of the policy's own; of layers that are shared, the loss of V in
#: A2C has no coefficient that could be zero.
KINDS = {
    "PPO": ["box", "clipped", "scaled", "multivariate", "discrete", "shared"],
    "A2C": ["box", "clipped", "scaled", "multivariate", "discrete"],
    "TRPO": ["box", "clipped", "scaled"],
}


@pytest.mark.parametrize(("algorithm", "kind"), [(name, kind) for name, kinds in KINDS.items() for kind in kinds])
def test_parity_on_policy(algorithm, kind, skrl_runs, monkeypatch, record_property):
    policy, options = {
        "box": (skrl_runs.Free, {}),
        "clipped": (lambda **spaces: skrl_runs.Free({"clip_actions": True, "clip_mean_actions": True}, **spaces), {}),
        "scaled": (skrl_runs.Free, {"scaled": True, "envs": 3}),
        "multivariate": (skrl_runs.Multivariate, {}),
        "discrete": (skrl_runs.Choice, {"env": lambda: skrl_runs.Drift(discrete=True)}),
        "shared": (skrl_runs.Shared, {}),
    }[kind]
    if kind == "shared":
        options = {"value_loss_scale": 0.0}
    recorder = recorded(skrl_runs, algorithm, monkeypatch=monkeypatch, steps=128, policy=policy, **options)
    record_property("relative_error", max(recorder.whole))
    check(recorder, 2)
    assert len(recorder.value_errors) == (0 if algorithm == "TRPO" or kind == "shared" else 2)
    assert max(recorder.value_errors, default=0.0) <= TOLERANCE
    assert (max(recorder.ratios, default=0.0) > 1e-4) == (kind == "scaled" and algorithm != "A2C")


# The same comparison must fail for an Agent that is wrong in one respect ----------------------------------------


def least(recorder):
    return min(recorder.whole)


def test_the_other_critic_is_noticed(skrl_runs):
    swap = lambda agent: setattr(agent, "critics", agent.critics[::-1])  # noqa: E731
    assert least(recorded(skrl_runs, "TD3", swap, steps=80)) > 1e-2


def test_the_first_critic_instead_of_the_smallest_is_noticed(skrl_runs):
    first = lambda agent: setattr(agent, "reduction", "first")  # noqa: E731
    assert max(recorded(skrl_runs, "SAC", first, steps=80).whole) > 1e-2


def test_no_clipping_of_actions_is_noticed(skrl_runs):
    free = lambda agent: setattr(agent, "policy", Gaussian())  # noqa: E731
    clipping = lambda **spaces: skrl_runs.Stochastic({"clip_actions": True}, **spaces)  # noqa: E731
    assert least(recorded(skrl_runs, "SAC", free, steps=80, policy=clipping)) > 1e-2


def test_alpha_after_its_update_is_noticed(skrl_runs):
    later = lambda agent: setattr(agent, "entropy", 0.98 * agent.entropy)  # noqa: E731
    # Where log σ is clipped at every state of a minibatch, α is in no gradient.
    assert max(recorded(skrl_runs, "SAC", later, steps=80).whole) > 1e-3


def test_observations_as_the_memory_keeps_them_are_noticed(skrl_runs):
    agent, trainer = skrl_runs.prepared("TD3", steps=80, scaled=True)
    recorder = Recorder(agent)
    inner = agent.memory.sample

    def sample(*args, **kwargs):
        batches = inner(*args, **kwargs)
        recorder.raw = batches[0][0]
        return batches

    agent.memory.sample = sample
    compare = recorder.compare

    def compare_raw(cotangent):
        recorder.inputs["observations"] = recorder.raw
        compare(cotangent)

    recorder.compare = compare_raw
    trainer.train()
    assert least(recorder) > 1e-2


def test_advantages_that_are_normalised_again_are_noticed(skrl_runs):
    agent, trainer = skrl_runs.prepared("PPO", steps=128, grad_norm_clip=0)
    recorder = Recorder(agent)
    inner = recorder.rollout_cotangent

    def again(own, obs):
        advantages = recorder.batch["advantages"]
        recorder.batch["advantages"] = (advantages - advantages.mean()) / advantages.std()
        return inner(own, obs)

    recorder.rollout_cotangent = again
    trainer.train()
    assert least(recorder) > 1e-2
