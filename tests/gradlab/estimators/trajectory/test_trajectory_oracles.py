"""Every trajectory estimator against explicit loops: one autograd call through an independent density for each step."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

from gradlab import trajectory_gradients
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.trajectory import GAE, GPOMDP, ActionValue, LeaveOneOut, OptimalBaseline, Reinforce, TDError
from gradlab.policies import Deterministic, Gaussian, Softmax, SquashedGaussian
from gradlab.trajectories import Trajectories

LENGTHS = (4, 1, 6, 4)
GAMMA, OBS, P = 0.9, 3, 2
POLICIES = {
    "gaussian": Gaussian(),
    "squashed": SquashedGaussian(0.0, torch.tensor([-1.0, 0.0]), torch.tensor([3.0, 2.0])),
    "softmax": Softmax(),
}


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(OBS + P, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def make(policy, *, entropy=0.0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Sequential(nn.Linear(OBS, 8), nn.Tanh(), nn.Linear(8, policy.head_size(P))).to(dtype)
        critic = Critic().to(dtype)
    return Agent(actor, [critic], [-1] * P, [1] * P, GAMMA, policy=policy, entropy=entropy)


def episodes(agent, lengths=LENGTHS, seed=1, *, with_noise=True):
    """Arbitrary states and rewards, actions of the policy; every other episode terminates, the rest are cut off."""
    generator = torch.Generator().manual_seed(seed)
    count, like = sum(lengths), torch.zeros(1, dtype=agent.dtype)
    obs, following = (torch.randn(count, OBS, generator=generator, dtype=agent.dtype) for _ in range(2))
    noise = agent.policy.noise((count, P), generator, like)
    with torch.no_grad():
        act = agent.policy.sample(agent.head(obs), noise)[0]
    terminated = torch.zeros(count, dtype=torch.bool)
    terminated[(torch.tensor(lengths).cumsum(0) - 1)[::2]] = True
    index = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    reward = torch.randn(count, generator=generator, dtype=agent.dtype)
    return Trajectories(obs, act, reward, following, terminated, index, GAMMA, noise if with_noise else None)


def connected(runs):
    """The same with every state the one that the step before it led to."""
    following = torch.where(runs.last[:, None], runs.next_obs, runs.obs.roll(-1, 0))
    return dataclasses.replace(runs, next_obs=following)


def value(obs):
    return 0.5 + obs.square().sum(-1)


def density(agent, obs):
    """The policy's distribution at one state, by torch.distributions."""
    head = agent.head(obs[None])[0]
    if isinstance(agent.policy, Softmax):
        return Categorical(logits=head)
    mean, log_std = head.chunk(2)
    normal = Normal(mean, log_std.exp())
    if isinstance(agent.policy, SquashedGaussian):
        low, high = agent.policy.low.to(head), agent.policy.high.to(head)
        parts = [TanhTransform(cache_size=1), AffineTransform((low + high) / 2, (high - low) / 2)]
        return Independent(TransformedDistribution(normal, parts, validate_args=False), 1)
    return Independent(normal, 1)


def log_prob(agent, obs, act):
    if isinstance(agent.policy, Softmax):
        return density(agent, obs).log_prob(act.argmax())
    return density(agent, obs).log_prob(act)


def rows_of(runs, episode):
    return [row for row in range(len(runs.reward)) if runs.trajectory[row] == episode]


def score_rows(agent, runs):
    """∇_θ log π(a_t|s_t) of every step, [N, P], and the log-probabilities."""
    parameters = list(agent.named_parameters().values())
    grads, logs = [], []
    for obs, act in zip(runs.obs, runs.act, strict=True):
        log = log_prob(agent, obs, act)
        grads.append(torch.cat([g.flatten() for g in torch.autograd.grad(log, parameters)]))
        logs.append(log.item())
    return torch.stack(grads), logs


def psi_of(name, agent, runs, logs, lam=0.0, bootstrap=False):
    """Ψ_t by loops, straight from its definition."""
    alpha, out = agent.entropy, [0.0] * len(logs)
    for episode in range(runs.count):
        rows = rows_of(runs, episode)
        reward = [runs.reward[row].item() - alpha * logs[row] for row in rows]
        if bootstrap and not runs.terminated[rows[-1]]:
            reward[-1] += GAMMA * value(runs.next_obs[rows[-1]][None]).item()
        for t, row in enumerate(rows):
            if name == "reinforce":
                out[row] = sum(GAMMA**k * r for k, r in enumerate(reward))
            elif name == "gpomdp":
                out[row] = sum(GAMMA**k * r for k, r in enumerate(reward[t:]))
            elif name == "action-value":
                out[row] = agent.q(runs.obs[row][None], runs.act[row][None]).item() - alpha * logs[row]
            else:
                for k, later in enumerate(rows[t:]):
                    following = 0.0 if runs.terminated[later] else value(runs.next_obs[later][None]).item()
                    delta = reward[t + k] + GAMMA * following - value(runs.obs[later][None]).item()
                    out[row] += (GAMMA * lam) ** k * delta
    return torch.tensor(out, dtype=torch.float64)


