"""Baselines against closed forms, explicit per-sample gradients, and measured variances."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Optimal, Reparameterized, ScoreFunction, StateAction, Taylor
from gradlab.estimators.decisions import decision_problem
from gradlab.policies import Around, Gaussian, Kumaraswamy, Softmax, SquashedGaussian, TruncatedNormal
from gradlab.references import CriticReference
from gradlab.statistics.variance import gradient_variance
from gradlab.tangent import tangent_kernel
from gradlab.worlds import GaussianPolynomial

N, B = 3, 4


class Critic(nn.Module):
    def __init__(self, actions):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + actions, 24), nn.Tanh(), nn.Linear(24, 1)).double()

    def forward(self, obs, act):
        return 2 + 3 * self.net(torch.cat([obs, act], -1))


class Linear(nn.Module):
    def forward(self, obs, act):
        return 1.5 + act @ torch.arange(1.0, act.shape[-1] + 1).to(act) + obs.sum(-1)


def make(policy=None, *, actions=2, entropy=0.0, critic=None):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        size = policy.head_size(actions) if policy else actions
        actor = nn.Sequential(nn.Linear(N, 12), nn.Tanh(), nn.Linear(12, size)).double()
        critics = [critic or Critic(actions)]
    head = lambda actor, obs: 0.5 * actor(obs)  # noqa: E731
    return Agent(actor, critics, [-1] * actions, [1] * actions, policy=policy, entropy=entropy, head=head)


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def nodes(count=80, states=B):
    at, mass = np.polynomial.hermite_e.hermegauss(count)
    points = torch.from_numpy(at).reshape(-1, 1, 1).expand(-1, states, 1)
    return points, torch.from_numpy(mass) / math.sqrt(2 * math.pi)


# Case A: E[θx²], x ~ N(θ, 1) ---------------------------------------------------------------------------------


def exact_moments(world, estimator, *, explicit):
    """Mean and variance of one draw, by a rule that is exact for these polynomials."""
    agent, (noise, weights) = world.agent(), nodes(20, 1)
    v = estimator.at_noise(agent, torch.zeros(1, 1).double(), noise)[:, 0, 0]
    if explicit:
        act = agent.policy.sample(agent.head(torch.zeros(1, 1).double()).detach(), noise)[0]
        v = v + world.explicit_gradient(act)[:, 0]
    mean = weights @ v
    return mean.item(), (weights @ (v - mean).square()).item()


@pytest.mark.parametrize(("baseline", "variance"), [(0.0, 60.0), ("value-of-state", 40.0), ("optimal", 24.0)])
def test_case_a(baseline, variance):
    """VALIDATION A: mean 4 with every baseline; variances 60, 40 (value), 24 (optimal)."""
    world = GaussianPolynomial(power=2, theta=1.0)
    b = {"value-of-state": world.value_baseline, "optimal": world.optimal_baseline}.get(baseline, baseline)
    mean, got = exact_moments(world, ScoreFunction(baseline=b), explicit=True)
    assert (mean, got) == (pytest.approx(4.0), pytest.approx(variance))
    # The same measured, as anybody would, with an interval.
    agent, n = world.agent(), 200_000
    noise = torch.randn(n, 1, 1, generator=generator(2), dtype=torch.float64)
    obs = torch.zeros(1, 1).double()
    act = agent.policy.sample(agent.head(obs).detach(), noise)[0]
    v = ScoreFunction(baseline=b).at_noise(agent, obs, noise) + world.explicit_gradient(act).unsqueeze(-1)
    # The policy's head is (mean, log_std); the parameter is the mean.
    estimate = gradient_variance(agent, obs, torch.stack([v[..., 0], torch.zeros_like(v[..., 0])], -1))
    assert abs(estimate.value - variance) < 4 * estimate.stderr


@pytest.mark.parametrize("theta", [0.5, 1.0, 2.0])
def test_the_value_function_is_not_the_optimal_baseline(theta):
    """α* = v(s), the course chapter's, factorises E[‖s‖² R]; on a quadratic b* = E[R s²]/E[s²] = v(s) + 2θ."""
    world = GaussianPolynomial(power=2, theta=theta)
    value, best = world.value(), world.value() + 2 * theta
    problem = decision_problem(world.agent(), torch.zeros(1, 1).double(), 0.1, entropy=True)
    pilots = 100_000
    found = Optimal(pilots=pilots).at(problem).item()
    # Delta method: the ratio's error is that of Σ s²(R − b*)/Σ s².
    decisions = problem.decide(problem.noise((pilots, 1), generator(9)))
    square = decisions.score[..., 0].square().flatten()
    stderr = (square * (decisions.weight.flatten() - best)).std().item() / math.sqrt(pilots) / square.mean().item()
    assert abs(found - best) < 4 * stderr
    assert abs(found - value) > 10 * stderr
    variances = [exact_moments(world, ScoreFunction(baseline=b), explicit=False)[1] for b in (0.0, value, best)]
    assert variances[2] < variances[1] < variances[0]
    assert exact_moments(world, ScoreFunction(baseline=best + 0.1), explicit=False)[1] > variances[2]
    assert exact_moments(world, ScoreFunction(baseline=best - 0.1), explicit=False)[1] > variances[2]


