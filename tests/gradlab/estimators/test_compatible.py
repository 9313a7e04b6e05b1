"""Compatible critics: the theorems on samples, explicit regressions in parameter space, and the gap."""

import functools
import math

import pytest
import torch
from torch import nn

from gradlab import GradlabError
from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.estimators import Compatibility, Compatible, Deterministic, compatibility
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.products import jacobians_by_loop
from gradlab.references import CriticReference
from gradlab.tangent import parameter_gradient, tangent_kernel

N, P = 3, 2


class Critic(nn.Module):
    """Smooth and of no compatible form."""

    def forward(self, obs, act):
        return (
            (obs[..., :1] * act * torch.tensor([1.0, 3.0]).to(act)).sin().sum(-1)
            + act.prod(-1)
            - act.square().sum(-1)
            + obs.sum(-1)
        )


class Tilted(Critic):
    """With a slope that all states share, so that the mean gradient is well above its noise."""

    def forward(self, obs, act):
        return super().forward(obs, act) + 5 * act.sum(-1)


def states(count, seed=0):
    return torch.randn(count, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(policy=None, hidden=4, critic=None, entropy=0.0, dtype=torch.float64):
    size = P if policy is None else policy.head_size(P)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if hidden:
            actor = nn.Sequential(nn.Linear(N, hidden), nn.Tanh(), nn.Linear(hidden, size)).to(dtype)
        else:
            actor = nn.Linear(N, size).to(dtype)
    return Agent(actor, [critic or Critic()], [-1] * P, [1] * P, policy=policy, entropy=entropy)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(gradient):
    return torch.cat([part.flatten() for part in gradient.values()])


POLICIES = {"gauss": Gaussian(), "squashed": SquashedGaussian(), "softmax": Softmax()}


def sampled(agent, obs, actions, seed, alpha=0.0):
    """Actions as ``Compatible`` draws them: features ∇_θ log π [B, K, params] one by one, and values [B, K]."""
    noise = agent.policy.noise((actions, len(obs), P), generator(seed), obs)
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    features, values = [], []
    for i in range(len(obs)):
        for k in range(actions):
            head = agent.head(obs[i : i + 1]).detach().requires_grad_()
            act = agent.policy.sample(head, noise[k, i : i + 1])[0].detach()
            log_prob = agent.policy.log_prob(head, act)
            (score,) = torch.autograd.grad(log_prob.sum(), head)
            features.append(jacobian[i].T @ score[0])
            values.append(agent.q(obs[i : i + 1], act)[0] - alpha * log_prob[0].detach())
    return torch.stack(features).reshape(len(obs), actions, -1), torch.stack(values).reshape(len(obs), actions)


def centred(x):
    return x - x.mean(1, keepdim=True)


# Stochastic policies: Sutton et al. 2000, theorem 2 -----------------------------------------------------------


@pytest.mark.parametrize("hidden", [0, 4], ids=["fewer parameters", "more parameters"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_against_an_explicit_regression_in_parameter_space(policy, hidden):
    """Least squares with a free intercept in every state, on features as long as the parameters."""
    agent, obs, actions = make(policy, hidden, entropy=0.2), states(5), 4
    features, values = sampled(agent, obs, actions, 1, alpha=0.2)
    design = torch.cat([features, torch.eye(5).double()[:, None].expand(-1, actions, -1)], -1).flatten(0, 1)
    # Smallest norm in w alone: intercepts are free, so they are taken out first.
    x, y = centred(features).flatten(0, 1), centred(values).flatten()
    w = torch.linalg.pinv(x) @ y
    gradient = (x * (x @ w)[:, None]).sum(0) / (5 * (actions - 1))
    v = Compatible(actions).draw(agent, obs, 1, generator(1))[0]
    assert torch.allclose(flat(parameter_gradient(agent, obs, v)), gradient, rtol=1e-7, atol=1e-9)
    # The full regression, intercepts and all, leaves the same residual.
    full = values.flatten() - design @ (torch.linalg.pinv(design) @ values.flatten())
    assert torch.allclose(full, y - x @ w, atol=1e-8)
    (problem,) = Compatible(actions).regressions(agent, obs, 1, generator(1))
    assert torch.allclose(problem.predict(problem.fit()[0]).flatten(), x @ w, atol=1e-8)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_theorem_holds_on_the_sample_however_bad_the_fit(policy):
    """The fitted critic's gradient is the score function's with the leave-one-out baseline, in parameter space."""
    agent, obs, actions = make(policy, hidden=0), states(40), 6
    features, values = sampled(agent, obs, actions, 2)
    others = (values.sum(1, keepdim=True) - values) / (actions - 1)
    truth = (features * (values - others)[..., None]).mean((0, 1))
    (problem,) = Compatible(actions).regressions(agent, obs, 1, generator(2))
    fitted = problem.predict(problem.fit()[0])
    assert (problem.target - fitted).square().sum() > 0.05 * problem.target.square().sum()  # a bad fit
    v = Compatible(actions).draw(agent, obs, 1, generator(2))[0]
    assert torch.allclose(flat(parameter_gradient(agent, obs, v)), truth, rtol=1e-8, atol=1e-10)
    # State by state the two differ: the theorem is of the sum.
    apart = torch.einsum("bkm,bk->bm", problem.at_head, problem.target) / (actions - 1)
    assert not torch.allclose(v, apart, rtol=1e-2)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_it_is_unbiased_for_the_gradient(policy):
    agent, obs, n = make(policy, entropy=0.2), states(4), 3000
    reference = CriticReference().cotangent(agent, obs)
    error = gradient_error(agent, obs, Compatible(4).draw(agent, obs, n, generator(3)), reference)
    assert error.bias_squared.value <= 4 * error.bias_squared.stderr
    assert error.bias_squared.value < 0.02 * error.reference_norm_squared.value
    assert error.cosine.value > 0.95


def test_one_draw_of_another_seed_is_another():
    agent, obs = make(Gaussian()), states(4)
    draws = Compatible(4).draw(agent, obs, 3, generator(4))
    assert draws.shape == (3, 4, 2 * P)
    assert len(draws.flatten(1).unique(dim=0)) == 3
    assert torch.equal(draws, Compatible(4).draw(agent, obs, 3, generator(4)))


class StochasticCompatible(nn.Module):
    """Q(s, a) = w·∇_θ log π(a|s) + b(s) of a linear Gaussian actor of fixed weights."""

    def __init__(self, actor, w):
        super().__init__()
        self.actor, self.w = actor, w

    def forward(self, obs, act):
        mean, log_std = self.actor(obs).chunk(2, -1)
        z = (act - mean) / log_std.exp()
        score = torch.cat([z / log_std.exp(), z.square() - 1], -1)
        extended = torch.cat([obs, torch.ones_like(obs[..., :1])], -1)
        return torch.einsum("...m,mn,...n->...", score, self.w, extended) + obs.sin().sum(-1)


def test_a_compatible_critic_has_no_gap_and_gives_the_exact_gradient():
    agent = make(Gaussian(), hidden=0)
    w = torch.randn(2 * P, N + 1, generator=generator(5), dtype=torch.float64)
    with torch.no_grad():
        agent.actor.weight.mul_(0.3)
    agent.critics = (StochasticCompatible(agent.actor, w),)
    obs = states(24)
    found = compatibility(agent, obs, actions=8, generator=generator(6))
    assert abs(found.gap.value) < 1e-16
    assert abs(found.gap_of_fit.value) < 1e-16
    assert abs(found.gradient_error.value) < 1e-16
    assert found.rank == 2 * P * (N + 1)
    # E[∇log π ∇log πᵀ] w with the Fisher information of a Gaussian, diag(1/σ², 2).
    log_std = agent.head(obs).detach()[:, P:]
    fisher = torch.cat([(-2 * log_std).exp(), torch.full_like(log_std, 2.0)], -1)
    extended = torch.cat([obs, torch.ones(24, 1).double()], -1)
    exact = fisher * torch.einsum("mn,bn->bm", w, extended)
    assert torch.allclose(CriticReference().cotangent(agent, obs).mean, exact, rtol=1e-8)
    (problem,) = Compatible(8).regressions(agent, obs, 1, generator(6))
    # The fitted critic is the true one, so that its expectation over actions is exact: J_i w at the head, F times it.
    at_head = problem.span @ problem.fit()[0]
    assert torch.allclose(fisher * at_head, exact, rtol=1e-7, atol=1e-9)


# Deterministic policies: Silver et al. 2014, theorem 3 --------------------------------------------------------


@pytest.mark.parametrize("hidden", [0, 4], ids=["fewer parameters", "more parameters"])
def test_deterministic_against_an_explicit_regression(hidden):
    agent, obs = make(hidden=hidden), states(30 if hidden == 0 else 6)
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    truth = Deterministic().draw(agent, obs)[0]
    rows = jacobian.flatten(0, 1)
    w = torch.linalg.pinv(rows) @ truth.flatten()
    got = Compatible().draw(agent, obs, 2)
    assert torch.allclose(got[0].flatten(), rows @ w, rtol=1e-7, atol=1e-9)
    assert torch.equal(got[0], got[1])
    gradient = flat(parameter_gradient(agent, obs, got[0]))
    assert torch.allclose(gradient, flat(parameter_gradient(agent, obs, truth)), rtol=1e-8, atol=1e-10)
    if hidden == 0:  # eight parameters for sixty numbers: a bad fit, and the gradient is exact
        assert not torch.allclose(got[0], truth, rtol=0.1)


class Linear(nn.Module):
    """∇_a Q = W (s, 1) + curvature·(a − f(s)), which a linear actor can express where a = f(s)."""

    def __init__(self, actor, w):
        super().__init__()
        self.actor, self.w = actor, w

    def forward(self, obs, act):
        extended = torch.cat([obs, torch.ones_like(obs[..., :1])], -1)
        offset = act - self.actor(obs)
        return torch.einsum("...p,pn,...n->...", offset, self.w, extended) - offset.square().sum(-1)


def test_a_compatible_deterministic_critic_has_no_gap():
    agent = make(hidden=0)
    w = torch.randn(P, N + 1, generator=generator(7), dtype=torch.float64)
    agent.critics = (Linear(agent.actor, w),)
    obs = states(40)
    found = compatibility(agent, obs, generator=generator(8))
    for estimate in (found.gap, found.gap_of_fit, found.gradient_error):
        assert abs(estimate.value) < 1e-16
    exact = torch.cat([obs, torch.ones(40, 1).double()], -1) @ w.T
    assert torch.allclose(found.cotangent, exact, rtol=1e-9)
    truth = parameter_gradient(agent, obs, exact)
    assert all(torch.allclose(found.gradient[name], truth[name], rtol=1e-9) for name in truth)


def test_a_policy_through_its_mode_is_carried_to_the_head():
    class Doubled(type(make().policy)):
        def mode(self, head):
            return head.tanh()

    agent = make(hidden=0)
    agent.policy = Doubled()
    obs = states(30)
    got = flat(parameter_gradient(agent, obs, Compatible().draw(agent, obs)[0]))
    assert torch.allclose(got, flat(parameter_gradient(agent, obs, Deterministic().draw(agent, obs)[0])), rtol=1e-8)


# The gap -----------------------------------------------------------------------------------------------------


class Slope(nn.Module):
    """∇_a Q = s + b·(s² − 1)/√2: a compatible part s and another one, of mean square b² for normal states."""

    def __init__(self, b):
        super().__init__()
        self.b = b

    def forward(self, obs, act):
        s = obs[..., 0]
        return act[..., 0] * (s + self.b * (s.square() - 1) / math.sqrt(2))


def scalar(b):
    actor = nn.Linear(1, 1).double()
    nn.init.zeros_(actor.weight)
    nn.init.zeros_(actor.bias)
    return Agent(actor, [Slope(b)], -1, 1)


@pytest.mark.parametrize("b", [0.0, 0.5, 2.0])
def test_the_gap_of_a_known_critic(b):
    """States N(0, 1), where Hermite polynomials are orthonormal: the class expresses 1/(1 + b²) of the mean square."""
    truth = b**2 / (1 + b**2)
    obs = torch.randn(800, 1, generator=generator(9), dtype=torch.float64)
    agent = scalar(b)
    found = compatibility(agent, obs, folds=3, generator=generator(10))
    assert isinstance(found, Compatibility)
    assert abs(found.gap.value - truth) <= 4 * found.gap.stderr + 1e-12
    assert found.gap_of_fit.value <= found.gap.value + 1e-12
    assert found.residual.value == pytest.approx(b**2, rel=0.2, abs=1e-12)


@pytest.mark.parametrize(("law", "square", "least"), [("uniform", 2 / 5, 0.90), ("normal", 1.0, 0.88)])
def test_the_interval_of_the_gap_covers(law, square, least):
    """200 repetitions; normal states give squares of a kurtosis of hundreds, where no interval is as good.

    Two parameters for 200 states: over-fit moves the target by 1 %, intervals are some 30 % wide.
    """
    truth, agent, held = square / (1 + square), scalar(1.0), 0
    for seed in range(200):
        source = generator(41_000 + seed)
        obs = torch.randn(200, 1, generator=source, dtype=torch.float64)
        if law == "uniform":  # of variance one, so that s and s² − 1 are orthogonal again
            obs = math.sqrt(12) * (torch.special.ndtr(obs) - 0.5)
        low, high = compatibility(agent, obs, generator=source).gap.interval()
        held += low <= truth <= high
    assert least * 200 <= held <= 0.99 * 200, held


def test_what_is_fitted_lies_below_and_what_is_unseen_above():
    """On average over 200 sets of few states; either alone would mislead."""
    agent, truth, below, above = scalar(1.0), 0.5, [], []
    for seed in range(200):
        source = generator(30_000 + seed)
        found = compatibility(agent, torch.randn(12, 1, generator=source, dtype=torch.float64), generator=source)
        below.append(found.gap_of_fit.value)
        above.append(found.gap.value)
    below, above = torch.tensor(below), torch.tensor(above)
    assert below.mean() + 4 * below.std() / math.sqrt(200) < truth
    assert above.mean() - 4 * above.std() / math.sqrt(200) > truth


def test_more_parameters_than_numbers_fit_anything_which_is_said():
    agent, obs = make(hidden=32), states(16)
    found = compatibility(agent, obs, generator=generator(11))
    assert abs(found.gap_of_fit.value) < 1e-12
    assert found.gap.value > 1e-3
    (note,) = found.notes
    assert "only unseen states tell" in note
    assert compatibility(make(hidden=0), states(40), generator=generator(12)).notes == ()


@pytest.mark.parametrize("policy", [None, Gaussian()], ids=["det", "gauss"])
def test_the_gradient_error_against_explicit_pairs(policy):
    """U-statistics of parameter gradients formed state by state; the jackknife by leaving states out one by one."""
    agent, obs, folds = make(policy, hidden=0, critic=Tilted()), states(12), 3
    found = compatibility(agent, obs, actions=4, folds=folds, generator=generator(13))
    source = generator(13)
    (problem,) = Compatible(4).regressions(agent, obs, 1, source)
    order = torch.randperm(12, generator=source)
    fold = [0] * 12
    for position, state in enumerate(order.tolist()):
        fold[state] = position % folds
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    rows, wanted = problem.at_head @ jacobian, problem.target

    def predicted(seen, ridge, state):
        """Ridge regression in parameter space on the states of these folds, at one state."""
        x, y = (part[[i for i in range(12) if fold[i] in seen]].flatten(0, 1) for part in (rows, wanted[..., None]))
        if ridge == 0.0:
            w = torch.linalg.pinv(x) @ y
        else:
            penalty = ridge * torch.linalg.matrix_norm(x, 2) ** 2
            w = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]).double(), x.T @ y)
        return (rows[state] @ w)[:, 0] if math.isfinite(ridge) else torch.zeros_like(wanted[state])

    def served(ridge, part):
        """How badly it predicts each other fold from the ones that remain."""
        total = 0.0
        for inner in set(range(folds)) - {part}:
            seen = set(range(folds)) - {part, inner}
            for i in range(12):
                if fold[i] == inner:
                    total += float((predicted(seen, ridge, i) - wanted[i]).square().sum())
        return total

    ridges = [0.0, *(10.0**power for power in range(-12, 1)), math.inf]
    best = [min(ridges, key=lambda ridge, part=part: served(ridge, part)) for part in range(folds)]
    unseen = torch.stack([predicted(set(range(folds)) - {fold[i]}, best[fold[i]], i) for i in range(12)])
    weigh = [jacobian[i].T @ (problem.weight * problem.at_head[i].T) for i in range(12)]
    errors = [weigh[i] @ (unseen[i] - wanted[i]) for i in range(12)]
    truths = [weigh[i] @ wanted[i] for i in range(12)]

    def ratio(keep):
        pairs = [(i, j) for i in keep for j in keep if i != j]
        same = [(i, j) for i, j in pairs if fold[i] == fold[j]]
        above = sum(float(errors[i] @ errors[j]) for i, j in same) / len(same)
        return above / (sum(float(truths[i] @ truths[j]) for i, j in pairs) / len(pairs))

    everyone = list(range(12))
    assert found.gradient_error.value == pytest.approx(ratio(everyone), rel=1e-6)
    left_out = torch.tensor([ratio([i for i in everyone if i != out]) for out in everyone])
    stderr = math.sqrt(11 / 12 * float((left_out - left_out.mean()).square().sum()))
    assert found.gradient_error.stderr == pytest.approx(stderr, rel=1e-5)
    share = (wanted - unseen).square().sum() / wanted.square().sum()
    assert found.gap.value == pytest.approx(float(share), rel=1e-7)


