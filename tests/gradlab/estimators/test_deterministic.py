"""The deterministic gradient through every value an actor can follow, against per-state autograd on plain tensors."""

import pytest
import torch
from torch import nn

from gradlab import GradlabError
from gradlab.agent import Agent
from gradlab.estimators import Deterministic, ZerothOrder
from gradlab.policies import Deterministic as Point
from gradlab.policies import SquashedGaussian

N, P, B, K = 4, 2, 24, 5


class Critic(nn.Module):
    def __init__(self, out=1):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + P, 16), nn.Tanh(), nn.Linear(16, out)).double()

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


class Sure(nn.Module):
    """A value that is the same in every quantile, [B, quantiles]."""

    def __init__(self, value, slope):
        super().__init__()
        self.value, self.slope = value, slope

    def forward(self, obs, act):
        return (self.value + self.slope * act.sum(-1, keepdim=True)).expand(-1, K)


def make(out=1, seed=0, policy=None, **rest):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size = (policy or Point()).head_size(P)
        actor = nn.Sequential(nn.Linear(N, 8), nn.Tanh(), nn.Linear(8, size), nn.Tanh()).double()
        critics, targets = [Critic(out) for _ in range(3)], [Critic(out) for _ in range(3)]
    return Agent(actor, critics, [-1] * P, [1] * P, policy=policy, target_critics=targets, **rest)


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slow(agent, obs, value):
    """∂value/∂h one state at a time; ``value`` takes (critic outputs as a list of 1-D tensors)."""
    rows = []
    for i in range(len(obs)):
        head = agent.head(obs[i : i + 1]).detach().requires_grad_()
        act = agent.policy.mode(head)
        outs = [[c(obs[i : i + 1], act)[0] for c in group] for group in (agent.critics, agent.target_critics)]
        (gradient,) = torch.autograd.grad(value(*outs), head)
        rows.append(gradient[0])
    return torch.stack(rows)


def truncated(outs, dropped):
    pooled = [out[k] for out in outs for k in range(K)]
    kept = sorted(pooled, key=lambda value: value.item())[: len(pooled) - dropped * len(outs)]
    return sum(kept) / len(kept)


def smallest(outs):
    return min((out.mean() for out in outs), key=lambda value: value.item())


CHOICES = {
    "first": lambda q, t: q[0].mean(),
    "min": lambda q, t: smallest(q),
    "mean": lambda q, t: sum(out.mean() for out in q) / 3,
    "target-first": lambda q, t: t[0].mean(),
    "target-min": lambda q, t: smallest(t),
    "target-mean": lambda q, t: sum(out.mean() for out in t) / 3,
}


@pytest.mark.parametrize("policy", [None, SquashedGaussian()], ids=["det", "squashed"])
@pytest.mark.parametrize("out", [1, K])
@pytest.mark.parametrize("reduction", CHOICES)
def test_every_reduction(obs, reduction, out, policy):
    agent = make(out, policy=policy, quantiles=None if out == 1 else out)
    got = Deterministic(reduction=reduction).draw(agent, obs, 2)
    truth = slow(agent, obs, CHOICES[reduction])
    assert torch.allclose(got, truth.expand(2, -1, -1), rtol=1e-11, atol=1e-14)
    others = [slow(agent, obs, CHOICES[name]) for name in CHOICES if name != reduction]
    assert all(not torch.allclose(truth, other) for other in others)


@pytest.mark.parametrize("dropped", [0, 1, 3])
@pytest.mark.parametrize("reduction", ["truncated", "target-truncated"])
def test_truncation_leaves_out_the_highest_of_all_quantiles(obs, reduction, dropped):
    agent = make(K, quantiles=K, drop_quantiles=dropped)
    got = Deterministic(reduction=reduction).draw(agent, obs)[0]
    which = reduction.startswith("target")
    truth = slow(agent, obs, lambda q, t: truncated(t if which else q, dropped))
    assert torch.allclose(got, truth, rtol=1e-11, atol=1e-14)
    if dropped:
        assert not torch.allclose(got, Deterministic(reduction="mean").draw(agent, obs)[0])
    else:
        plain = Deterministic(reduction="target-mean" if which else "mean").draw(agent, obs)[0]
        assert torch.allclose(got, plain, rtol=1e-12)


