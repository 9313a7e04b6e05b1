"""Score-function estimators against slow loops, exact expectations over the noise, and the other families."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized, ScoreFunction, ZerothOrder, heads
from gradlab.objective import Objective
from gradlab.policies import Around, Gaussian, Kumaraswamy, Softmax, SquashedGaussian, TruncatedNormal
from gradlab.references import CriticReference

N, B = 3, 4


class Critic(nn.Module):
    """Smooth and of moderate size, but neither linear nor quadratic in the action."""

    def __init__(self, actions):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + actions, 24), nn.Tanh(), nn.Linear(24, 1)).double()

    def forward(self, obs, act):
        return 2 + 3 * self.net(torch.cat([obs, act], -1))


def make(policy=None, *, actions=2, entropy=0.0, width=0.4):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        size = policy.head_size(actions) if policy else actions
        actor = nn.Sequential(nn.Linear(N, 12), nn.Tanh(), nn.Linear(12, size)).double()
        critics = [Critic(actions), Critic(actions)]
    return Agent(
        actor,
        critics,
        [-1] * actions,
        [1] * actions,
        policy=policy,
        entropy=entropy,
        reduction="mean",
        head=lambda actor, obs: width * actor(obs),
    )


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def nodes(count, size):
    """Noise [count**size, B, size] and weights of a product rule for standard normal noise."""
    at, mass = np.polynomial.hermite_e.hermegauss(count)
    grids = np.meshgrid(*[at] * size, indexing="ij")
    masses = np.meshgrid(*[mass / math.sqrt(2 * math.pi)] * size, indexing="ij")
    points = torch.from_numpy(np.stack([g.ravel() for g in grids], -1))
    return points.unsqueeze(1).expand(-1, B, -1), torch.from_numpy(np.prod([m.ravel() for m in masses], 0))


CONTINUOUS = [Gaussian(), SquashedGaussian(), TruncatedNormal(), Kumaraswamy()]


# One draw at a time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [*CONTINUOUS, Softmax()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("baseline", [1.5, "value"])
def test_against_a_loop(obs, policy, baseline):
    agent = make(policy, entropy=0.2)
    noise = policy.noise((5, B, 2), generator(7), obs)
    got = ScoreFunction(baseline=baseline).at_noise(agent, obs, noise)
    for d in range(5):
        for i in range(B):
            s = obs[i : i + 1]
            head = agent.head(s).detach()[0].requires_grad_()
            act = policy.sample(head, noise[d, i])[0].detach()
            log_prob = policy.log_prob(head, act)
            (score,) = torch.autograd.grad(log_prob, head)
            b = agent.q(s, policy.mode(head.detach())[None]).item() if baseline == "value" else baseline
            weight = agent.q(s, act[None]).item() - 0.2 * log_prob.item() - b
            assert torch.allclose(got[d, i], weight * score, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("baseline", ["none", "value", "leave-one-out", "optimal", "taylor"])
def test_several_actions_to_a_draw_are_their_mean(obs, baseline):
    agent = make(Gaussian(), entropy=0.1)
    noise = torch.randn(12, B, 2, generator=generator(), dtype=torch.float64)
    four = ScoreFunction(baseline=baseline, samples=4).at_noise(agent, obs, noise)
    assert four.shape == (3, B, 4)
    if baseline != "leave-one-out":
        one = ScoreFunction(baseline=baseline).at_noise(agent, obs, noise)
        assert torch.allclose(four, one.unflatten(0, (3, 4)).mean(1), rtol=1e-12)
    # Draws do not know of one another: the noise of one, moved, moves its draw and no other.
    turned = ScoreFunction(baseline=baseline, samples=4).at_noise(agent, obs, noise.roll(4, 0))
    assert torch.allclose(turned, four.roll(1, 0), rtol=1e-10)
    assert four.equal(
        ScoreFunction(baseline=baseline, samples=4).draw(agent, obs, 3, generator())
    )  # the same numbers from the generator


@pytest.mark.parametrize("baseline", ["value", "leave-one-out", "optimal-per-component", "taylor"])
def test_chunks_do_not_change_the_draws(obs, baseline, monkeypatch):
    agent = make(SquashedGaussian())
    estimator = ScoreFunction(baseline=baseline, samples=3)
    whole = estimator.draw(agent, obs, 7, generator())
    monkeypatch.setattr(heads.in_chunks, "__defaults__", (6 * B,))
    assert torch.allclose(estimator.draw(agent, obs, 7, generator()), whole, rtol=1e-12, atol=1e-14)


# Identities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "baseline"), [(1, "none"), (2, "value")])
@pytest.mark.parametrize("mu", [0.01, 0.5])
def test_zeroth_order_is_the_score_function_draw_by_draw(obs, points, baseline, mu):
    """VALIDATION B: with b = Q(s, f(h)) it is the two-point estimator, with none the one-point."""
    agent = make()
    zeroth = ZerothOrder(mu, points).draw(agent, obs, 64, generator(3))
    score = ScoreFunction(mu, baseline).draw(agent, obs, 64, generator(3))
    assert torch.allclose(zeroth, score, rtol=1e-11, atol=1e-11 / mu)
    other = ScoreFunction(mu, "none" if baseline == "value" else "value").draw(agent, obs, 64, generator(3))
    assert not torch.allclose(zeroth, other, rtol=1e-3)


def test_around_a_deterministic_actor_is_a_gaussian_of_fixed_width(obs):
    """The same draws from an agent that has that policy as its own."""
    deterministic, around = make(), make()
    around.policy = Around(0.3)
    for baseline in ("none", "value", "leave-one-out", "taylor"):
        own = ScoreFunction(baseline=baseline).draw(around, obs, 8, generator(4))
        made = ScoreFunction(0.3, baseline).draw(deterministic, obs, 8, generator(4))
        assert torch.equal(own, made)


# Expectations, exactly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", CONTINUOUS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_expectation_is_that_of_the_reparameterised_gradient(obs, policy, entropy):
    """Both, integrated over the noise by a product rule, so that no sampling error hides a mistake."""
    agent = make(policy, actions=1, entropy=entropy)
    noise, weights = nodes(80, 1)
    means = [
        torch.einsum("d,dbm->bm", weights, estimator.at_noise(agent, obs, noise))
        for estimator in (
            Reparameterized(),
            Reparameterized(score_term=False),
            ScoreFunction(),
            ScoreFunction(baseline="value"),
            ScoreFunction(baseline=-3.0),
            ScoreFunction(baseline="optimal"),
            ScoreFunction(baseline="optimal-per-component"),
            ScoreFunction(baseline="taylor"),
        )
    ]
    for mean in means[1:]:
        assert torch.allclose(mean, means[0], rtol=1e-6, atol=2e-6)
    reference = CriticReference(nodes=64).cotangent(agent, obs)
    assert reference.diagnostics["method"] == "quadrature"
    assert torch.allclose(means[0], reference.mean, rtol=1e-6, atol=2e-6)
    # The test can tell: half the entropy is another gradient.
    if entropy:
        agent.entropy = entropy / 2
        other = torch.einsum("d,dbm->bm", weights, Reparameterized().at_noise(agent, obs, noise))
        assert not torch.allclose(other, means[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("baseline", ["none", 4.0, "value", "leave-one-out", "optimal", "optimal-per-component"])
def test_softmax_is_unbiased(obs, baseline):
    agent, count = make(Softmax(), actions=3, entropy=0.3, width=1.0), 40_000
    truth = CriticReference().cotangent(agent, obs).mean
    draws = ScoreFunction(baseline=baseline).draw(agent, obs, count, generator(5))
    assert ((draws.mean(0) - truth).abs() < 4.5 * draws.std(0) / math.sqrt(count)).all()


# Near the faces of the box -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", [SquashedGaussian(1e-6), TruncatedNormal(), Kumaraswamy()], ids=lambda p: type(p).__name__
)
def test_right_where_actions_round_to_the_faces(policy):
    """Single precision, policies that put nearly all actions on the faces: still the score of double precision."""
    heads_of = {
        SquashedGaussian: [[12.0, -12.0, -1.0, -1.0]],
        TruncatedNormal: [[9.0, -9.0, -7.0, -7.0]],
        Kumaraswamy: [[-5.0, 4.0, 4.0, -5.0]],
    }
    head = torch.tensor(heads_of[type(policy)])
    agent = Agent(
        nn.Linear(N, 4), [lambda obs, act: 1 + act.sum(-1)], [-1, -1], [1, 1], policy=policy,
        head=lambda actor, obs: head.to(obs).expand(len(obs), -1),
    )  # fmt: skip
    noise = torch.randn(200, 1, 2, generator=generator())
    single = ScoreFunction().at_noise(agent, torch.zeros(1, N), noise)
    saturated = policy.sample(head, noise)[0].abs() >= 1 - 1e-6
    assert saturated.double().mean() > 0.3
    double = ScoreFunction().at_noise(agent.snapshot(), torch.zeros(1, N).double(), noise.double())
    assert torch.isfinite(single).all()
    assert torch.allclose(single.double(), double, rtol=1e-3, atol=1e-3 * double.abs().mean().item())


# What it is called, and what it estimates --------------------------------------------------------------------


def test_names():
    names = {
        "none": "score-function",
        "value": "score-function-baseline",
        0: "score-function",
        2.5: "score-function-baseline-2.5",
        "leave-one-out": "score-function-leave-one-out",
        "optimal": "score-function-optimal",
        "optimal-per-component": "score-function-optimal-per-component",
        "taylor": "score-function-taylor",
    }
    for baseline, name in names.items():
        assert ScoreFunction(baseline=baseline).name == name
    assert ScoreFunction(samples=3, entropy=False).name == "score-function-3-actions-without-entropy"
    assert ScoreFunction(baseline="leave-one-out").samples == 2


def test_objective():
    stochastic = make(Gaussian(), entropy=0.2)
    assert ScoreFunction().objective(stochastic) == Objective(0.99, entropy=0.2)
    assert ScoreFunction(entropy=False).objective(stochastic) == Objective(0.99)
    deterministic = make(entropy=0.2)
    assert ScoreFunction(0.3).objective(deterministic) == Objective(0.99, smoothing=0.3)
    assert ScoreFunction(0.3).objective(make(Softmax(), entropy=0.1)) == Objective(0.99, entropy=0.1)


def test_actions_outside_the_box_are_counted_and_noted(obs):
    """Around f(h) = h the share is 1 − Π_j [Φ((1 − h_j)/σ) − Φ((−1 − h_j)/σ)] at each state."""
    agent, sigma = make(), 0.6
    head = agent.head(obs).detach()
    inside = torch.special.ndtr((1 - head) / sigma) - torch.special.ndtr((-1 - head) / sigma)
    truth = (1 - inside.prod(-1)).mean().item()
    share = ScoreFunction(sigma).off_support(agent, obs, 4000, generator(2))
    assert share.scale == "share"
    assert abs(share.value - truth) < 4 * share.stderr
    (note,) = ScoreFunction(sigma).notes(agent, obs)
    assert note.startswith("score-function: ")
    assert "leave the action box" in note
    assert note.endswith("take a smaller sigma")
    assert ScoreFunction(1e-3).notes(agent, obs) == ()
    for policy in (SquashedGaussian(), TruncatedNormal(), Kumaraswamy(), Softmax()):
        assert ScoreFunction().notes(make(policy), obs) == ()
    assert ScoreFunction().notes(make(Gaussian()), obs)[0].endswith("squash or truncate the policy")


# Wrong input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ScoreFunction(sigma=-1.0), "sigma"),
        (lambda: ScoreFunction(baseline="best"), "baseline is 'best'"),
        (lambda: ScoreFunction(baseline=True), "baseline is True"),
        (lambda: ScoreFunction(baseline=math.nan), "must be finite"),
        (lambda: ScoreFunction(baseline="leave-one-out", samples=1), "at least 2"),
        (lambda: ScoreFunction(samples=0), "at least 1"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(GradlabError, match=message):
        build()


def test_wrong_use(obs):
    agent = make(Gaussian())
    with pytest.raises(GradlabError, match="5 rows of noise"):
        ScoreFunction(samples=2).at_noise(agent, obs, torch.zeros(5, B, 2).double())
    with pytest.raises(GradlabError, match=r"gave shape \(4, 1\)"):
        ScoreFunction(baseline=lambda agent, obs: obs[:, :1]).draw(agent, obs)
    with pytest.raises(GradlabError, match="no critic"):
        ScoreFunction().draw(Agent(agent.actor, [], [-1, -1], [1, 1], policy=Gaussian()), obs)