def test_where_the_class_says_nothing_of_unseen_states_the_gap_is_near_one():
    """A fit by smallest norm to few states of a saturated actor is wild; a ridge falls back to no fit."""
    agent, obs = make(hidden=32, critic=Tilted()), states(16)
    with torch.no_grad():
        agent.actor[0].weight.mul_(20.0)
    source = torch.randn(16, P, generator=generator(17), dtype=torch.float64)

    class Unrelated(nn.Module):
        def forward(self, obs, act):
            return (act * source).sum(-1)

    agent.critics = (Unrelated(),)
    gap = compatibility(agent, obs, generator=generator(16)).gap
    assert 0.5 < gap.value < 1.5
    assert gap.interval()[0] < 1.0 < gap.interval()[1]


# Side effects and wrong input --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("policy", [None, SquashedGaussian()], ids=["det", "squashed"])
def test_no_side_effects_and_the_agents_dtype(policy, dtype):
    agent, obs = make(policy, dtype=dtype), states(8)
    before = torch.get_rng_state()
    with torch.no_grad():
        draws = Compatible(4).draw(agent, obs, 2, generator(14))
        found = compatibility(agent, obs, actions=4)
    assert draws.dtype == dtype
    assert not draws.requires_grad
    assert found.cotangent.dtype == dtype
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in agent.actor.parameters())


