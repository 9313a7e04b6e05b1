"""The ledger of a rollout against loops over steps, and against a world where every expectation is known."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import gradlab
from gradlab import GradlabError, OnPolicyLoss, Rollout, rollout_ledger
from gradlab.policies import Gaussian
from gradlab.references import CriticReference
from gradlab.references.gradient_samples import PolicyGradient
from gradlab.rollout_advantages import generalized_advantages, normalisation, parity
from gradlab.statistics.policy_update import surrogate_gradient
from gradlab.worlds import TabularMDP
from gradlab.worlds.tabular_moments import advantage_gradient

P = [[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]
LENGTH, LAMBDA = 6, 0.6
WRONG = torch.tensor([1.5, -2.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def world():
    return TabularMDP(P, [[1.0, 0.0], [0.0, 2.0]], 0.7, [0.8, 0.2], theta=[[0.3, -0.2], [0.1, 0.4]])


def sampled(world, count, seed, v, *, lam=LAMBDA, normalise=False, length=LENGTH, **loss):
    """A rollout of the world's policy with V the table ``v``, every trajectory cut off after ``length`` steps."""
    runs = world.trajectories(count, torch.Generator().manual_seed(seed), length)
    value, after = runs.obs @ v, runs.next_obs[runs.last] @ v
    loss = OnPolicyLoss(discount=world.gamma, gae_lambda=lam, **loss)
    rollout = Rollout(
        runs.obs,
        runs.act,
        value,
        value,
        value,
        runs.trajectory,
        reward=runs.reward,
        bootstrap=world.gamma * after,
        age=runs.step,
        loss=loss,
    )
    raw = generalized_advantages(rollout)
    used = (raw - raw.mean()) / raw.std() if normalise else raw
    tail = world.gamma * world.state_value(runs.next_obs[runs.last])
    return replace(rollout, advantage=used, raw_advantage=raw, target=raw + value), tail


# Step by step -----------------------------------------------------------------------------------------------------


