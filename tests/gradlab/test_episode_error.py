"""The error of whole episodes' gradients against explicit gradients and formulas, one number at a time."""

import math

import pytest
import torch
from torch import nn

from gradlab import ParameterReference, tangent_kernel, trajectory_error
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.inference.gram import error_from_gram
from gradlab.objective import Objective
from gradlab.trajectories import Trajectories

R, STEPS = 12, 3
FIELDS = ("bias_squared", "variance", "mse", "cosine", "norm_ratio", "snr")


def make(hidden=4, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 2)).to(dtype)
    return Agent(actor, [], [-1, -1], [1, 1])


@pytest.fixture
def runs():
    obs = torch.randn(R * STEPS, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ended = torch.arange(R * STEPS) % STEPS == STEPS - 1
    return Trajectories(obs, obs, obs[:, 0], obs, ended, torch.arange(R).repeat_interleave(STEPS), 0.99)


@pytest.fixture
def v():
    return 1 + torch.randn(R * STEPS, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def explicit_gradients(agent, runs, v):
    out = []
    for episode in range(runs.count):
        rows = runs.trajectory == episode
        loss = (agent.head(runs.obs[rows]) * v[rows]).sum()
        grads = torch.autograd.grad(loss, list(agent.named_parameters().values()))
        out.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(out)


def reference(agent, G, stderr=None):
    """Somewhat off the mean gradient."""
    r = G.mean(0) + 0.3 * torch.randn(G.shape[1], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return ParameterReference(r, "given", Objective(), stderr, samples=100)


def same(a, b):
    for name in FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        assert x.value == pytest.approx(y.value, rel=1e-8, nan_ok=True), name
        assert x.stderr == pytest.approx(y.stderr, rel=1e-6, nan_ok=True), name
        assert x.interval() == pytest.approx(y.interval(), rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize("hidden", [4, 300])
@pytest.mark.parametrize("kernel", [True, False])
def test_numbers_are_those_of_explicit_gradients(runs, v, hidden, kernel):
    """The two networks lie on either side of where the kernel is smaller than the gradients; both ways agree."""
    agent = make(hidden)
    G = explicit_gradients(agent, runs, v)
    ref = reference(agent, G)
    error = trajectory_error(agent, runs, v, ref, kernel=tangent_kernel(agent, runs.obs) if kernel else None)
    w, r = G - ref.gradient, ref.gradient
    pairs = sum(float(w[i] @ w[j]) for i in range(R) for j in range(R) if i != j) / (R * (R - 1))
    spread = float((G - G.mean(0)).square().sum()) / (R - 1)
    squared = sum(float(G[i] @ G[j]) for i in range(R) for j in range(R) if i != j) / (R * (R - 1))
    assert error.bias_squared.value == pytest.approx(pairs, rel=1e-9)
    assert error.variance.value == pytest.approx(spread, rel=1e-9)
    assert error.mse.value == pytest.approx(pairs + spread, rel=1e-9)
    assert error.cosine.value == pytest.approx(float(G.mean(0) @ r) / math.sqrt(squared * float(r @ r)), rel=1e-9)
    assert error.norm_ratio.value == pytest.approx(math.sqrt(squared / float(r @ r)), rel=1e-9)
    assert error.snr.value == pytest.approx(squared / spread, rel=1e-9)
    assert error.bias_squared.samples == R
    assert error.bias_squared.reference == "given"
    assert error.states == R * STEPS
    assert error.notes == ()
    same(error, error_from_gram(G @ G.T, G @ r, r @ r))
    # Leave-one-out of the variance, by hand.
    left = torch.stack([torch.cat([G[:i], G[i + 1 :]]).var(0).sum() for i in range(R)])
    jackknife = math.sqrt((R - 1) / R * float((left - left.mean()).square().sum()))
    assert 0.7 * jackknife <= error.variance.stderr <= 1.001 * jackknife


def test_little_memory_gives_the_same(runs, v):
    """Room for three gradients of twelve: they are formed again, and the tangent kernel does not fit."""
    agent = make(300)
    G = explicit_gradients(agent, runs, v)
    ref = reference(agent, G)
    same(trajectory_error(agent, runs, v, ref, memory=8 * 3 * G.shape[1]), trajectory_error(agent, runs, v, ref))


def test_groups_are_means_of_episodes(runs, v):
    agent = make()
    G = explicit_gradients(agent, runs, v)
    ref, means = reference(agent, G), G.reshape(R // 2, 2, -1).mean(1)
    r = ref.gradient
    error = trajectory_error(agent, runs, v, ref, group=2)
    assert error.variance.samples == R // 2
    same(error, error_from_gram(means @ means.T, means @ r, r @ r))
    with pytest.raises(GradlabError, match="12 episodes do not divide into groups of 5"):
        trajectory_error(agent, runs, v, ref, group=5)
    with pytest.raises(GradlabError, match="all 12 episodes share one baseline"):
        trajectory_error(agent, runs, v, ref, group=None)


def test_a_noisy_reference_is_taken_off_and_widens(runs, v):
    agent = make()
    G = explicit_gradients(agent, runs, v)
    stderr = 0.1 + torch.rand(G.shape[1], generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    exact, noisy = (trajectory_error(agent, runs, v, reference(agent, G, s)) for s in (None, stderr))
    trace = float(stderr.square().sum())
    assert noisy.bias_squared.value == pytest.approx(exact.bias_squared.value - trace, rel=1e-9)
    assert noisy.reference_norm_squared.value == pytest.approx(exact.reference_norm_squared.value - trace, rel=1e-9)
    assert noisy.variance.value == pytest.approx(exact.variance.value, rel=1e-9)
    assert noisy.bias_squared.stderr > exact.bias_squared.stderr
    assert noisy.reference_norm_squared.samples == 100


def test_coverage_with_a_noisy_reference(runs):
    """g ~ N(m, Σ) through free cotangents of a linear actor, r ~ N(m + shift, diag σ²): 200 repetitions."""
    actor = nn.Linear(1, 3, bias=False).double()
    agent = Agent(actor, [], [-1] * 3, [1] * 3)
    one = torch.ones(32, 1).double()
    runs = Trajectories(one, one, one[:, 0], one, one[:, 0] > 0, torch.arange(32), 0.99)
    mean, sigma = torch.tensor([1.0, -1.0, 0.5]).double(), torch.tensor([0.2, 0.1, 0.3]).double()
    shift = torch.tensor([0.5, 0.0, -0.5]).double()
    truths = {"bias_squared": 0.5, "reference_norm_squared": float((mean + shift).square().sum()), "variance": 3.0}
    held, control = dict.fromkeys(truths, 0), 0
    for seed in range(500, 700):
        generator = torch.Generator().manual_seed(seed)
        v = mean + torch.randn(32, 3, generator=generator, dtype=torch.float64)
        r = mean + shift + sigma * torch.randn(3, generator=generator, dtype=torch.float64)
        ref = ParameterReference(r, "noisy", Objective(), sigma, samples=1000)
        error = trajectory_error(agent, runs, v, ref)
        for name, truth in truths.items():
            low, high = getattr(error, name).interval()
            held[name] += low <= truth <= high
        low, high = trajectory_error(
            agent, runs, v, ParameterReference(r, "noisy", Objective())
        ).bias_squared.interval()
        control += low <= 0.5 <= high
    assert all(count / 200 >= 0.90 for count in held.values()), held
    # Taken for exact, the reference's noise is missing from the intervals.
    assert control < min(held.values())


def test_a_reference_by_name_is_put_in_order(runs, v):
    agent = make()
    G = explicit_gradients(agent, runs, v)
    flat = reference(agent, G)
    named = agent.named_parameters()
    parts = dict(zip(named, flat.gradient.split([p.numel() for p in named.values()]), strict=True))
    shaped = {name: parts[name].reshape(named[name].shape) for name in reversed(list(named))}
    same(
        trajectory_error(agent, runs, v, flat),
        trajectory_error(agent, runs, v, ParameterReference(shaped, "given", Objective())),
    )


def test_single_precision_agrees(runs, v):
    agent = make()
    single = make(dtype=torch.float32)
    ref = reference(agent, explicit_gradients(agent, runs, v))
    double, rough = (trajectory_error(a, runs, v, ref) for a in (agent, single))
    for name in ("bias_squared", "variance", "cosine"):
        assert getattr(rough, name).value == pytest.approx(getattr(double, name).value, rel=1e-4)


def test_another_objective_is_refused_unless_allowed_and_then_said_everywhere(runs, v):
    agent = make()
    other = ParameterReference(torch.ones(22), "closed form", Objective(discount=1.0))
    with pytest.raises(GradlabError, match=r"discounted .* against undiscounted"):
        trajectory_error(agent, runs, v, other)
    error = trajectory_error(agent, runs, v, other, allow_mismatch=True)
    assert "undiscounted" in error.notes[0]
    assert all("undiscounted" in str(getattr(error, name)) for name in FIELDS)
    assert not trajectory_error(agent, runs, v, other, objective=Objective(discount=1.0)).notes


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (torch.ones(21), r"gradient has shape \(21,\); expected \[22\]"),
        (torch.full((22,), torch.nan), "NaN or infinite in 22 of 22"),
        ({"0.weight": torch.ones(4, 2)}, "does not fit the actor's parameters at 0.bias, 2.bias, 2.weight"),
    ],
)
def test_references_that_do_not_fit_are_refused(runs, v, gradient, message):
    with pytest.raises(GradlabError, match=message):
        trajectory_error(make(), runs, v, ParameterReference(gradient, "given", Objective()))


def test_one_episode_has_no_interval(runs, v):
    agent = make()
    ref = reference(agent, explicit_gradients(agent, runs, v))
    error = trajectory_error(agent, runs.select(torch.tensor([0])), v[:STEPS], ref)
    assert math.isnan(error.variance.value)
    assert math.isfinite(error.mse.value)
    assert math.isnan(error.mse.interval()[0])


def test_nothing_of_the_agent_is_touched(runs, v):
    agent = make()
    ref = reference(agent, explicit_gradients(agent, runs, v))
    before, state = [p.clone() for p in agent.actor.parameters()], torch.get_rng_state()
    with torch.no_grad():
        trajectory_error(agent, runs, v, ref)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, agent.actor.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
