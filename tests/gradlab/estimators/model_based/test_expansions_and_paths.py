"""One-step expansions and backpropagation along episodes: closed forms, and central differences of parameters."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gradlab import trajectory_gradients
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.model_based import (
    GaussianModel,
    OneStepReparameterized,
    OneStepScoreFunction,
    PathwiseReturn,
)
from gradlab.estimators.trajectory import GPOMDP, ActionValue, Reinforce
from gradlab.policies import Deterministic, Gaussian, Softmax, SquashedGaussian
from gradlab.trajectories import Trajectories
from gradlab.worlds import LinearQuadratic
from gradlab.worlds.models import linear_quadratic_model


def regulator(noise=0.0, policy_std=0.0, horizon=None, gamma=0.9):
    return LinearQuadratic(
        A=[[0.9, 0.2], [-0.1, 0.8]],
        B=[[0.5], [0.3]],
        Q=[[1.0, 0.2], [0.2, 0.5]],
        R=[[0.1]],
        gamma=gamma,
        K=[[0.3, 0.1]],
        sigma0=[[1.0, 0.3], [0.3, 0.6]],
        noise=[[noise, 0.0], [0.0, noise / 2]],
        policy_std=policy_std,
        horizon=horizon,
    )


STATES = torch.tensor([[1.0, 0.0], [0.5, -1.0], [-0.3, 2.0]]).double()


# One-step expansions: (1/B) Σ_i [g(s_i) s_iᵀ + γ E g(s') s'ᵀ], g(s) = −2Es linear ------------------------------------


def expansion_truth(world):
    """s' = Ls + w + Bσε, so E[s's'ᵀ] = L s sᵀ Lᵀ + W'; the gradient to the weight −K of the two terms, flat."""
    here = STATES.T @ STATES / len(STATES)
    there = world.L @ here @ world.L.T + world.driving
    return (2 * world.advantage_matrix() @ (here + world.gamma * there)).flatten()


@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_dpmb_r_without_noise_is_exact(gamma):
    world = regulator(gamma=gamma)
    agent = world.agent()
    expansion = OneStepReparameterized(linear_quadratic_model(world)).draw(agent, STATES, 2)
    assert expansion.count == 2
    assert expansion.obs.shape == (2 * 2 * 3, 2)
    found = trajectory_gradients(agent, expansion, expansion.cotangents)
    torch.testing.assert_close(found, expansion_truth(world).expand(2, -1), rtol=1e-10, atol=1e-10)
    # The states are the batch and its successors, draw by draw.
    torch.testing.assert_close(expansion.obs[:3], STATES)
    torch.testing.assert_close(expansion.obs[3:6], STATES @ world.L.T)


def expansions(world):
    model = linear_quadratic_model(world)
    return {
        "dpmb-r": OneStepReparameterized(model),
        "dpmb-sf": OneStepScoreFunction(model),
        "dpmb-sf-value-baseline": OneStepScoreFunction(model, "value"),
    }


@pytest.mark.parametrize("policy_std", [0.0, 0.3])
def test_all_three_are_unbiased_and_a_baseline_pays(policy_std):
    world = regulator(noise=0.04, policy_std=policy_std)
    agent, truth, draws, variances = world.agent(), expansion_truth(world), 6000, {}
    for seed, (name, estimator) in enumerate(expansions(world).items()):
        assert estimator.name == name
        expansion = estimator.draw(agent, STATES, draws, torch.Generator().manual_seed(seed))
        g = trajectory_gradients(agent, expansion, expansion.cotangents)
        error = g.std(0) / math.sqrt(draws)
        assert ((g.mean(0) - truth) / error).abs().max() <= 4, name
        # The control: that the second term is missing would be told by the same bound.
        only_first = (2 * world.advantage_matrix() @ (STATES.T @ STATES / len(STATES))).flatten()
        assert ((g.mean(0) - only_first) / error).abs().max() > 4, name
        squares = (g - g.mean(0)).square().sum(1)
        variances[name] = squares.mean(), squares.std() / math.sqrt(draws)
    ordered = ["dpmb-r", "dpmb-sf-value-baseline", "dpmb-sf"]
    for less, more in itertools.pairwise(ordered):
        gap = variances[more][0] - variances[less][0]
        assert gap > 4 * math.hypot(variances[more][1], variances[less][1]), variances


def test_the_entropy_belongs_to_both_steps():
    """In both terms −α log π adds α to ∂/∂log σ at s, and γα at s', in every draw of a Gaussian policy."""
    world = regulator(noise=0.04, policy_std=0.3)
    plain, soft = world.agent(), world.agent()
    soft.entropy = 0.7
    estimator = OneStepReparameterized(linear_quadratic_model(world))
    a, b = (estimator.draw(x, STATES, 4, torch.Generator().manual_seed(0)).cotangents for x in (plain, soft))
    added = (b - a).reshape(4, 2, 3, 2)
    torch.testing.assert_close(added[:, 0, :, 1], torch.full((4, 3), 0.7 / 3).double())
    torch.testing.assert_close(added[:, 1, :, 1], torch.full((4, 3), 0.9 * 0.7 / 3).double())
    torch.testing.assert_close(added[..., 0], torch.zeros(4, 2, 3).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: OneStepScoreFunction(m, "best"), "baseline is 'best'"),
        (lambda m: OneStepScoreFunction(m).draw(regulator().agent(), STATES), "has no density"),
        (lambda m: OneStepReparameterized(m).draw(regulator().agent(), STATES, 0), "draws: 0"),
        (
            lambda m: OneStepReparameterized(m).draw(
                Agent(nn.Linear(2, 2).double(), [], [0, 0], [1, 1], policy=Softmax()), STATES
            ),
            "needs continuous actions",
        ),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(GradlabError, match=message):
        call(linear_quadratic_model(regulator()))