class Actor(nn.Module):
    """Mean and log σ from a trunk that V shares."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
        self.mean = nn.Linear(5, 2)
        self.log_std = nn.Parameter(torch.tensor([-0.3, 0.2]))

    def forward(self, obs):
        mean = self.mean(self.trunk(obs))
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)


def general(normalise=True, loss=None, seed=0):
    """An agent with a shared trunk and a rollout of random numbers: ends, cuts and an episode from before."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    lengths = torch.tensor([3, 5, 1, 4, 6, 2])
    steps = int(lengths.sum())
    actor = Actor().double()
    value = nn.Sequential(actor.trunk, nn.Linear(5, 1).double())
    agent = gradlab.Agent(actor, [], [-1, -1], [1, 1], 0.9, policy=Gaussian(), value=value)

    def some(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    obs = some(steps, 3)
    trajectory = torch.arange(6).repeat_interleave(lengths)
    age = torch.cat([torch.arange(int(n)) for n in lengths])
    age[trajectory == 0] = -1
    rollout = Rollout(
        obs,
        some(steps, 2),
        some(steps),
        some(steps),
        agent.v(obs).detach(),
        trajectory,
        reward=some(steps),
        bootstrap=torch.tensor([0.0, 0.7, 0.0, -0.4, 0.0, 1.3], dtype=torch.float64),
        age=age,
        loss=loss or OnPolicyLoss(discount=0.9, gae_lambda=0.8, clip=0.2, entropy=0.05, value=0.5),
    )
    raw = generalized_advantages(rollout)
    used = (raw - raw.mean()) / raw.std() if normalise else raw
    return agent, replace(rollout, raw_advantage=raw, advantage=used, target=raw + rollout.value)


def by_steps(rollout, lam, bootstrap):
    """GAE by its definition, a double loop."""
    out = []
    discount = rollout.loss.discount
    for t in range(len(rollout)):
        total, factor = 0.0, 1.0
        for k in range(t, len(rollout)):
            if rollout.trajectory[k] != rollout.trajectory[t]:
                break
            last = k + 1 == len(rollout) or rollout.trajectory[k + 1] != rollout.trajectory[k]
            following = bootstrap[rollout.trajectory[k]] if last else discount * rollout.value[k + 1]
            total += factor * float(rollout.reward[k] + following - rollout.value[k])
            factor *= discount * lam
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


def oracle(agent, rollout, true_bootstrap):
    """Every waypoint, one backward pass a step, in the reward's units."""
    double = agent.snapshot(double=True)
    parameters = list(double.named_parameters().values())

    def gradient(scalar):
        found = torch.autograd.grad(scalar, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in found])

    scores, entropies, pulls = [], [], []
    for t in range(len(rollout)):
        at, act = rollout.obs[t : t + 1], rollout.act[t]
        mean, log_std = double.head(at)[0].chunk(2)
        normal = torch.distributions.Normal(mean, log_std.exp())
        scores.append(gradient(normal.log_prob(act).sum()))
        entropies.append(gradient(normal.entropy().sum()))
        pulls.append(-gradient((rollout.target[t] - double.v(at)[0]) ** 2))
    scores, entropies, pulls = (torch.stack(part) for part in (scores, entropies, pulls))
    raw = by_steps(rollout, rollout.loss.gae_lambda, rollout.bootstrap)
    shift, scale = float(raw.mean()), float(raw.std())
    n = len(rollout)
    policy = (raw - shift) @ scores / n
    value = policy + scale * rollout.loss.value * pulls.mean(0)
    full = by_steps(rollout, 1.0, rollout.bootstrap)
    true = by_steps(rollout, 1.0, true_bootstrap)
    weights = torch.tensor([0.9 ** int(a) if a >= 0 else 0.0 for a in rollout.age], dtype=torch.float64)
    points = [
        value + scale * rollout.loss.entropy * entropies.mean(0),
        value,
        policy,
        raw @ scores / n,
        full @ scores / n,
        true @ scores / n,
        (weights * true) @ scores / weights.sum(),
    ]
    names = ("entropy bonus", "value loss", "advantage shift", "GAE bias", "bootstrap", "state distribution")
    terms = {name: one - two for name, one, two in zip(names, points[:-1], points[1:], strict=True)}
    return points, terms, (shift, scale)


def flat(vector):
    return torch.cat([part.flatten() for part in vector.values()])