def test_on_a_linear_critic_the_value_function_is_optimal():
    world = GaussianPolynomial(power=1, theta=1.5)
    problem = decision_problem(world.agent(), torch.zeros(1, 1).double(), 0.1, entropy=True)
    found = Optimal(pilots=100_000).at(problem).item()
    # R s² = (θ² + θε) ε²: standard deviation θ√15, over √pilots.
    assert abs(found - world.value()) < 4 * 1.5 * math.sqrt(15) / math.sqrt(100_000)


# Leave one out -----------------------------------------------------------------------------------------------


def test_leave_one_out_against_a_loop(obs):
    agent = make(Gaussian(), entropy=0.2)
    noise = torch.randn(6, B, 2, generator=generator(3), dtype=torch.float64)
    got = ScoreFunction(baseline="leave-one-out", samples=3).at_noise(agent, obs, noise)
    head = agent.head(obs).detach()
    for d in (0, 1):
        for i in range(B):
            weights, scores = [], []
            for k in range(3):
                at = head[i].clone().requires_grad_()
                act, log_prob = agent.policy.sample(at.detach(), noise[3 * d + k, i])
                weights.append(agent.q(obs[i : i + 1], act[None]).item() - 0.2 * log_prob.item())
                scores.append(torch.autograd.grad(agent.policy.log_prob(at, act), at)[0])
            total = sum((weights[k] - sum(weights[j] for j in range(3) if j != k) / 2) * scores[k] for k in range(3))
            assert torch.allclose(got[d, i], total / 3, rtol=1e-7)


@pytest.mark.parametrize("samples", [2, 5])
def test_leave_one_out_has_the_variance_of_its_formula(samples):
    world = GaussianPolynomial(power=2, theta=1.0)
    noise, weights = nodes(30, 1)
    score = noise[:, 0, 0]
    reward = world.theta * (1 + score).square()
    deviation = reward - weights @ reward
    cross = weights @ (reward * score)
    spread = weights @ (deviation.square() * score.square()) - cross**2
    rest = (weights @ deviation.square()) * (weights @ score.square()) + cross**2
    truth = ((spread + rest / (samples - 1)) / samples).item()
    agent, obs = world.agent(), torch.zeros(1, 1).double()
    v = ScoreFunction(baseline="leave-one-out", samples=samples).draw(agent, obs, 200_000, generator(4))
    v[..., 1] = 0.0
    estimate = gradient_variance(agent, obs, v)
    assert abs(estimate.value - truth) < 4 * estimate.stderr
    assert abs(v[..., 0].mean().item() - cross.item()) < 4 * math.sqrt(truth / 200_000)
    # A baseline that counts its own action shrinks the mean by (K − 1)/K: the check above can fail.
    own = v[..., 0] * (samples - 1) / samples
    assert abs(own.mean().item() - cross.item()) > 10 * math.sqrt(truth / 200_000)