# Backpropagation along episodes ------------------------------------------------------------------------------------

N, P, GAMMA = 3, 2, 0.8
MIX = torch.randn(N, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 2
PUSH = torch.randn(P, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 2


def mean(obs, act):
    return (obs @ MIX + act @ PUSH).tanh()


def std(obs, act):
    return 0.2 + 0.1 * (obs + act @ PUSH).sin().square()


def reward(obs, act):
    return obs.sin().sum(-1) - act.square().sum(-1) + (obs[..., :P] * act).sum(-1)


def tail(obs):
    return obs.cos().sum(-1)


@pytest.mark.parametrize(
    "policy",
    [Deterministic(), Gaussian(), SquashedGaussian(0.0, -2.0, 1.0)],
    ids=["deterministic", "gauss", "squashed"],
)
@pytest.mark.parametrize("bootstrap", [None, tail])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_against_central_differences_of_the_parameters(policy, bootstrap, alpha):
    """∇_θ of each episode's return with its noise kept: episodes of different lengths, run again by a loop."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Sequential(nn.Linear(N, 3), nn.Tanh(), nn.Linear(3, policy.head_size(P))).double()
    agent = Agent(actor, [], [-2] * P, [1] * P, GAMMA, policy=policy, entropy=alpha)
    generator, lengths = torch.Generator().manual_seed(3), (4, 1, 3)
    starts, eps, xi = (
        [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
        for shapes in ([(N,)] * 3, [(k, P) for k in lengths], [(k, N) for k in lengths])
    )

    def act_of(state, noise):
        head = agent.head(state[None])
        if not policy.stochastic:
            return policy.mode(head)[0] + 0.1 * noise, 0.0
        act, log_prob = policy.sample(head, noise[None])
        return act[0], -alpha * log_prob.item()

    def run(episode):
        state, rows, total = starts[episode], [], 0.0
        with torch.no_grad():
            for t in range(lengths[episode]):
                act, bonus = act_of(state, eps[episode][t])
                following = mean(state, act) + std(state, act) * xi[episode][t]
                rows.append((state, act, reward(state, act), following))
                total += GAMMA**t * (reward(state, act).item() + bonus)
                state = following
            if bootstrap is not None and episode != 0:
                total += GAMMA ** lengths[episode] * bootstrap(state).item()
        return rows, total

    rows = [row for episode in range(3) for row in run(episode)[0]]
    obs, act, rewards, after = (torch.stack(x) for x in zip(*rows, strict=True))
    index = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    ended = torch.tensor([False, False, False, True, False, False, False, False])
    runs = Trajectories(obs, act, rewards, after, ended, index, GAMMA)
    estimator = PathwiseReturn(GaussianModel(mean, reward, std), bootstrap)
    found = trajectory_gradients(agent, runs, estimator.cotangents(agent, runs))
    assert all(p.grad is None for p in actor.parameters())

    at = parameters_to_vector(actor.parameters()).detach().clone()
    for episode in range(3):
        truth = torch.zeros_like(at)
        for k in range(len(at)):
            ends = []
            for sign in (1, -1):
                shifted = at.clone()
                shifted[k] += sign * 1e-5
                vector_to_parameters(shifted, actor.parameters())
                ends.append(run(episode)[1])
            truth[k] = (ends[0] - ends[1]) / 2e-5
        vector_to_parameters(at, actor.parameters())
        torch.testing.assert_close(found[episode], truth, rtol=1e-6, atol=1e-8)


def sigma_starts(world):
    """Two starts for each of two columns of a root: their mean square is Σ₀."""
    root = torch.linalg.cholesky(world.sigma0)
    columns = root.T * math.sqrt(2)
    return torch.cat([columns, -columns])


def rollout(world, steps, *, terminated):
    state, rows = sigma_starts(world), []
    for t in range(steps):
        act = -state @ world.K.T
        after = state @ world.A.T + act @ world.B.T
        r = linear_quadratic_model(world).reward(state, act)
        rows.append((state, act, r, after, torch.full((4,), terminated and t == steps - 1)))
        state = after
    obs, act, r, after, ended = (torch.stack(x, 1).flatten(0, 1) for x in zip(*rows, strict=True))
    return Trajectories(obs, act, r, after, ended, torch.arange(4).repeat_interleave(steps), world.gamma)


@pytest.mark.parametrize("horizon", [1, 4, 15])
def test_without_noise_it_is_exact_over_a_finite_horizon(horizon):
    world = regulator(horizon=horizon)
    agent, runs = world.agent(), rollout(world, horizon, terminated=True)
    v = PathwiseReturn(linear_quadratic_model(world)).cotangents(agent, runs)
    mean_gradient = trajectory_gradients(agent, runs, v).mean(0)
    torch.testing.assert_close(mean_gradient, world.true_gradient().flatten(), rtol=1e-10, atol=1e-10)


def test_an_infinite_horizon_cut_after_five_steps():
    """With V at the end the first five terms of 2E Σ_t γᵗ Σ_t, without it ∇ of five rewards; both biased, as known."""
    world = regulator()
    agent, runs, model = world.agent(), rollout(world, 5, terminated=False), linear_quadratic_model(world)
    P0 = world.cost_to_go()

    def value(obs):
        return -torch.einsum("bi,ij,bj->b", obs, P0, obs)

    bootstrapped, plain = (
        trajectory_gradients(agent, runs, PathwiseReturn(model, v).cotangents(agent, runs)).mean(0)
        for v in (value, None)
    )
    moments, moment = torch.zeros_like(world.sigma0), world.sigma0
    for t in range(5):
        moments = moments + world.gamma**t * moment
        moment = world.L @ moment @ world.L.T
    first = (2 * world.advantage_matrix() @ moments).flatten()
    torch.testing.assert_close(bootstrapped, first, rtol=1e-10, atol=1e-10)
    five = regulator(horizon=5).true_gradient().flatten()
    torch.testing.assert_close(plain, five, rtol=1e-10, atol=1e-10)
    truth = world.true_gradient().flatten()
    assert 1e-3 < (bootstrapped - truth).norm() < (plain - truth).norm()


def test_on_a_noisy_regulator_all_are_unbiased_and_the_path_has_the_least_variance():
    world = regulator(noise=0.04, policy_std=0.3, horizon=5)
    agent, truth, count = world.agent(), world.true_gradient().flatten(), 6000
    runs = world.trajectories(count, torch.Generator().manual_seed(7))
    estimators = {
        "path": PathwiseReturn(linear_quadratic_model(world)),
        "gpomdp with value": GPOMDP(lambda obs: world.state_value(obs).detach()),
        "gpomdp": GPOMDP(),
        "reinforce, leave-one-out": Reinforce("leave-one-out"),
        "reinforce": Reinforce(),
    }
    traces = {}
    for name, estimator in estimators.items():
        g = trajectory_gradients(agent, runs, estimator.cotangents(agent, runs))
        assert ((g.mean(0) - truth) / (g.std(0) / math.sqrt(count))).abs().max() <= 4, name
        traces[name] = float(g.var(0).sum())
    assert traces["path"] < traces["gpomdp with value"] < traces["gpomdp"] < traces["reinforce"]
    assert traces["reinforce, leave-one-out"] < traces["reinforce"]


def test_an_infinite_horizon_with_the_exact_critic_is_unbiased():
    """Cut where γᵗ ≤ 1e-6: Q and Q − V against ∇J; without their states' discount they are told to be biased."""
    world = regulator(noise=0.04, policy_std=0.3, gamma=0.7)
    agent, truth, count = world.agent(), world.true_gradient().flatten(), 3000
    runs = world.trajectories(count, torch.Generator().manual_seed(8), steps=39)
    for estimator in (ActionValue(), ActionValue(lambda obs: world.state_value(obs).detach())):
        g = trajectory_gradients(agent, runs, estimator.cotangents(agent, runs))
        assert ((g.mean(0) - truth) / (g.std(0) / math.sqrt(count))).abs().max() <= 4
    biased = ActionValue(lambda obs: world.state_value(obs).detach(), discounted_states=False)
    g = trajectory_gradients(agent, runs, biased.cotangents(agent, runs))
    assert ((g.mean(0) - truth) / (g.std(0) / math.sqrt(count))).abs().max() > 10


def test_what_a_path_refuses():
    world = regulator(noise=0.04, policy_std=0.3, horizon=5)
    agent = world.agent()
    runs = world.trajectories(3, torch.Generator().manual_seed(7))
    with pytest.raises(GradlabError, match="no noise gives 15 of 15 transitions"):
        PathwiseReturn(linear_quadratic_model(regulator())).cotangents(agent, runs)
    with pytest.raises(GradlabError, match="are discrete"):
        PathwiseReturn(linear_quadratic_model(world)).cotangents(
            Agent(nn.Linear(2, 1).double(), [], [0], [1], world.gamma, policy=Softmax()), runs
        )
    agent.discount = 0.5
    with pytest.raises(GradlabError, match=r"γ=0\.5"):
        PathwiseReturn(linear_quadratic_model(world)).cotangents(agent, runs)
