"""Means and variances of trajectory estimators on problems small enough to be known exactly."""

import math

import pytest
import torch
from torch import nn

from gradlab import ParameterReference, trajectory_error, trajectory_gradients
from gradlab.agent import Agent
from gradlab.estimators.trajectory import GAE, GPOMDP, ActionValue, LeaveOneOut, OptimalBaseline, Reinforce, TDError
from gradlab.objective import Objective
from gradlab.policies import Gaussian, Softmax
from gradlab.trajectories import Trajectories

# A chain of rewards: r_t = a_t ~ N(θ, 1), T steps ---------------------------------------------------------------

T, THETA = 10, 1.0


class Chain:
    """Observations are the steps that are left, T − t, so that V(s) = θ(T − t); the policy ignores them."""

    def __init__(self, theta=THETA, horizon=T):
        self.theta, self.horizon = theta, horizon
        actor = nn.Linear(1, 1).double()
        actor.weight.requires_grad_(False).zero_()
        actor.bias.data.fill_(theta)
        self.agent = Agent(
            actor,
            [lambda obs, act: act[:, 0] + self.theta * (obs[:, 0] - 1)],
            [-10],
            [10],
            1.0,
            policy=Gaussian(),
            head=lambda actor, obs: torch.cat([actor(obs), torch.zeros_like(obs)], -1),
        )

    def value(self, obs):
        return self.theta * obs[:, 0]

    def episodes(self, count, seed):
        noise = torch.randn(count * self.horizon, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        left = torch.arange(self.horizon, 0, -1).double().repeat(count)[:, None]
        act = self.theta + noise
        index = torch.arange(count).repeat_interleave(self.horizon)
        return Trajectories(left, act, act[:, 0], left - 1, left[:, 0] == 1, index, 1.0, noise)

    def truth(self):
        return ParameterReference(torch.tensor([float(self.horizon)]), "closed form", Objective(discount=1.0))


CHAIN = Chain()
LISTED = [
    (Reinforce(), 1200.0),
    (Reinforce(T * THETA), 200.0),
    (GPOMDP(), 450.0),
    (GPOMDP(CHAIN.value), 65.0),
    (ActionValue(CHAIN.value), 2.0 * T),
    (TDError(CHAIN.value), 2.0 * T),
]


@pytest.mark.parametrize(("estimator", "variance"), LISTED, ids=lambda x: str(x))
@pytest.mark.parametrize("seed", [11, 12])
def test_variances_of_the_chain(estimator, variance, seed):
    """REINFORCE 1200, its best constant 200, G(PO)MDP 450, with V 65; σ = 1, so that Var(ε²) = 2."""
    runs = CHAIN.episodes(6000, seed)
    g = trajectory_gradients(CHAIN.agent, runs, estimator.cotangents(CHAIN.agent, runs))[:, 0]
    squares = (g - g.mean()).square()
    assert abs(g.mean() - T) <= 4 * g.std() / math.sqrt(len(g))
    assert abs(squares.mean() - variance) <= 4 * squares.std() / math.sqrt(len(g))


@pytest.mark.parametrize(("estimator", "variance"), LISTED, ids=lambda x: str(x))
@pytest.mark.parametrize(("block", "factor"), [(3000, 1.0), (7000, 1.5)])
def test_intervals_of_the_chain_cover(estimator, variance, block, factor):
    """95 % intervals over 200 repetitions of 64 episodes: 90 to 98 % hold the truth, of g and of the biased 1.5 g."""
    bias, scaled = ((factor - 1) * T) ** 2, factor**2 * variance
    truths = {"variance": scaled, "bias_squared": bias, "mse": bias + scaled, "norm_ratio": factor}
    shares = coverage(estimator, truths, block, factor)
    assert all(0.90 <= share <= 0.98 for share in shares.values()), shares


def test_the_intervals_do_not_hold_what_is_wrong():
    """The control: 1.5 g is 26.7/√65 = 3.3 standard errors off, so that about a tenth of the intervals hold 1."""
    shares = coverage(GPOMDP(CHAIN.value), {"norm_ratio": 1.0, "bias_squared": 0.0}, 9000, 1.5)
    assert max(shares.values()) < 0.5, shares


def coverage(estimator, truths, block, factor, repetitions=200, episodes=64):
    held = dict.fromkeys(truths, 0)
    for seed in range(block, block + repetitions):
        runs = CHAIN.episodes(episodes, seed)
        error = trajectory_error(CHAIN.agent, runs, factor * estimator.cotangents(CHAIN.agent, runs), CHAIN.truth())
        for name, truth in truths.items():
            low, high = getattr(error, name).interval()
            held[name] += low <= truth <= high
    return {name: count / repetitions for name, count in held.items()}


@pytest.mark.parametrize("pilot", [True, False])
def test_the_optimal_baseline_finds_the_best_constant(pilot):
    """The best constant of REINFORCE is E[Z²R]/E[Z²] = Tθ here, and its variance 200."""
    runs = CHAIN.episodes(4000, 14)
    other = CHAIN.episodes(4000, 15) if pilot else None
    v = Reinforce(OptimalBaseline(other)).cotangents(CHAIN.agent, runs)
    g = trajectory_gradients(CHAIN.agent, runs, v)[:, 0]
    squares = (g - g.mean()).square()
    assert abs(g.mean() - T) <= 4 * g.std() / math.sqrt(len(g))
    assert abs(squares.mean() - 200) <= 4 * squares.std() / math.sqrt(len(g))


def test_episodes_that_share_a_baseline_are_correlated_as_documented():
    """E[g_i·g_j] − ‖g‖² = ‖g‖²/(K − 1)² for K = 2, hence whole groups are the draws: without grouping it is a bias."""
    chain = Chain(theta=1.0, horizon=2)
    runs = chain.episodes(40_000, 16)
    estimator = Reinforce(LeaveOneOut(2))
    v = estimator.cotangents(chain.agent, runs)
    pairs = trajectory_gradients(chain.agent, runs, v)[:, 0].reshape(-1, 2)
    product = pairs[:, 0] * pairs[:, 1] - 4
    assert abs(product.mean() - 4) <= 4 * product.std() / math.sqrt(len(product))
    mean = pairs.mean(1)
    assert abs(mean.mean() - 2) <= 4 * mean.std() / math.sqrt(len(mean))
    some = runs.select(torch.arange(runs.count) < 1200)
    grouped = trajectory_error(chain.agent, some, v[: len(some.obs)], chain.truth(), group=estimator.group)
    assert grouped.bias_squared.samples == 600
    low, high = grouped.bias_squared.interval()
    assert low <= 0 <= high
    low, high = grouped.variance.interval()
    # Var of a mean of two: (V + C)/2, V the variance of one episode's and C = 4 their covariance.
    one = pairs[:, 0].var()
    assert low <= (one + 4) / 2 <= high


# A tabular problem: known by dynamic programming with autograd --------------------------------------------------

P = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]).double()
REWARD = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double()
THETA_TABLE = torch.tensor([[0.3, -0.2], [-0.5, 0.4]]).double()