CASES = {
    "reinforce": (Reinforce(), {}),
    "reinforce-bootstrapped": (Reinforce(bootstrap=value), {"bootstrap": True}),
    "gpomdp": (GPOMDP(), {}),
    "gpomdp-bootstrapped": (GPOMDP(bootstrap=value), {"bootstrap": True}),
    "action-value": (ActionValue(), {}),
    "td-error": (TDError(value), {}),
    "gae": (GAE(0.7, value), {"lam": 0.7}),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("entropy", [0.0, 0.3])
@pytest.mark.parametrize(
    # The whole return is discounted from the start, whatever the step.
    ("case", "discounted"),
    [(case, weighted) for case in CASES for weighted in (True, False) if weighted or "reinforce" not in case],
)
def test_every_psi(policy, entropy, case, discounted):
    estimator, options = CASES[case]
    name = case.removesuffix("-bootstrapped")
    if not discounted:
        kind = type(estimator)
        given = {"value": value} if kind in (TDError, GAE) else {}
        given |= {"lam": 0.7} if kind is GAE else {}
        given |= {"bootstrap": value} if options.get("bootstrap") else {}
        estimator = kind(**given, discounted_states=False)
    agent = make(policy, entropy=entropy)
    runs = episodes(agent)
    grads, logs = score_rows(agent, runs)
    psi = psi_of(name, agent, runs, logs, **options)
    plain = name == "reinforce" or not discounted
    weight = torch.tensor([1.0 if plain else GAMMA**t for t in runs.step.tolist()], dtype=torch.float64)
    truth = runs.total((weight * psi)[:, None] * grads)
    state = torch.get_rng_state()
    with torch.no_grad():
        v = estimator.cotangents(agent, runs)
    torch.testing.assert_close(trajectory_gradients(agent, runs, v), truth, rtol=1e-9, atol=1e-10)
    assert v.dtype == agent.dtype
    assert not v.requires_grad
    assert all(p.grad is None for p in agent.actor.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_single_precision_agrees(policy, entropy):
    double, single = (make(policy, entropy=entropy, dtype=dtype) for dtype in (torch.float64, torch.float32))
    runs = episodes(double)
    with torch.no_grad():
        act = policy.sample(single.head(runs.obs.float()), runs.noise.float())[0]
    for estimator in (Reinforce(), GPOMDP("optimal"), GAE(0.9, value), ActionValue(1.0)):
        a = estimator.cotangents(double, runs)
        b = estimator.cotangents(single, dataclasses.replace(runs, act=act))
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_noise_is_not_needed_but_gives_the_same(policy):
    agent = make(policy)
    with_noise, without = (GPOMDP().cotangents(agent, episodes(agent, with_noise=w)) for w in (True, False))
    torch.testing.assert_close(with_noise, without, rtol=1e-8, atol=1e-8)


def test_near_the_face_of_the_box_the_noise_keeps_the_score():
    """At eight standard deviations tanh has rounded to one; ε/σ is still the score of the mean."""
    policy = SquashedGaussian()
    agent = make(policy)
    agent.actor[2].weight.data.zero_()
    agent.actor[2].bias.data.copy_(torch.tensor([0.0, 0.0, math.log(3.0), math.log(3.0)]))
    runs = episodes(agent, (2,))
    noise = torch.full((2, P), 8.0).double()
    act = policy.sample(agent.head(runs.obs), noise)[0].detach()
    assert (act == 1).all()
    known = Trajectories(runs.obs, act, runs.reward, runs.next_obs, runs.terminated, runs.trajectory, GAMMA, noise)
    ratio = GPOMDP().cotangents(agent, known)[:, 0] / (known.weights * known.rewards_to_go())
    torch.testing.assert_close(ratio, torch.full((2,), 8.0 / 3.0).double())


def test_gae_between_its_ends():
    """λ = 1 is the reward-to-go less the baseline V, bootstrapped where an episode was cut off; λ = 0 the TD error."""
    agent = make(Gaussian())
    runs = connected(episodes(agent))
    full = GPOMDP(value, bootstrap=value).cotangents(agent, runs)
    torch.testing.assert_close(GAE(1.0, value).cotangents(agent, runs), full, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(GAE(0.0, value).cotangents(agent, runs), TDError(value).cotangents(agent, runs))


# Baselines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", [2.5, value, lambda obs: value(obs)[:, None]])
@pytest.mark.parametrize("estimator", [Reinforce, GPOMDP, ActionValue])
def test_numbers_and_values_are_subtracted(baseline, estimator):
    agent = make(Gaussian())
    runs = episodes(agent)
    none, ones = (estimator(b).cotangents(agent, runs) for b in ("none", lambda obs: torch.ones(len(obs)).double()))
    b = torch.as_tensor(baseline(runs.obs) if callable(baseline) else baseline).reshape(-1, 1)
    torch.testing.assert_close(estimator(baseline).cotangents(agent, runs), none - b * (none - ones))


@pytest.mark.parametrize("group", [None, 2])
def test_leave_one_out_by_a_loop(group):
    agent = make(Gaussian())
    runs = episodes(agent, (4, 1, 6, 4))
    _, logs = score_rows(agent, runs)
    psi = psi_of("gpomdp", agent, runs, logs)
    size = group or 4
    expected = torch.zeros_like(psi)
    for row in range(len(psi)):
        mine, t = int(runs.trajectory[row]), int(runs.step[row])
        mates = [e for e in range(runs.count) if e // size == mine // size and e != mine]
        there = [psi[rows_of(runs, e)[t]].item() for e in mates if len(rows_of(runs, e)) > t]
        expected[row] = sum(there) / len(there) if there else 0.0
    none, ones = (GPOMDP(b).cotangents(agent, runs) for b in ("none", 1.0))
    found = GPOMDP(LeaveOneOut(group)).cotangents(agent, runs)
    torch.testing.assert_close(found, none - expected[:, None] * (none - ones))


def parameter_scores(agent, runs, estimator, coordinate=None):
    """Σ_t w_t J_tᵀ∇log π of each episode in parameter space, of one head coordinate or of all."""
    none, ones = (estimator(b).cotangents(agent, runs) for b in ("none", 1.0))
    scores = none - ones
    if coordinate is not None:
        scores = scores * torch.eye(scores.shape[1])[coordinate]
    return trajectory_gradients(agent, runs, scores), trajectory_gradients(agent, runs, none)


@pytest.mark.parametrize("pilot", [False, True])
@pytest.mark.parametrize("estimator", [Reinforce, GPOMDP])
def test_the_optimal_scalar_by_a_loop(estimator, pilot):
    agent = make(Gaussian())
    runs, other = episodes(agent), episodes(agent, (2, 3, 2), seed=5)
    found = estimator(OptimalBaseline(other if pilot else None)).cotangents(agent, runs)
    none, ones = (estimator(b).cotangents(agent, runs) for b in ("none", 1.0))
    for episode in range(runs.count):
        S, G = parameter_scores(agent, other if pilot else runs, estimator)
        keep = [e for e in range(len(S)) if pilot or e != episode]
        b = sum(float(G[e] @ S[e]) for e in keep) / sum(float(S[e] @ S[e]) for e in keep)
        rows = rows_of(runs, episode)
        torch.testing.assert_close(found[rows], none[rows] - b * (none[rows] - ones[rows]))


def test_the_optimal_scalar_of_reinforce_is_the_weighted_mean_return():
    agent = make(Gaussian())
    runs, pilot = episodes(agent), episodes(agent, (2, 3, 2), seed=5)
    S, _ = parameter_scores(agent, pilot, Reinforce)
    squares = S.square().sum(1)
    b = float((squares * pilot.returns()).sum() / squares.sum())
    v = Reinforce(OptimalBaseline(pilot)).cotangents(agent, runs)
    torch.testing.assert_close(v, Reinforce(b).cotangents(agent, runs))
    assert abs(b - float(pilot.returns().mean())) > 1e-3


def test_the_optimal_components_have_the_least_variance_of_the_pilot():
    """Zero derivative of the pilot's Σ‖G − Σ_k b_k S_k‖² at b, by autograd; and least among neighbours."""
    agent = make(Gaussian())
    runs, pilot = episodes(agent), episodes(agent, (2, 3, 2, 5), seed=5)
    parts = [parameter_scores(agent, pilot, GPOMDP, k) for k in range(2 * P)]
    S, G = torch.stack([s for s, _ in parts]), parts[0][1]
    v, none, ones = (
        GPOMDP(b).cotangents(agent, runs) for b in (OptimalBaseline(pilot, per_component=True), "none", 1.0)
    )
    b = ((none - v) / (none - ones))[0]
    torch.testing.assert_close(v, none - b * (none - ones))
    b.requires_grad_()
    loss = (G - torch.einsum("k,krp->rp", b, S)).square().sum()
    (slope,) = torch.autograd.grad(loss, b)
    assert slope.abs().max() < 1e-9 * loss
    scalar = float((G * S.sum(0)).sum() / S.sum(0).square().sum())
    assert loss < (G - scalar * S.sum(0)).square().sum()


def test_components_are_the_known_formula_where_each_parameter_has_one_coordinate():
    """A linear head: E[‖g_k‖² R]/E[‖g_k‖²]."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Linear(OBS, 2 * P).double()
    agent = Agent(actor, [], [-1] * P, [1] * P, GAMMA, policy=Gaussian())
    runs, pilot = episodes(agent), episodes(agent, (2, 3, 2, 5), seed=5)
    v = Reinforce(OptimalBaseline(pilot, per_component=True)).cotangents(agent, runs)
    none, ones = (Reinforce(b).cotangents(agent, runs) for b in ("none", 1.0))
    for k in range(2 * P):
        squares = parameter_scores(agent, pilot, Reinforce, k)[0].square().sum(1)
        b = (squares * pilot.returns()).sum() / squares.sum()
        torch.testing.assert_close(((none - v) / (none - ones))[:, k], b.expand(len(v)))


# What is refused, and names ------------------------------------------------------------------------------------


def test_names_and_groups():
    found = [
        Reinforce(),
        Reinforce(2.0),
        GPOMDP(value),
        GPOMDP(LeaveOneOut(4)),
        Reinforce("optimal"),
        GPOMDP("optimal-per-component", discounted_states=False),
        ActionValue(entropy=False),
        TDError(value),
        GAE(0.95, value, baseline=1.0),
    ]
    assert [str(e) for e in found] == [
        "reinforce",
        "reinforce-constant-baseline",
        "gpomdp-value-baseline",
        "gpomdp-leave-one-out",
        "reinforce-optimal-baseline",
        "gpomdp-optimal-baseline-per-component-undiscounted-states",
        "action-value-without-entropy",
        "td-error",
        "gae-0.95-constant-baseline",
    ]
    assert [e.group for e in found] == [1, 1, 1, 4, None, None, 1, 1, 1]


def test_without_entropy_another_objective_is_stated_and_estimated():
    agent, plain = make(Gaussian(), entropy=0.3), make(Gaussian())
    runs = episodes(agent)
    torch.testing.assert_close(GPOMDP(entropy=False).cotangents(agent, runs), GPOMDP().cotangents(plain, runs))
    assert GPOMDP(entropy=False).objective(agent).entropy == 0
    assert GPOMDP().objective(agent).entropy == 0.3


def nan_value(obs):
    return torch.where(obs[:, 0] > 0, torch.nan, 0.0)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda a, r: Reinforce("mean"), "baseline: 'mean' is none of"),
        (lambda a, r: Reinforce(math.nan), "baseline: nan is not finite"),
        (lambda a, r: LeaveOneOut(1), "groups of 1"),
        (lambda a, r: GAE(1.5, value), "lam is 1.5"),
        (lambda a, r: GPOMDP(LeaveOneOut(3)).cotangents(a, r), "4 episodes do not make groups of 3"),
        (lambda a, r: GPOMDP("leave-one-out").cotangents(a, r.select(torch.tensor([0]))), "groups of 2"),
        (lambda a, r: GPOMDP("optimal").cotangents(a, r.select(torch.tensor([0]))), "one episode leaves none out"),
        (lambda a, r: GPOMDP(nan_value).cotangents(a, r), "NaN or infinite"),
        (lambda a, r: TDError(nan_value).cotangents(a, r), "value: NaN or infinite at .* of 15 steps, first at row"),
        (lambda a, r: TDError(lambda obs: obs).cotangents(a, r), r"shape \(15, 3\) for 15 states"),
        (lambda a, r: GPOMDP().cotangents(make(Deterministic()), r), "deterministic"),
        (lambda a, r: GPOMDP().cotangents(make(SquashedGaussian()), r), "recorded noise gives actions"),
    ],
)
def test_wrong_input_is_refused_in_one_line(make_it, message):
    agent = make(Gaussian())
    with pytest.raises(GradlabError, match=message) as caught:
        make_it(agent, episodes(agent))
    assert "\n" not in str(caught.value)


def test_another_discount_is_refused():
    agent = make(Gaussian())
    agent.discount = 0.5
    with pytest.raises(GradlabError, match=r"γ=0.9, the agent's objective with γ=0.5"):
        GPOMDP().cotangents(agent, episodes(agent))
