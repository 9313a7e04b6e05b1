"""World F against the listed numbers, long sums, automatic differentiation, every episode there is, and sampling."""

import itertools
import math

import pytest
import torch

from gradlab import parameter_gradient
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Estimator, ScoreFunction
from gradlab.worlds import TabularMDP
from gradlab.worlds.tabular_moments import advantage_gradient, return_moments

LISTED = {
    "P": [[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]],
    "r": [[1.0, 0.0], [0.0, 2.0]],
    "gamma": 0.9,
    "alpha": [1.0, 0.0],
}


def seeded(seed, states=3, actions=2, three=True, **changes):
    """A random problem: nothing symmetric, rewards that depend on the next state."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    parts = {
        "P": draw(states, actions, states).softmax(-1),
        "r": draw(states, actions, states) if three else draw(states, actions),
        "gamma": 0.8,
        "alpha": draw(states).softmax(-1),
        "theta": draw(states, actions),
    }
    return TabularMDP(**(parts | changes))


def long_sum(world, theta, steps):
    """J by carrying the distribution of states forward, knowing nothing of v or Q."""
    policy, at, total = theta.softmax(-1), world.alpha, torch.zeros(()).double()
    for t in range(steps):
        joint = at[:, None, None] * policy[..., None] * world.P
        bonus = -world.entropy * (at[:, None] * policy * policy.log()).sum()
        total = total + world.gamma**t * ((joint * world.reward).sum() + bonus)
        at = joint.sum((0, 1))
    return total


# Exact quantities --------------------------------------------------------------------------------------------


def test_listed_numbers():
    world = TabularMDP(**LISTED)
    assert world.value() == pytest.approx(7.341040462, abs=5e-10)
    gradient = world.true_gradient()
    assert gradient[0].tolist() == pytest.approx([0.845333957, -0.845333957], abs=5e-10)
    assert gradient[1].tolist() == pytest.approx([-2.706405159, 2.706405159], abs=5e-10)


def test_the_chapters_visitation():
    same = [[[0.9, 0.1], [0.9, 0.1]]] * 2
    theta = torch.tensor([[0.8, 0.2]] * 2).double().log()
    world = TabularMDP(same, [[0.0, 0.0]] * 2, 0.9, [0.7, 0.3], theta)
    assert world.visitation(normalized=True).tolist() == pytest.approx([0.88, 0.12])
    assert world.visitation().sum().item() == pytest.approx(10.0)


@pytest.mark.parametrize("entropy", [0.0, 0.3])
@pytest.mark.parametrize("horizon", [None, 1, 6])
def test_value_and_gradient_against_a_long_sum(horizon, entropy):
    world = seeded(0, entropy=entropy, horizon=horizon)
    theta = world.theta.clone().requires_grad_()
    total = long_sum(world, theta, horizon or 300)
    (gradient,) = torch.autograd.grad(total, theta)
    assert world.value() == pytest.approx(total.item(), rel=1e-11)
    assert torch.allclose(world.true_gradient(), gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("horizon", [None, 5])
def test_gradient_against_automatic_differentiation_of_the_solve(horizon):
    theta = seeded(1).theta.requires_grad_()
    world = seeded(1, theta=theta, entropy=0.2, horizon=horizon)
    (gradient,) = torch.autograd.grad(world.objective(), theta)
    assert torch.allclose(world.true_gradient(), gradient, rtol=1e-10)


def test_entropy_changes_value_and_gradient():
    plain, with_bonus = seeded(1), seeded(1, entropy=0.2)
    assert abs(plain.value() - with_bonus.value()) > 0.1
    assert not torch.allclose(plain.true_gradient(), with_bonus.true_gradient(), rtol=0.01)


@pytest.mark.parametrize("horizon", [None, 4])
def test_bellman_and_advantages(horizon):
    world = seeded(2, entropy=0.3, horizon=horizon)
    for step in (0, 2):
        q, v = world.q_values(step), world.state_values(step)
        later = torch.einsum("sat,sat->sa", world.P, world.reward + world.gamma * world.state_values(step + 1))
        assert torch.allclose(q, later)
        assert torch.allclose(v, (world.policy * (q - 0.3 * world.policy.log())).sum(-1))
        assert (world.policy * world.advantages(step)).sum(-1).abs().max() < 1e-12


@pytest.mark.parametrize("horizon", [None, 7])
def test_visitation_against_powers(horizon):
    world = seeded(3, horizon=horizon)
    sums = [0.8**t * world.alpha @ torch.linalg.matrix_power(world.transition, t) for t in range(horizon or 200)]
    assert torch.allclose(world.visitation(), torch.stack(sums).sum(0))


def test_weights_left_out_bias_the_gradient():
    """Nota & Thomas: the same sum without γᵗ; with γ = 1 there is nothing to leave out."""
    world = seeded(4, horizon=5)
    at, total = world.alpha, torch.zeros_like(world.theta)
    for t in range(5):
        total += at[:, None] * world.policy * (world.q_values(t) - world.state_values(t)[:, None])
        at = world.transition.T @ at
    assert torch.allclose(world.undiscounted_gradient(), total)
    assert not torch.allclose(total, world.true_gradient(), rtol=0.05)
    undiscounted = seeded(4, horizon=5, gamma=1.0)
    assert torch.allclose(undiscounted.undiscounted_gradient(), undiscounted.true_gradient())


def test_weights_left_out_without_end_follow_the_stationary_distribution():
    world = seeded(5)
    stationary = torch.linalg.matrix_power(world.transition, 500)[0]
    biased = 5 * stationary[:, None] * world.policy * world.advantages()  # 1/(1 − γ) = 5
    assert torch.allclose(world.undiscounted_gradient(), biased)
    # Started from its stationary distribution the two distributions are one.
    started = seeded(5, alpha=stationary)
    assert torch.allclose(started.undiscounted_gradient(), started.true_gradient())
    stays = [[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2]
    with pytest.raises(GradlabError, match="stationary"):
        TabularMDP(stays, LISTED["r"], 0.9, [0.5, 0.5]).undiscounted_gradient()


# Estimators: moments against every episode there is --------------------------------------------------------------


def episodes(world, steps):
    """(probability, [(s, a, s', r)]) of every episode of so many steps."""
    states, actions = world.theta.shape
    for path in itertools.product(range(states), *[range(actions), range(states)] * steps):
        s, chance, out = path[0], float(world.alpha[path[0]]), []
        for a, following in zip(path[1::2], path[2::2], strict=True):
            chance *= float(world.policy[s, a] * world.P[s, a, following])
            reward = float(world.reward[s, a, following]) - world.entropy * math.log(float(world.policy[s, a]))
            out.append((s, a, following, reward))
            s = following
        yield chance, out


def score(world, s, a):
    out = torch.zeros_like(world.theta)
    out[s] = -world.policy[s]
    out[s, a] += 1
    return out


def enumerated(world, steps, gradient):
    mean, second, mass = torch.zeros_like(world.theta), 0.0, 0.0
    for chance, episode in episodes(world, steps):
        g = gradient(episode)
        mean, second, mass = mean + chance * g, second + chance * float(g.square().sum()), mass + chance
    assert mass == pytest.approx(1.0)
    return mean, second - float(mean.square().sum())


def oracle(world, lam, V, weight):
    """Γ of one episode: advantages by their definition, Σ_k (γλ)^k δ_{t+k}."""

    def gradient(episode):
        last, total = len(episode), torch.zeros_like(world.theta)
        for t, (s, a, _, _) in enumerate(episode):
            psi = 0.0
            for k in range(t, last):
                at, _, following, reward = episode[k]
                ahead = 0.0 if k == last - 1 else float(V[following])
                psi += (world.gamma * lam) ** (k - t) * (reward + world.gamma * ahead - float(V[at]))
            total += weight**t * psi * score(world, s, a)
        return total

    return gradient


@pytest.mark.parametrize("entropy", [0.0, 0.3])
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_advantage_gradients_against_every_episode(lam, weighted, entropy):
    world = seeded(6, states=2, horizon=3, entropy=entropy)
    V = torch.tensor([0.4, -1.1]).double()
    weight = world.gamma if weighted else 1.0
    mean, variance = enumerated(world, 3, oracle(world, lam, V, weight))
    got = advantage_gradient(world.process(), V, V, world.gamma * lam, weight)
    assert torch.allclose(got.mean, mean, atol=1e-13)
    assert got.variance == pytest.approx(variance, rel=1e-10)
    # With λ = 1 the baseline telescopes away and only the weights can bias.
    exact = world.true_gradient() if weighted else world.undiscounted_gradient()
    assert torch.allclose(got.mean, exact) == (lam == 1.0)


def test_gradients_with_q_against_every_episode():
    world = seeded(6, states=2, horizon=3)
    own = torch.tensor([[0.3, -2.0], [1.0, 0.7]]).double()
    mean, variance = enumerated(
        world,
        3,
        lambda episode: sum(0.8**t * own[s, a] * score(world, s, a) for t, (s, a, _, _) in enumerate(episode)),
    )
    zero = torch.zeros(2).double()
    got = advantage_gradient(world.process(), zero, zero, 0.0, 0.8, own=own)
    assert torch.allclose(got.mean, mean, atol=1e-13)
    assert got.variance == pytest.approx(variance, rel=1e-10)


@pytest.mark.parametrize("baseline", [0.0, 0.8])
def test_return_gradients_against_every_episode(baseline):
    world = seeded(7, states=2, horizon=3, entropy=0.1)

    def gradient(episode):
        total = sum(world.gamma**t * reward for t, (_, _, _, reward) in enumerate(episode))
        return (total - baseline) * sum(score(world, s, a) for s, a, _, _ in episode)

    mean, variance = enumerated(world, 3, gradient)
    got = return_moments(world.process()).gradient(baseline)
    assert torch.allclose(got.mean, mean, atol=1e-13)
    assert torch.allclose(got.mean, world.true_gradient())
    assert got.variance == pytest.approx(variance, rel=1e-10)


def test_leave_one_out_against_every_pair_of_episodes():
    world, pairs = seeded(7, states=2, horizon=2), []
    for chance, episode in episodes(world, 2):
        total = sum(world.gamma**t * reward for t, (_, _, _, reward) in enumerate(episode))
        pairs.append((chance, total, sum(score(world, s, a) for s, a, _, _ in episode).flatten()))
    chance, total = (torch.tensor([pair[i] for pair in pairs], dtype=torch.float64) for i in range(2))
    scores = torch.stack([pair[2] for pair in pairs])
    draws = (total[:, None] - total)[..., None] * (scores[:, None] - scores) / 2
    both = torch.outer(chance, chance)
    mean = torch.einsum("ij,ijk->k", both, draws)
    variance = (both * (draws - mean).square().sum(-1)).sum().item()
    got = return_moments(world.process()).leave_one_out(2)
    assert torch.allclose(got.mean.flatten(), mean)
    assert got.variance == pytest.approx(variance, rel=1e-10)


def test_the_best_constant_has_the_least_variance():
    moments = return_moments(seeded(7, horizon=4).process())
    best = moments.best_constant
    variances = [moments.gradient(best + shift).variance for shift in (-0.05, 0.0, 0.05)]
    assert variances[1] < min(variances[0], variances[2])


def test_without_end_the_moments_are_those_of_geometric_episodes():
    """Every expectation of the endless process: unbiased for the discounted ∇J although nothing is discounted."""
    world = seeded(8)
    process, v = world.process(geometric=True), world.state_values()
    zero = torch.zeros(3).double()
    truth = world.true_gradient()
    for lam in (0.0, 0.5, 1.0):
        assert torch.allclose(advantage_gradient(process, v, v, lam, 1.0).mean, truth, rtol=1e-10)
    assert torch.allclose(advantage_gradient(process, zero, zero, 1.0, 1.0).mean, truth, rtol=1e-10)
    assert torch.allclose(advantage_gradient(process, zero, zero, 0.0, 1.0, own=world.q_values()).mean, truth)
    assert torch.allclose(return_moments(process).gradient().mean, truth, rtol=1e-10)
    # A TD error of a wrong value function is biased.
    assert not torch.allclose(advantage_gradient(process, zero, zero, 0.0, 1.0).mean, truth, rtol=0.05)


# Sampling ----------------------------------------------------------------------------------------------------


def scores_of(world, runs):
    state, action = runs.obs.argmax(-1), runs.act.argmax(-1)
    out = torch.zeros(len(state), *world.theta.shape, dtype=torch.float64)
    rows = torch.arange(len(state))
    out[rows, state] = -world.policy[state]
    out[rows, state, action] += 1
    return out


def check(draws, mean, variance):
    error = draws.mean(0) - mean
    assert (error.abs() < 4.5 * draws.std(0) / math.sqrt(len(draws)) + 1e-12).all()
    squares = (draws - mean).square().flatten(1).sum(1)
    assert abs(squares.mean() - variance) < 4.5 * squares.std() / math.sqrt(len(draws)) + 1e-15


def kind(horizon):
    return {"geometric": True} if horizon is None else {}


@pytest.mark.parametrize("horizon", [None, 6])
def test_episodes(horizon):
    world = seeded(9, horizon=horizon)
    runs = world.trajectories(20_000, torch.Generator().manual_seed(1), **kind(horizon))
    assert runs.discount == world.agent(**kind(horizon)).discount == (1.0 if horizon is None else world.gamma)
    ends = torch.cat([runs.trajectory.diff() == 1, torch.tensor([True])])
    assert torch.equal(runs.terminated, ends)
    assert torch.equal(runs.next_obs[~ends], runs.obs[1:][~ends[:-1]])
    if horizon is None:
        # Geometric lengths: mean 1/(1 − γ) = 5, variance γ/(1 − γ)² = 20.
        assert abs(runs.lengths.double().mean() - 5) < 4 * math.sqrt(20 / 20_000)
    else:
        assert runs.lengths.unique().tolist() == [horizon]
    returns = runs.returns()
    assert abs(returns.mean() - world.value()) < 4 * returns.std() / math.sqrt(20_000)
    per_episode = runs.total(runs.weights.unsqueeze(-1) * runs.obs)
    error = per_episode.mean(0) - world.visitation()
    assert (error.abs() < 4 * per_episode.std(0) / math.sqrt(20_000)).all()
    # The noise is what the policy drew its actions with.
    again = world.agent().policy.sample(world.agent().head(runs.obs), runs.noise)[0]
    assert torch.equal(again, runs.act)


@pytest.mark.parametrize("horizon", [None, 6])
def test_moments_by_sampling(horizon):
    world = seeded(9, horizon=horizon)
    runs = world.trajectories(40_000, torch.Generator().manual_seed(2), **kind(horizon))
    scores, process, zero = scores_of(world, runs), world.process(**kind(horizon)), torch.zeros(3).double()
    weighted = runs.weights[:, None, None] * scores
    got = advantage_gradient(process, zero, zero, process.discount, process.discount)
    check(runs.total(weighted * runs.rewards_to_go()[:, None, None]), got.mean, got.variance)
    whole = return_moments(process).gradient(0.5)
    check((runs.returns() - 0.5)[:, None, None] * runs.total(scores), whole.mean, whole.variance)
    assert torch.allclose(whole.mean, world.true_gradient())
    assert torch.allclose(got.mean, world.true_gradient())


def test_without_a_future_one_step_is_all():
    world = seeded(14, gamma=0.0)
    for ending in ({}, {"geometric": True}):
        runs = world.trajectories(10, torch.Generator().manual_seed(0), **ending)
        assert runs.lengths.tolist() == [1] * 10
        assert torch.allclose(return_moments(world.process(**ending)).gradient().mean, world.true_gradient())


def test_cut_episodes_lack_their_tail():
    world = seeded(10)
    runs = world.trajectories(50, torch.Generator().manual_seed(3), steps=4)
    assert not runs.terminated.any()
    assert runs.lengths.unique().tolist() == [4]
    assert runs.discount == world.gamma
    zero, v = torch.zeros(3).double(), world.state_values()
    cut = advantage_gradient(world.process(4), zero, zero, 0.8, 0.8)
    truth = seeded(10, horizon=4)
    assert torch.allclose(cut.mean, truth.true_gradient())
    assert not torch.allclose(cut.mean, world.true_gradient(), rtol=0.05)
    # What v says of the tail makes the last advantages right, but not the states that are no more visited.
    mended = advantage_gradient(world.process(4), v, v, 0.8, 0.8, bootstrap=True)
    visits = sum(0.8**t * torch.linalg.matrix_power(world.transition.T, t) @ world.alpha for t in range(4))
    assert torch.allclose(mended.mean, visits[:, None] * world.policy * world.advantages())
    # By default the tail is negligible.
    assert world.trajectories(2, torch.Generator()).lengths.tolist() == [math.ceil(math.log(1e-12) / math.log(0.8))] * 2
    whole = advantage_gradient(world.process(), zero, zero, 0.8, 0.8)
    assert torch.allclose(whole.mean, world.true_gradient(), rtol=1e-9)


@pytest.mark.parametrize(
    "world",
    [seeded(15, horizon=5), seeded(15, horizon=5, entropy=0.2), seeded(16, actions=3, gamma=0.4)],
    ids=["finite", "entropy", "infinite"],
)
def test_every_admitted_estimator(world):
    agent, count = world.agent(), 40_000 if world.horizon else 10_000
    runs = world.trajectories(count, torch.Generator().manual_seed(6))
    admitted = world.admitted()
    assert len({str(each.estimator) for each in admitted}) == len(admitted)
    for each in admitted:
        if isinstance(each.estimator, Estimator):
            obs = world.observations()
            draws = each.estimator.draw(agent, obs, count, torch.Generator().manual_seed(7))
            gradients = parameter_gradient(agent, obs, draws)["weight"].flatten(1)
        else:
            v = each.estimator.cotangents(agent, runs)
            gradients = runs.total(torch.einsum("na,ns->nas", v, runs.obs)).flatten(1)
            # Episodes that share a baseline are one sample.
            gradients = gradients.unflatten(0, (-1, each.estimator.group)).mean(1)
            assert torch.allclose(each.truth, world.flat(world.true_gradient()))
        check(gradients, each.mean, each.variance)
        if "undiscounted" in str(each.estimator):
            assert torch.allclose(each.mean, world.flat(world.undiscounted_gradient()))
            assert not torch.allclose(each.mean, each.truth, rtol=0.05)
        else:
            assert torch.allclose(each.mean, each.truth, rtol=1e-9, atol=1e-12)


def test_states_follow_the_visitation():
    world = seeded(11)
    states = world.states(50_000, torch.Generator().manual_seed(4))
    error = states.mean(0) - world.visitation(normalized=True)
    assert (error.abs() < 4 * states.std(0) / math.sqrt(50_000)).all()


@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_score_function_at_the_states(entropy):
    """Through the agent: its critic, its softmax and its parameters."""
    world = seeded(12, states=3, actions=3, entropy=entropy)
    agent, obs = world.agent(), world.observations()
    b = torch.tensor([0.5, -1.0, 2.0]).double()
    for estimator, baseline in (
        (ScoreFunction(), 0.0),
        (ScoreFunction(baseline=lambda a, o: o @ b), b),
        (ScoreFunction(baseline="value"), world.q_values().gather(1, world.theta.argmax(-1, keepdim=True)).squeeze(-1)),
    ):
        draws = estimator.draw(agent, obs, 60_000, torch.Generator().manual_seed(5))
        gradients = parameter_gradient(agent, obs, draws)["weight"].transpose(1, 2)
        got = world.score_function(baseline)
        check(gradients, got.mean, got.variance)
        exact = world.policy * world.advantages() / 3
        assert torch.allclose(got.mean, exact)


def test_score_moments_agree_with_the_variances():
    world = seeded(12, states=3, actions=3, entropy=0.3)
    for baseline in (torch.zeros(3).double(), torch.tensor([0.5, -1.0, 2.0]).double()):
        each = [state.variance(float(b)) for state, b in zip(world.score_moments(), baseline, strict=True)]
        assert sum(each) / 9 == pytest.approx(world.score_function(baseline).variance)
    # A number is taken in double precision, not rounded to the default type on its way.
    each = [state.variance(0.1) for state in world.score_moments()]
    assert world.score_function(0.1).variance == pytest.approx(sum(each) / 9, rel=1e-12)
    weight, square = world.q_values() + world.bonus, (torch.eye(3).double() - world.policy[:, None]).square().sum(-1)
    best = (world.policy * square * weight).sum(-1) / (world.policy * square).sum(-1)
    assert torch.allclose(world.optimal_baseline(), best)


def test_the_optimal_baseline_is_not_the_value():
    """The chapter's α* = v(s) factorises an expectation that does not factorise."""
    world = seeded(13, actions=3)
    best = world.score_function(world.optimal_baseline()).variance
    assert best < world.score_function(world.state_values()).variance - 1e-6
    for shift in torch.eye(3).double() * 0.05:
        assert best < world.score_function(world.optimal_baseline() + shift).variance
        assert best < world.score_function(world.optimal_baseline() - shift).variance


def test_with_two_actions_the_optimal_baseline_leaves_no_variance():
    world = seeded(17, states=4)
    assert world.score_function(world.optimal_baseline()).variance < 1e-25
    assert world.score_function(world.state_values()).variance > 1e-3


def test_wrong_input():
    for changes, match in (
        ({"P": [[1.0, 0.0]]}, "must be"),
        ({"r": [[1.0]]}, "r is"),
        ({"theta": [[1.0]]}, "theta is"),
        ({"alpha": [0.7, 0.7]}, "alpha is not a distribution"),
        ({"P": [[[0.9, 0.2], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]}, "P is not a distribution"),
        ({"gamma": 1.0}, "gamma"),
        ({"horizon": 0}, "horizon"),
        ({"r": [[math.nan, 0.0], [0.0, 2.0]]}, "NaN"),
    ):
        with pytest.raises(GradlabError, match=match):
            TabularMDP(**(LISTED | changes))
    world = TabularMDP(**LISTED)
    for refused in (world.action_gradient, world.hessians):
        with pytest.raises(GradlabError, match="discrete"):
            refused(world.observations(), world.observations())
    with pytest.raises(GradlabError, match="discrete"):
        Deterministic().draw(world.agent(), world.observations())
    with pytest.raises(GradlabError, match="steps"):
        world.trajectories(2, torch.Generator(), steps=0)
    with pytest.raises(GradlabError, match="geometric"):
        world.trajectories(2, torch.Generator(), steps=3, geometric=True)
    with pytest.raises(GradlabError, match="infinite"):
        TabularMDP(**LISTED, horizon=2).trajectories(2, torch.Generator(), geometric=True)
    with pytest.raises(GradlabError, match="outside"):
        TabularMDP(**LISTED, horizon=2).state_values(3)