class Table:
    """A softmax policy with a logit for each state and action; the actor's weight is θᵀ."""

    def __init__(self, gamma, horizon, entropy=0.0):
        self.gamma, self.horizon, self.entropy = gamma, horizon, entropy
        actor = nn.Linear(2, 2, bias=False).double()
        actor.weight.data.copy_(THETA_TABLE.T)
        self.agent = Agent(actor, [], [0, 0], [1, 1], gamma, policy=Softmax(), entropy=entropy)

    def values(self, theta, steps):
        """v_0 … v_steps by backward induction, v_steps = 0."""
        pi, out = theta.softmax(-1), [torch.zeros(2).double()]
        for _ in range(steps):
            soft = REWARD - self.entropy * pi.log() + self.gamma * P @ out[-1]
            out.append((pi * soft).sum(-1))
        return out[::-1]

    def true_gradient(self, steps=None, weight_of_state=None):
        """∇_θ of α·v_0, flat as the weight [A, S] is; or Σ_t w_t E[∇ log π Q_t] with other weights than γᵗ."""
        steps = self.horizon if steps is None else steps
        theta = THETA_TABLE.clone().requires_grad_()
        if weight_of_state is None:
            (gradient,) = torch.autograd.grad(self.values(theta, steps)[0][0], theta)
            return gradient.T.flatten()
        pi, values = theta.softmax(-1), [v.detach() for v in self.values(theta, steps)]
        at, total = torch.tensor([1.0, 0.0]).double(), torch.zeros(()).double()
        for t in range(steps):
            q = REWARD + self.gamma * P @ values[t + 1]
            total = total + weight_of_state(t) * (at[:, None] * pi * q).sum()
            at = torch.einsum("s,sa,sat->t", at, pi.detach(), P)
        (gradient,) = torch.autograd.grad(total, theta)
        return gradient.T.flatten()

    def episodes(self, count, seed, steps=None, *, terminated=True):
        generator = torch.Generator().manual_seed(seed)
        steps, eye = steps or self.horizon, torch.eye(2).double()
        state, parts = torch.zeros(count, dtype=torch.int64), []
        pi = THETA_TABLE.softmax(-1)
        for _ in range(steps):
            act = torch.multinomial(pi[state], 1, generator=generator)[:, 0]
            following = torch.multinomial(P[state, act], 1, generator=generator)[:, 0]
            parts.append((eye[state], eye[act], REWARD[state, act], eye[following]))
            state = following
        # From [steps, episodes] to whole episodes one after the other.
        obs, act, reward, after = (torch.stack(x, 1).flatten(0, 1) for x in zip(*parts, strict=True))
        ends = (torch.arange(count * steps) % steps == steps - 1) & terminated
        return Trajectories(obs, act, reward, after, ends, torch.arange(count).repeat_interleave(steps), self.gamma)