@pytest.mark.parametrize("own", ["first", "min", "mean"])
def test_without_a_reduction_it_is_the_agents(obs, own):
    agent = make(reduction=own)
    assert torch.equal(Deterministic().draw(agent, obs), Deterministic(reduction=own).draw(agent, obs))
    target = Deterministic(reduction="target").draw(agent, obs)
    assert torch.equal(target, Deterministic(reduction=f"target-{own}").draw(agent, obs))


def test_one_critic_and_one_target_critic(obs):
    agent = make()
    for index in range(3):
        truth = slow(agent, obs, lambda q, t, i=index: q[i].mean())
        assert torch.allclose(Deterministic(critic=index).draw(agent, obs)[0], truth, rtol=1e-11)
        truth = slow(agent, obs, lambda q, t, i=index: t[i].mean())
        assert torch.allclose(Deterministic(index, "target").draw(agent, obs)[0], truth, rtol=1e-11)


def test_an_agent_that_follows_the_truncated_mean(obs):
    agent = make(K, quantiles=K, drop_quantiles=2, reduction="truncated")
    act = agent.action(obs).detach()
    values = [[critic(obs, act)[i] for critic in agent.critics] for i in range(B)]
    truth = torch.stack([truncated(each, 2) for each in values])
    assert torch.allclose(agent.q(obs, act), truth, rtol=1e-12)
    assert torch.allclose(agent.q(obs, act.expand(3, -1, -1))[2], truth, rtol=1e-12)
    assert agent.q_all(obs, act.expand(3, -1, -1)).shape == (3, 3, B)
    copy = agent.snapshot(double=True)
    assert torch.allclose(copy.q(obs, act), truth, rtol=1e-12)


def test_truncation_lowers_the_value(obs):
    agent = make(K, quantiles=K, drop_quantiles=2)
    act = agent.action(obs).detach()
    assert (agent.q(obs, act, reduction="truncated") < agent.q(obs, act, reduction="mean")).all()
    sure = Agent(agent.actor, [Sure(1.0, 2.0), Sure(1.0, 2.0)], [-1] * P, [1] * P, quantiles=K, drop_quantiles=2)
    assert torch.allclose(sure.q(obs, act, reduction="truncated"), sure.q(obs, act))


def test_names():
    names = [Deterministic(), Deterministic(0), Deterministic(reduction="min"), Deterministic(1, "target")]
    assert [str(e) for e in names] == [
        "deterministic",
        "deterministic-critic-0",
        "deterministic-min",
        "deterministic-target-critic-1",
    ]


def test_objective_has_no_entropy_and_a_note_says_what_is_missed(obs):
    agent = make(policy=SquashedGaussian(), entropy=0.2)
    assert Deterministic().objective(agent).entropy == 0.0
    assert Deterministic().objective(agent).discount == agent.discount
    assert agent.objective.entropy == 0.2
    (note,) = Deterministic().notes(agent, obs)
    assert "mode" in note
    assert Deterministic().notes(make(), obs) == ()


# What is not finite ------------------------------------------------------------------------------------------