def test_every_term_is_that_of_loops_over_steps():
    agent, rollout = general()
    true_bootstrap = torch.tensor([0.0, 0.2, 0.0, 0.1, 0.0, -0.3], dtype=torch.float64)
    truth = torch.linspace(-1, 1, sum(p.numel() for p in agent.named_parameters().values()), dtype=torch.float64)
    points, terms, (shift, scale) = oracle(agent, rollout, true_bootstrap)
    ledger = rollout_ledger(agent, rollout, true_bootstrap=true_bootstrap, truth=truth)
    assert (ledger.shift, ledger.scale) == pytest.approx((shift, scale), rel=1e-10)
    torch.testing.assert_close(flat(ledger.applied), points[0], rtol=1e-9, atol=1e-12)
    for name, expected in terms.items():
        torch.testing.assert_close(flat(ledger[name].vector), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(flat(ledger["remaining"].vector), points[-1] - truth, rtol=1e-9, atol=1e-10)
    assert ledger["sampling noise"].missing
    assert ledger.residual < 1e-10
    assert sum(term.share.value for term in ledger.terms if term.share) == pytest.approx(1.0, rel=1e-6)
    assert any("1 of 6 trajectories began before" in note for note in ledger.notes)


@pytest.mark.parametrize("wrong", ["lambda", "sign", "discount"])
def test_a_wrong_rollout_is_noticed_by_the_oracle_and_by_the_parity(wrong):
    agent, rollout = general()
    if wrong == "sign":
        bad = replace(rollout, reward=-rollout.reward)
    elif wrong == "lambda":
        bad = replace(rollout, loss=replace(rollout.loss, gae_lambda=0.9))
    else:
        bad = replace(rollout, loss=replace(rollout.loss, discount=0.95))
    assert parity(rollout) < 1e-12
    assert parity(bad) > 1e-2
    _, terms, _ = oracle(agent, rollout, rollout.bootstrap)
    ledger = rollout_ledger(agent, bad)
    assert any("are off by" in note for note in ledger.notes)
    assert ledger.residual < 1e-10
    if wrong == "sign":
        gap = flat(ledger["GAE bias"].vector) - terms["GAE bias"]
        assert float(gap.norm()) > 0.1 * float(terms["GAE bias"].norm())


@pytest.mark.parametrize("value_clip", [None, 0.05], ids=["no-value-clip", "value-clip"])
@pytest.mark.parametrize("moved", [0.0, 0.1], ids=["first-step", "later-step"])
def test_one_step_through_a_shared_trunk_is_the_loss_by_autograd(moved, value_clip):
    loss = OnPolicyLoss(0.9, 0.8, clip=0.1, entropy=0.05, value=0.5, value_clip=value_clip)
    agent, rollout = general(loss=loss)
    rollout = replace(rollout, log_prob=agent.policy.log_prob(agent.head(rollout.obs), rollout.act).detach())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in agent.actor.parameters():
            p += moved * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    mean, log_std = agent.head(rollout.obs).chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    ratio = (normal.log_prob(rollout.act).sum(-1) - rollout.log_prob).exp()
    assert bool(((ratio - 1).abs() > 0.1).any()) == (moved > 0)
    policy = torch.min(rollout.advantage * ratio, rollout.advantage * ratio.clamp(0.9, 1.1)).mean()
    v = agent.v(rollout.obs)
    if value_clip:
        v = rollout.value + (v - rollout.value).clamp(-value_clip, value_clip)
    objective = policy + 0.05 * normal.entropy().sum(-1).mean() - 0.5 * (rollout.target - v).square().mean()
    theirs = torch.autograd.grad(objective, list(agent.named_parameters().values()))
    ours = surrogate_gradient(agent, rollout)
    for one, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    if not moved:
        # The ledger begins with the same step.
        ledger = rollout_ledger(agent, rollout)
        torch.testing.assert_close(flat(ledger.applied) / ledger.scale, flat(ours), rtol=1e-9, atol=1e-12)
        assert ledger["value loss"].norm_squared is not None


def test_advantages_before_normalisation_are_made_where_they_are_not_given():
    agent, rollout = general()
    given, made = (rollout_ledger(agent, r) for r in (rollout, replace(rollout, raw_advantage=None)))
    assert made.scale == pytest.approx(given.scale, rel=1e-9)
    for name in ("advantage shift", "GAE bias", "entropy bonus"):
        torch.testing.assert_close(flat(made[name].vector), flat(given[name].vector), rtol=1e-8, atol=1e-10)
    # Those that do not fit are not taken.
    wrong = replace(rollout, raw_advantage=None, loss=replace(rollout.loss, gae_lambda=0.1))
    ledger = rollout_ledger(agent, wrong)
    assert ledger["advantage shift"].missing
    assert any("are off by" in note for note in ledger.notes)


def test_terms_add_up_without_normalisation_and_zero_terms_say_why():
    loss = OnPolicyLoss(discount=0.9, gae_lambda=1.0)
    agent, rollout = general(normalise=False, loss=loss)
    ledger = rollout_ledger(agent, rollout)
    assert ledger.residual < 1e-10
    zero = {term.name: term.note for term in ledger.terms if not term.missing and not flat(term.vector).any()}
    assert set(zero) == {"entropy bonus", "value loss", "advantage shift", "GAE bias"}
    assert zero["GAE bias"] == "none: λ is 1"
    assert ledger["bootstrap"].missing
    assert ledger["bootstrap"].note.endswith("pass true_bootstrap=; it is in no term")
    truth = torch.zeros_like(flat(ledger.applied))
    assert rollout_ledger(agent, rollout, truth=truth)["bootstrap"].note.endswith("it is part of remaining")
    assert ledger.scale == 1


def test_what_the_rollout_does_not_hold_is_said():
    agent, rollout = general()
    bare = replace(rollout, reward=None, bootstrap=None, age=None, loss=None)
    ledger = rollout_ledger(agent, bare)
    assert [term.name for term in ledger.terms if not term.missing] == ["advantage shift"]
    unknown = rollout_ledger(agent, replace(bare, raw_advantage=None))
    assert unknown["advantage shift"].missing
    assert unknown.scale == 1
    assert ledger["GAE bias"].note == "the rollout does not hold its reward, bootstrap, loss; it is in no term"
    assert ledger["entropy bonus"].missing
    with pytest.raises(GradlabError, match="reward, bootstrap, loss"):
        generalized_advantages(bare)
    with pytest.raises(GradlabError, match="at least three"):
        rollout_ledger(agent, rollout.first(4))
    with pytest.raises(GradlabError, match=r"true_bootstrap: shape \(2,\); expected \[6\]"):
        rollout_ledger(agent, rollout, true_bootstrap=torch.zeros(2))
    with pytest.raises(GradlabError, match="expected 34 finite numbers"):
        rollout_ledger(agent, rollout, truth=torch.zeros(3))
    with pytest.raises(GradlabError, match=r"bootstrap has shape \(3,\); expected \[6\]"):
        replace(rollout, bootstrap=torch.zeros(3))


@pytest.mark.parametrize(
    ("ages", "bootstrap", "measured"),
    [
        ([0, 0, 0, 0], 0.0, True),
        ([0, 0, 0, 0], 0.5, False),
        ([0, 20, 40, 60], 0.5, True),
        ([20, 20, 20, 20], 0.0, False),
        ([0, 0, -1, -1], 0.0, True),
        ([0, -1, -1, -1], 0.0, False),
    ],
    ids=["whole", "cut-off", "out-of-step", "in-step", "some-unknown", "one-known"],
)
def test_states_are_weighed_only_where_the_rollout_has_steps_of_all_ages(ages, bootstrap, measured):
    """Twenty steps each of four episodes that are at these steps when the rollout begins; γ²⁰ = 0.36."""
    agent, _ = general()
    generator = torch.Generator().manual_seed(0)
    step = torch.arange(20)
    age = torch.cat([torch.full((20,), -1) if first < 0 else first + step for first in ages])
    number, reward = torch.arange(4).repeat_interleave(20), torch.randn(80, generator=generator, dtype=torch.float64)
    obs, act = (torch.randn(80, n, generator=generator, dtype=torch.float64) for n in (3, 2))
    rollout = Rollout(
        obs,
        act,
        reward,
        reward,
        0 * reward,
        number,
        reward=reward,
        bootstrap=torch.full((4,), bootstrap, dtype=torch.float64),
        age=age,
        loss=OnPolicyLoss(discount=0.95, gae_lambda=0.0),
    )
    ledger = rollout_ledger(agent, rollout)
    assert ledger["state distribution"].missing != measured
    assert ledger.residual < 1e-10


def test_advantages_that_are_no_normalised_ones_are_refused():
    _, rollout = general()
    with pytest.raises(GradlabError, match="advantage is not"):
        normalisation(replace(rollout, advantage=rollout.raw_advantage**2))


def test_the_agent_is_left_as_it_is():
    agent, rollout = general()
    before = {name: p.clone() for name, p in agent.actor.state_dict().items()}
    rollout_ledger(agent, rollout)
    assert all(p.grad is None for p in agent.actor.parameters())
    assert all(torch.equal(before[name], p) for name, p in agent.actor.state_dict().items())


# Against known expectations ---------------------------------------------------------------------------------------


def expected(world, v, lam, weight=1.0, length=LENGTH):
    """E of a mean over the steps of trajectories of one length, weighed by weightᵗ, with V and its bootstrap."""
    process = world.process(length)
    g = advantage_gradient(process, v, v, lam * world.gamma, weight, bootstrap=True).mean
    return world.flat(g) / sum(weight**t for t in range(length))


def terms_of(world, v):
    """The expectation of each term for this V; of the shift to first order in 1/R it is zero."""
    exact = world.state_values()
    return {
        "GAE bias": expected(world, v, LAMBDA) - expected(world, v, 1.0),
        "bootstrap": expected(world, v, 1.0) - expected(world, exact, 1.0),
        "state distribution": expected(world, exact, 1.0) - expected(world, exact, 1.0, world.gamma),
    }


def test_terms_are_unbiased_for_a_wrong_value_function(world):
    rollout, tail = sampled(world, 40_000, 1, WRONG)
    ledger = rollout_ledger(world.agent(), rollout, true_bootstrap=tail)
    for name, truth in terms_of(world, WRONG).items():
        low, high = ledger[name].norm_squared.interval()
        assert low <= float(truth @ truth) <= high, name
        gap = flat(ledger[name].vector) - truth
        assert float(gap.norm()) < 0.05 * float(truth.norm()), name
        assert ledger[name].norm_squared.resolved, name


def test_with_the_true_value_function_gae_has_no_bias(world):
    rollout, tail = sampled(world, 40_000, 2, world.state_values())
    ledger = rollout_ledger(world.agent(), rollout, true_bootstrap=tail)
    assert not ledger["GAE bias"].norm_squared.resolved
    assert float(flat(ledger["bootstrap"].vector).norm()) < 1e-12
    wrong = terms_of(world, WRONG)["GAE bias"]
    assert ledger["GAE bias"].norm_squared.value < 1e-3 * float(wrong @ wrong)


def test_nothing_remains_of_long_trajectories_with_true_tails(world):
    rollout, tail = sampled(world, 4000, 3, WRONG, length=40, normalise=True)
    truth = world.flat(world.true_gradient()) * (1 - world.gamma)
    ledger = rollout_ledger(world.agent(), rollout, true_bootstrap=tail, truth=truth)
    assert not ledger["remaining"].norm_squared.resolved
    assert ledger["GAE bias"].norm_squared.resolved
    assert ledger.truth_norm_squared.value == pytest.approx(float(truth @ truth))
    # A wrong sign of the truth does not pass.
    wrong = rollout_ledger(world.agent(), rollout, true_bootstrap=tail, truth=-truth)
    assert wrong["remaining"].norm_squared.resolved
    assert wrong.cosine.value < 0 < ledger.cosine.value


def test_a_second_rollout_shows_the_sampling_noise(world):
    one, _ = sampled(world, 30, 4, WRONG)
    many, _ = sampled(world, 20_000, 5, WRONG)
    ledger = rollout_ledger(world.agent(), one, again=many)
    own = rollout_ledger(world.agent(), one)
    truth = expected(world, WRONG, LAMBDA)
    noise = flat(ledger["sampling noise"].vector)
    torch.testing.assert_close(noise, flat(own.applied) - truth, atol=0.03 * float(noise.norm()), rtol=0)
    assert ledger.residual < 1e-10
    assert torch.equal(flat(ledger.applied), flat(own.applied))


def test_a_sampled_reference_brings_its_own_noise(world):
    rollout, tail = sampled(world, 300, 6, WRONG, length=40)
    truth = world.flat(world.true_gradient()) * (1 - world.gamma)
    noise = torch.randn(50, len(truth), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sampled_truth = PolicyGradient(truth + 0.2 * noise, "simulator", world.agent().objective, per_weight=True)
    ledger = rollout_ledger(world.agent(), rollout, true_bootstrap=tail, truth=sampled_truth)
    exact = rollout_ledger(world.agent(), rollout, true_bootstrap=tail, truth=truth)
    assert ledger.truth_name == "simulator"
    assert ledger["remaining"].norm_squared.stderr > exact["remaining"].norm_squared.stderr
    with pytest.raises(GradlabError, match="at States"):
        rollout_ledger(world.agent(), rollout, truth=replace(sampled_truth, per_weight=False))


def test_nothing_remains_against_a_policy_gradient_of_sampled_states(world):
    """The critic of the world's agent is its exact Q, so that the critic's gradient at discounted states is ∇J."""
    agent = world.agent()
    states = world.states(4000, torch.Generator().manual_seed(8))
    truth = gradlab.policy_gradient(agent, CriticReference(), states)
    rollout, tail = sampled(world, 1000, 9, WRONG, length=40)
    ledger = rollout_ledger(agent, rollout, true_bootstrap=tail, truth=truth)
    exact = world.flat(world.true_gradient()) * (1 - world.gamma)
    low, high = ledger.truth_norm_squared.interval()
    assert low <= float(exact @ exact) <= high
    assert not ledger["remaining"].norm_squared.resolved
    low, high = ledger["GAE bias"].norm_squared.interval()
    bias = expected(world, WRONG, LAMBDA, length=40) - expected(world, WRONG, 1.0, length=40)
    assert low <= float(bias @ bias) <= high


def geometric(world, count, seed):
    """Episodes that end at random, so that they differ in length, with V the wrong table and no discount."""
    runs = world.trajectories(count, torch.Generator().manual_seed(seed), geometric=True)
    value = runs.obs @ WRONG
    rollout = Rollout(
        runs.obs,
        runs.act,
        value,
        value,
        value,
        runs.trajectory,
        reward=runs.reward,
        bootstrap=torch.zeros(count, dtype=torch.float64),
        age=runs.step,
        loss=OnPolicyLoss(discount=1.0, gae_lambda=LAMBDA),
    )
    return replace(rollout, advantage=generalized_advantages(rollout))


@pytest.mark.slow
def test_intervals_hold_the_truth_where_lengths_differ(world, record_property):
    process = world.process(geometric=True)

    def mean(lam):
        # Episodes have 1/(1 − γ) steps on average.
        return world.flat(advantage_gradient(process, WRONG, WRONG, lam, 1.0).mean) * (1 - world.gamma)

    truth, agent, held, count = mean(LAMBDA) - mean(1.0), world.agent(geometric=True), 0, 150
    large = rollout_ledger(agent, geometric(world, 20_000, 1))["GAE bias"]
    assert float((flat(large.vector) - truth).norm()) < 0.05 * float(truth.norm())
    for seed in range(count):
        low, high = rollout_ledger(agent, geometric(world, 60, 100 + seed))["GAE bias"].norm_squared.interval()
        held += low <= float(truth @ truth) <= high
    record_property("coverage", round(held / count, 3))
    assert held >= 0.9 * count


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True], ids=["as-they-are", "normalised"])
def test_intervals_hold_the_truth(world, normalise, record_property):
    """Of 150 rollouts of 40 trajectories, and the noise of the whole against how they scatter."""
    agent, truths = world.agent(), terms_of(world, WRONG)
    held, applied, noises = dict.fromkeys(truths, 0), [], []
    cosine_held, count = 0, 150
    cosine = torch.nn.functional.cosine_similarity(
        expected(world, WRONG, LAMBDA), expected(world, world.state_values(), 1.0, world.gamma), dim=0
    )
    for seed in range(count):
        rollout, tail = sampled(world, 40, 1000 + seed, WRONG, normalise=normalise)
        ledger = rollout_ledger(agent, rollout, true_bootstrap=tail)
        for name, truth in truths.items():
            low, high = ledger[name].norm_squared.interval()
            held[name] += low <= float(truth @ truth) <= high
        low, high = ledger.cosine.interval()
        cosine_held += low <= float(cosine) <= high
        applied.append(flat(ledger.applied))
        noises.append(ledger.noise.value)
    coverage = {name: round(hits / count, 3) for name, hits in held.items()}
    record_property("coverage", coverage | {"cosine": round(cosine_held / count, 3)})
    assert min(coverage.values()) >= 0.9, coverage
    # Few trajectories do not show how far a cosine near one may reach.
    assert cosine_held >= 0.87 * count
    scatter = float(torch.stack(applied).var(0).sum())
    assert sum(noises) / count == pytest.approx(scatter, rel=0.2)