def z_scores(agent, runs, estimator, truth):
    g = trajectory_gradients(agent, runs, estimator.cotangents(agent, runs))
    error = (g.mean(0) - truth) / (g.std(0) / math.sqrt(len(g)))
    return error[g.std(0) > 1e-12].abs()


@pytest.mark.parametrize("entropy", [0.0, 0.5])
@pytest.mark.parametrize(
    "estimator",
    [
        Reinforce(),
        Reinforce("leave-one-out"),
        Reinforce("optimal-per-component"),
        GPOMDP(),
        GPOMDP(3.0),
        GPOMDP(lambda obs: obs @ torch.tensor([2.0, 5.0]).double()),
        GPOMDP("leave-one-out"),
        GPOMDP("optimal"),
        GAE(1.0, lambda obs: obs @ torch.tensor([2.0, 5.0]).double()),
    ],
    ids=str,
)
def test_softmax_over_a_finite_horizon_is_unbiased(estimator, entropy):
    table = Table(0.9, 4, entropy)
    runs = table.episodes(8000, 21)
    assert (z_scores(table.agent, runs, estimator, table.true_gradient()) <= 4).all()


def test_a_wrong_value_function_biases_the_td_error_and_not_gae_at_one():
    """The negative control of the test above: it can tell a bias."""
    table = Table(0.9, 4)
    runs = table.episodes(8000, 22)
    wrong = GAE(0.0, lambda obs: obs @ torch.tensor([2.0, 5.0]).double())
    assert z_scores(table.agent, runs, wrong, table.true_gradient()).max() > 10


def test_states_without_their_discount_are_the_gradient_of_nothing_and_biased():
    """Nota & Thomas 2020: without γᵗ the mean is Σ_t E[∇log π Q], known here by dynamic programming; not ∇J."""
    table = Table(0.5, 6)
    runs = table.episodes(20_000, 23)
    undiscounted = table.true_gradient(weight_of_state=lambda t: 1.0)
    # The sum by states with the right weights is the gradient, so that the oracle itself is checked.
    torch.testing.assert_close(table.true_gradient(weight_of_state=lambda t: 0.5**t), table.true_gradient())
    assert (z_scores(table.agent, runs, GPOMDP(), table.true_gradient()) <= 4).all()
    biased = GPOMDP(discounted_states=False)
    assert (z_scores(table.agent, runs, biased, undiscounted) <= 4).all()
    assert z_scores(table.agent, runs, biased, table.true_gradient()).max() > 10


def test_bootstrapping_what_was_cut_off():
    """Cut after 3 of 40 steps: with the true V the first three terms of ∇J's sum, without it the ∇ of three rewards."""
    table = Table(0.8, 40)
    runs = table.episodes(20_000, 24, steps=3, terminated=False)
    v = table.values(THETA_TABLE, 40)[3]

    def value(obs):
        return obs @ v

    first_terms = table.true_gradient(weight_of_state=lambda t: 0.8**t if t < 3 else 0.0)
    for estimator in (Reinforce(bootstrap=value), GPOMDP(bootstrap=value)):
        assert (z_scores(table.agent, runs, estimator, first_terms) <= 4).all()
    assert (z_scores(table.agent, runs, GPOMDP(), table.true_gradient(steps=3)) <= 4).all()
    assert z_scores(table.agent, runs, GPOMDP(), first_terms).max() > 10
    error = trajectory_error(
        table.agent,
        runs.select(torch.arange(20_000) < 50),
        GPOMDP().cotangents(table.agent, runs)[:150],
        ParameterReference(table.true_gradient(), "closed form", Objective(discount=0.8)),
    )
    assert error.notes[0].startswith("50 of 50 episodes were cut off")