class Bad(nn.Module):
    """NaN where the first observation is large, in one quantile; its gradient would be finite if nobody looked."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, obs, act):
        quantiles = torch.stack([act.sum(-1) + k for k in range(K)], -1)
        hole = torch.zeros_like(quantiles)
        hole[obs[:, 0] > 0.5, K - 1] = self.value
        return quantiles + hole


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("reduction", ["first", "min", "mean", "truncated"])
def test_a_value_that_is_not_finite_is_located_not_averaged_away(reduction, value):
    obs = torch.tensor([[0.0], [1.0], [0.2]])
    agent = Agent(nn.Linear(1, 1), [Bad(value), Bad(0.0)], -1, 1, quantiles=K, drop_quantiles=1)
    gradient = agent.action_gradient(obs, torch.zeros(3, 1), reduction=reduction)
    infinite_and_dropped = reduction == "truncated" and value == torch.inf
    bad = [False, not (infinite_and_dropped or (reduction == "min" and value == torch.inf)), False]
    assert (~torch.isfinite(gradient)).any(-1).tolist() == bad
    assert (~torch.isfinite(agent.q(obs, torch.zeros(3, 1), reduction=reduction))).tolist() == bad


# Wrong input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("critic", "quantiles", "message"),
    [
        (Critic(K), None, r"returned shape \[24, 5\] for 24 rows, not \[24\] or \[24, 1\].*quantiles=5"),
        (Critic(K), 7, r"returned shape \[24, 5\] for 24 rows, not \[24, 7\]; mend quantiles="),
        (Critic(), K, r"not \[24, 5\]; mend quantiles="),
        (lambda obs, act: Critic(K)(obs, act)[:, None], K, r"returned shape \[24, 1, 5\]"),
        (lambda obs, act: (act.sum(-1),), None, "returned tuple, not a tensor; wrap it"),
        (lambda obs, act: act.sum(), None, r"returned shape \[\] for 24 rows"),
        (lambda obs, act: act.sum(-1)[:, None, None], None, "wrap it so that it gives one number a row"),
    ],
)
def test_a_critic_of_another_shape_is_refused_in_one_line(obs, critic, quantiles, message):
    agent = Agent(make().actor, [critic], [-1] * P, [1] * P, quantiles=quantiles)
    with pytest.raises(GradlabError, match=message) as caught:
        Deterministic().draw(agent, obs)
    assert str(caught.value).startswith("critic 0: ")
    assert "\n" not in str(caught.value)


def test_one_quantile_and_a_single_state(obs):
    plain, single = make(), make(quantiles=1)
    assert torch.equal(Deterministic().draw(plain, obs), Deterministic().draw(single, obs))
    with pytest.raises(GradlabError, match="quantiles=5"):  # not taken for five states
        Deterministic().draw(make(K), obs[:1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make(reduction="max"), "'first', 'min', 'mean', 'truncated'"),
        (lambda: make(reduction="truncated"), "needs quantile critics; pass quantiles="),
        (lambda: make(K, quantiles=K, drop_quantiles=K), "keep at least one"),
        (lambda: make(drop_quantiles=1), "keep at least one"),
        (lambda: make(K, quantiles=K, drop_quantiles=-1), "keep at least one"),
        (lambda: make(quantiles=0), "at least one"),
        (lambda: Deterministic(reduction="max"), "'target-mean'"),
        (lambda: Deterministic(0, "min"), "one critic is not reduced"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(GradlabError, match=message):
        build()


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Deterministic(critic=3), "has 3 critics, numbered from 0, and no 3"),
        (Deterministic(critic=-1), "no -1"),
        (Deterministic(reduction="truncated"), "needs quantile critics"),
    ],
)
def test_what_the_agent_lacks(obs, estimator, message):
    with pytest.raises(GradlabError, match=message):
        estimator.draw(make(), obs)


def test_no_target_critics(obs):
    agent = Agent(make().actor, make().critics, [-1] * P, [1] * P)
    with pytest.raises(GradlabError, match="no target critic"):
        Deterministic(reduction="target").draw(agent, obs)


def test_an_observation_of_another_length_is_one_line_without_obs_size(obs):
    agent = make()
    assert agent.obs_size is None
    for estimator in (Deterministic(), ZerothOrder()):
        with pytest.raises(GradlabError, match=r"actor: its first layer takes 4 numbers, .* have 3 each") as caught:
            estimator.draw(agent, obs[:, :3])
        assert "\n" not in str(caught.value)
    with pytest.raises(GradlabError, match="critic 0: its first layer takes 6 numbers"):
        agent.q(obs[:, :3], torch.zeros(B, P))


def test_other_errors_of_a_network_stay_their_own(obs):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(N, P).double()

        def forward(self, obs):
            raise RuntimeError("the cable is out")

    agent = Agent(Broken(), [Critic()], [-1] * P, [1] * P)
    with pytest.raises(RuntimeError, match="the cable is out"):
        Deterministic().draw(agent, obs)