def test_single_precision_gives_the_same_theorem():
    agent, obs = make(dtype=torch.float32), states(20)
    got, truth = (flat(parameter_gradient(agent, obs, e.draw(agent, obs)[0])) for e in (Compatible(), Deterministic()))
    assert torch.allclose(got, truth, rtol=1e-3, atol=1e-4)


def test_objective():
    assert Compatible().objective(make(Gaussian(), entropy=0.2)).entropy == 0.2
    assert Compatible().objective(make(entropy=0.2)).entropy == 0.0


class Hole(nn.Module):
    def forward(self, obs, act):
        return torch.where(obs[..., 0] > 1e3, torch.nan, act.sum(-1))


def test_values_that_are_not_finite_are_located():
    obs = states(6)
    obs[4, 0] = 1e6
    with pytest.raises(GradlabError, match=r"at 16 of 96 actions, in state\(s\) \[4\]"):
        Compatible().draw(make(Gaussian(), critic=Hole()), obs)
    with pytest.raises(GradlabError, match="state 4"):
        Compatible().draw(make(critic=Hole()), obs)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Compatible(actions=1), "two or more"),
        (lambda: compatibility(make(), states(7), folds=4), "7 states in 4 folds"),
        (lambda: compatibility(make(), states(7), folds=2), "2 folds"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(GradlabError, match=message):
        build()


def test_a_kernel_that_does_not_fit_is_refused(monkeypatch):
    small = functools.partial(tangent_kernel, memory=10)
    monkeypatch.setattr("gradlab.estimators.compatible.tangent_kernel", small)
    with pytest.raises(GradlabError, match="8 states does not fit"):
        Compatible().draw(make(), states(8))


def test_a_gradient_lost_in_noise_is_unresolved_and_said_so():
    class Even(nn.Module):
        def forward(self, obs, act):
            return act.sum(-1) * torch.where(torch.arange(len(obs)) % 2 == 0, 1.0, -1.0).to(act)

    found = compatibility(make(critic=Even()), torch.ones(16, N), generator=generator(15))
    assert math.isnan(found.gradient_error.value)
    assert any("unresolved" in note for note in found.notes)


def test_it_is_printed_a_number_a_line_and_then_what_must_be_known():
    found = compatibility(make(hidden=32), states(16), generator=generator(11))
    lines = str(found).splitlines()
    numbers = (found.gap, found.gap_of_fit, found.residual, found.gradient_error, found.rank)
    names = ("gap", "gap of fit", "residual", "gradient error", "rank")
    assert [line.split("  ")[0] for line in lines[:5]] == list(names)
    assert [line[14:].strip() for line in lines[:5]] == [str(number) for number in numbers]
    assert tuple(lines[5:]) == found.notes != ()