# Optimal baselines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Gaussian(), SquashedGaussian(), Softmax(), None], ids=lambda p: type(p).__name__)
def test_optimal_baselines_against_explicit_parameter_gradients(obs, policy):
    """E[‖g‖² R]/E[‖g‖²] with every ∇_θ log π(a|s) formed."""
    agent = make(policy, entropy=0.2 if policy else 0.0)
    chosen, seed, pilots = policy or Around(0.3), 11, 40
    problem = decision_problem(agent, obs, 0.3, entropy=True)
    scalar = Optimal(pilots=pilots, seed=seed).at(problem)
    component = Optimal(per_component=True, pilots=pilots, seed=seed).at(problem)
    noise = chosen.noise((pilots if isinstance(chosen, Softmax) else pilots // 2, B, 2), generator(seed), obs)
    if not isinstance(chosen, Softmax):
        noise = torch.cat([noise, -noise])
    parameters = list(agent.actor.parameters())
    for i in range(B):
        above = below = 0.0
        above_each, below_each = torch.zeros(2, problem.head.shape[1]).double()
        for d in range(pilots):
            head = agent.head(obs[i : i + 1])[0]
            act, log_prob = (part.detach() for part in chosen.sample(head, noise[d, i]))
            reward = agent.q(obs[i : i + 1], act[None]).item() - agent.entropy * log_prob.item()
            again = chosen.log_prob(head, act)
            score = torch.autograd.grad(again, head, retain_graph=True)[0]
            square = sum(g.square().sum() for g in torch.autograd.grad(again, parameters)).item()
            above, below = above + square * reward, below + square
            above_each, below_each = above_each + score.square() * reward, below_each + score.square()
        assert scalar[i].item() == pytest.approx(above / below, rel=1e-6)
        assert torch.allclose(component[i], above_each / below_each, rtol=1e-6)


def test_optimal_baseline_where_the_head_has_no_gradient(obs):
    agent = make(Gaussian())
    agent._head = lambda actor, obs: torch.where(obs[:, :1] > 0, 0.5, 0.0) * actor(obs)
    draws = ScoreFunction(baseline="optimal").draw(agent, obs, 3, generator())
    assert torch.isfinite(draws).all()


def test_pilots_are_not_the_draws_and_are_the_same_at_every_call(obs):
    agent = make(Gaussian())
    state = torch.get_rng_state()
    for baseline in ("optimal", "optimal-per-component"):
        estimator = ScoreFunction(baseline=baseline)
        ours = generator(3)
        first = estimator.draw(agent, obs, 4, ours)
        # The generator has given the draws' noise and nothing for the pilots.
        plain = generator(3)
        ScoreFunction().draw(agent, obs, 4, plain)
        assert torch.equal(ours.get_state(), plain.get_state())
        assert torch.equal(first, estimator.draw(agent, obs, 4, generator(3)))
    assert torch.equal(torch.get_rng_state(), state)


def spread(agent, obs, v):
    """Squared deviation of each draw's parameter gradient, [D], without the division by the states' number."""
    v = v - v.mean(0)
    return torch.einsum("dbm,bmn,dbn->d", v, tangent_kernel(agent, obs, full=False).blocks, v)


# On the Gaussian's critic the value baseline is nearly optimal: telling them apart takes more draws.
@pytest.mark.parametrize(
    ("policy", "count"),
    [(Gaussian(), 400_000), (TruncatedNormal(), 40_000), (Softmax(), 40_000)],
    ids=["Gaussian", "TruncatedNormal", "Softmax"],
)
def test_order_of_variances(obs, policy, count):
    """In parameter space: value below none by intervals that do not meet, optimal below value in pairs."""
    agent = make(policy)
    found = {
        baseline: gradient_variance(agent, obs, ScoreFunction(baseline=baseline).draw(agent, obs, 4000, generator(6)))
        for baseline in ("none", "value")
    }
    assert found["value"].interval()[1] < found["none"].interval()[0]

    def spread_with(baseline):
        return spread(agent, obs, ScoreFunction(baseline=baseline).draw(agent, obs, count, generator(6)))

    gain = spread_with("value") - spread_with("optimal")
    assert gain.mean() > 4 * gain.std() / math.sqrt(count)
    # One leave-one-out draw of eight actions against eight draws without a baseline.
    v = ScoreFunction(baseline="leave-one-out", samples=8).draw(agent, obs, 4000, generator(7))
    assert 8 * gradient_variance(agent, obs, v).interval()[1] < found["none"].interval()[0]


def test_few_pilots_cost_what_the_error_of_the_baseline_costs(obs):
    """E‖g‖² (b − b*)² on top of the least variance, and next to nothing of it with 64 pilots in pairs ±ε."""
    agent = make(Gaussian())
    problem = decision_problem(agent, obs, 0.1, entropy=True)
    best = Optimal(pilots=65_536).at(problem)
    score = problem.decide(problem.noise((100_000, 1), generator(3))).score[:, 0]
    blocks = tangent_kernel(agent, obs, full=False).blocks
    weight = torch.einsum("dbm,bmn,dbn->db", score, blocks, score).mean(0)

    def excess(baseline):
        return (weight * (baseline - best).square()).sum()

    def spread_with(baseline):
        return spread(agent, obs, ScoreFunction(baseline=baseline).draw(agent, obs, 100_000, generator(6)))

    least = spread_with(Optimal(pilots=65_536))
    for error in (0.3, -1.0):
        got = spread_with(lambda agent, obs, error=error: best + error) - least
        assert abs(got.mean() - excess(best + error)) < 4 * got.std() / math.sqrt(100_000)
    seeds = range(20)
    paired = torch.stack([excess(Optimal(pilots=64, seed=seed).at(problem)) for seed in seeds]).mean()
    assert paired < 0.01 * least.mean()
    # As many independent ones: the same ratio of means, of noise without its mirror image.
    independent = []
    for seed in seeds:
        decisions = problem.decide(problem.noise((64, 1), generator(seed)))
        square = torch.einsum("dbm,bmn,dbn->db", decisions.score[:, 0], blocks, decisions.score[:, 0])
        independent.append(excess((square * decisions.weight[:, 0]).sum(0) / square.sum(0)))
    assert paired < 0.2 * torch.stack(independent).mean()


# Baselines of the action -------------------------------------------------------------------------------------


def bend(agent, obs, act):
    """A baseline b(s, a) that is neither linear nor the critic."""
    return (1 + obs[:, 0]) * act.square().sum(-1) + act.sum(-1).sin()


POLICIES = [Gaussian(), SquashedGaussian(), TruncatedNormal(), Kumaraswamy(), None]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_corrected_baselines_leave_the_mean_as_it_is_and_forgetting_shows(obs, policy):
    """Exactly, over the noise: with correction nothing changes; without, ∇_h E[b] is missing (Tucker et al. 2018)."""
    agent = make(policy, actions=1, entropy=0.2 if policy else 0.0)
    noise, weights = nodes()

    def mean(baseline):
        return torch.einsum("d,dbm->bm", weights, ScoreFunction(0.3, baseline).at_noise(agent, obs, noise))

    truth = mean("none")
    for baseline in (StateAction(bend), StateAction(bend, "quadrature", nodes=80), Taylor()):
        assert torch.allclose(mean(baseline), truth, rtol=1e-6, atol=2e-6)
    # ∇_h E[b], by differences of the expectation.
    chosen, head = policy or Around(0.3), agent.head(obs).detach()
    missing = torch.zeros_like(head)
    for k in range(head.shape[1]):
        step = torch.zeros_like(head)
        step[:, k] = 1e-5
        ends = [weights @ bend(agent, obs, chosen.sample(head + sign * step, noise)[0]) for sign in (1, -1)]
        missing[:, k] = (ends[0] - ends[1]) / 2e-5
    forgotten = mean(StateAction(bend, correction=False))
    assert torch.allclose(truth - forgotten, missing, rtol=1e-4, atol=1e-5)
    assert (truth - forgotten).abs().max() > 0.1
    given = StateAction(bend, lambda agent, obs, head: missing)
    assert torch.allclose(mean(given), truth, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mean(Taylor(correction=False)), truth, atol=1e-2)


def test_the_critic_as_baseline_is_the_reparameterised_gradient(obs):
    for policy in (Gaussian(), SquashedGaussian()):
        agent = make(policy)
        critic = StateAction(lambda agent, obs, act: agent.q(obs, act))
        score = ScoreFunction(baseline=critic).draw(agent, obs, 9, generator())
        assert torch.allclose(score, Reparameterized().draw(agent, obs, 9, generator()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("policy", [Gaussian(), None], ids=lambda p: type(p).__name__)
def test_taylor_leaves_no_variance_on_a_linear_critic(obs, policy):
    agent = make(policy, critic=Linear())
    draws = ScoreFunction(0.2, "taylor").draw(agent, obs, 50, generator())
    truth = CriticReference(smoothing=0.0 if policy else 0.2).cotangent(agent, obs).mean
    assert torch.allclose(draws, truth.expand_as(draws), atol=1e-10)


def test_softmax_with_a_baseline_of_the_action(obs):
    agent = make(Softmax(), actions=3)
    truth = CriticReference().cotangent(agent, obs).mean
    critic = StateAction(lambda agent, obs, act: agent.q(obs, act))
    assert torch.allclose(ScoreFunction(baseline=critic).draw(agent, obs, 3), truth.expand(3, -1, -1), atol=1e-12)
    other = StateAction(lambda agent, obs, act: (1 + obs[:, 1]) * act[..., 0])
    draws = ScoreFunction(baseline=other).draw(agent, obs, 40_000, generator(8))
    assert ((draws.mean(0) - truth).abs() < 4.5 * draws.std(0) / 200).all()
    forgotten = StateAction(lambda agent, obs, act: (1 + obs[:, 1]) * act[..., 0], correction=False)
    draws = ScoreFunction(baseline=forgotten).draw(agent, obs, 40_000, generator(8))
    assert ((draws.mean(0) - truth).abs() > 6 * draws.std(0) / 200).any()


def test_baselines_of_the_action_that_do_not_fit(obs):
    with pytest.raises(GradlabError, match="correction is 'guess'"):
        StateAction(bend, "guess")
    with pytest.raises(GradlabError, match="discrete actions"):
        ScoreFunction(baseline=StateAction(bend, "quadrature")).draw(make(Softmax()), obs)
    with pytest.raises(GradlabError, match="continuous actions"):
        ScoreFunction(baseline=StateAction(bend, "sum")).draw(make(Gaussian()), obs)
    with pytest.raises(GradlabError, match="32\\^4 points"):
        ScoreFunction(baseline=StateAction(bend, "quadrature")).draw(make(Gaussian(), actions=4), obs)
    with pytest.raises(GradlabError, match="one number for each action"):
        ScoreFunction(baseline=StateAction(lambda agent, obs, act: act)).draw(make(Gaussian()), obs)
    with pytest.raises(GradlabError, match="must be the head's"):
        ScoreFunction(baseline=StateAction(bend, lambda agent, obs, head: head[:1])).draw(make(Gaussian()), obs)
    with pytest.raises(GradlabError, match="continuous actions"):
        ScoreFunction(baseline="taylor").draw(make(Softmax()), obs)
    with pytest.raises(GradlabError, match="pilot draws"):
        Optimal(pilots=1)
