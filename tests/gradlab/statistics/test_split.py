"""The variance split and the noise scale against gradients written out, and by what is known in closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from gradlab import Agent, GradlabError, noise_scale, variance_split
from gradlab.estimate import Estimate
from gradlab.products import jacobians_by_loop
from gradlab.statistics.minibatch import ratio
from gradlab.tangent import tangent_kernel

N, M = 3, 2
PARTS = ("state", "action", "trajectory", "total", "gradient_squared")


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def make(shape: tuple[int, ...], seed: int = 0) -> tuple[Agent, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    actor = nn.Sequential(nn.Linear(N, 4), nn.Tanh(), nn.Linear(4, M)).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(normal(generator, *parameter.shape))
    obs = normal(generator, shape[-1], N)
    v = normal(generator, shape[-1], M) + normal(generator, shape[0], *[1] * (len(shape) - 2), shape[-1], M)
    return Agent(actor, [], [-1.0] * M, [1.0] * M), obs, v + 0.5 * normal(generator, *shape, M)


def by_loops(g: Tensor, episode: list[int]) -> dict[str, float]:
    """From gradients [A, T, S, P], with nothing but means and differences of vectors."""
    actions, trajectories, states, _ = g.shape
    trajectory = action = squared = 0.0
    for i in range(states):
        inner = 0.0
        means = []
        for a in range(actions):
            mean = g[a, :, i].mean(0)
            means.append(mean)
            if trajectories > 1:
                inner += sum(float((x - mean) @ (x - mean)) for x in g[a, :, i]) / (trajectories - 1) / actions
        centre = torch.stack(means).mean(0)
        outer = sum(float((x - centre) @ (x - centre)) for x in means) / (actions - 1) - inner / trajectories
        trajectory += inner / states
        action += outer / states
        squared += float(centre @ centre) / states - (outer / actions + inner / (actions * trajectories)) / states
    pairs = [(i, j) for i, j in itertools.permutations(range(states), 2) if episode[i] != episode[j]]
    mean = g.mean((0, 1))
    gradient = sum(float(mean[i] @ mean[j]) for i, j in pairs) / len(pairs)
    state = squared - gradient
    return {
        "state": state,
        "action": action,
        "trajectory": trajectory,
        "total": state + action + trajectory,
        "gradient_squared": gradient,
    }


@pytest.mark.parametrize("episode", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 2, 2]], ids=["states", "episodes"])
@pytest.mark.parametrize("shape", [(3, 2, 6), (4, 6)], ids=["trajectories", "actions"])
@pytest.mark.parametrize("full", [True, False])
def test_against_explicit_loops(shape: tuple[int, ...], episode: list[int], full: bool) -> None:
    agent, obs, v = make(shape)
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    g = torch.einsum("bmp,atbm->atbp", jacobian, v if v.ndim == 4 else v[:, None])
    labels = torch.tensor(episode)
    kernel = tangent_kernel(agent, obs, full=full)
    distinct = None if len(set(episode)) == 6 else labels
    split = variance_split(agent, obs, v, episode=distinct, kernel=kernel)
    expected = by_loops(g, episode)
    without = []
    for label in sorted(set(episode)):
        kept = [k for k, each in enumerate(episode) if each != label]
        without.append(by_loops(g[:, :, kept], [episode[k] for k in kept]))
    for name in PARTS:
        estimate = getattr(split, name)
        if estimate is None:
            assert (name, v.ndim) == ("trajectory", 3)
            continue
        assert estimate.value == pytest.approx(expected[name], rel=1e-9), name
        values = [each[name] for each in without]
        centre = sum(values) / len(values)
        jackknife = (len(values) - 1) / len(values) * sum((x - centre) ** 2 for x in values)
        assert estimate.stderr == pytest.approx(math.sqrt(jackknife), rel=1e-8), name
        assert estimate.samples == len(set(episode))
    below = 0.0 if split.trajectory is None else split.trajectory.value
    assert split.total.value == pytest.approx(split.state.value + split.action.value + below, rel=1e-14)
    # The whole, without any split: mean of ‖g‖² less ‖E g‖².
    direct = float(g.square().sum(-1).mean()) - expected["gradient_squared"]
    assert split.total.value == pytest.approx(direct, rel=1e-9)


def linear_world(
    seed: int, states: int, actions: int, trajectories: int, tail: bool = False
) -> tuple[Agent, Tensor, Tensor, dict[str, float]]:
    """A linear head at standard normal states, v = c + α·ε + β·η: J_sᵀv = x̃vᵀ, so every part has a closed form."""
    generator = torch.Generator().manual_seed(seed)
    size, c, alpha, beta = 4, 0.7, 1.0, 0.5

    def noise(*shape: int) -> Tensor:
        return normal(generator, *shape) * (normal(generator, *shape) if tail else 1)

    agent = Agent(nn.Linear(size, M).double(), [], [-1.0] * M, [1.0] * M)
    obs = normal(generator, states, size)
    v = c + alpha * noise(actions, 1, states, M) + beta * noise(actions, trajectories, states, M)
    truth = {
        "state": size * c**2 * M,
        "action": (size + 1) * M * alpha**2,
        "trajectory": (size + 1) * M * beta**2,
        "gradient_squared": c**2 * M,
    }
    truth["total"] = truth["state"] + truth["action"] + truth["trajectory"]
    return agent, obs, v, truth


@pytest.mark.parametrize("tail", [False, True], ids=["normal", "heavy tails"])
def test_parts_are_unbiased_and_intervals_hold_them(tail: bool) -> None:
    repetitions = 400
    held: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    for seed in range(repetitions):
        agent, obs, v, truth = linear_world(7_000 + seed, 64, 4, 3, tail)
        split = variance_split(agent, obs, v)
        for name, true in truth.items():
            low, high = getattr(split, name).interval()
            held[name] = held.get(name, 0) + (low <= true <= high)
            values.setdefault(name, []).append(getattr(split, name).value)
        # As if what a level below adds were not taken off.
        values.setdefault("naive", []).append(split.action.value + split.trajectory.value / 3)
        found = noise_scale(agent, obs, v[:, 0])
        for name, estimate, true in (
            ("scale", found.scale, truth["total"] / truth["gradient_squared"]),
            ("from_states", found.from_states, truth["state"] / truth["total"]),
        ):
            low, high = estimate.interval()
            held[name] = held.get(name, 0) + (low <= true <= high)
    for name, true in truth.items():
        found = torch.tensor(values[name])
        assert abs(float(found.mean()) - true) < 4 * float(found.std()) / math.sqrt(repetitions), name
    # Negative control.
    naive = torch.tensor(values["naive"])
    assert float(naive.mean()) - truth["action"] > 4 * float(naive.std()) / math.sqrt(repetitions)
    shares = {name: count / repetitions for name, count in held.items()}
    assert all(0.90 <= share <= 0.98 for share in shares.values()), shares


def test_the_noise_scale_of_a_gradient_that_is_not_there() -> None:
    generator = torch.Generator().manual_seed(2)
    agent = Agent(nn.Linear(N, M).double(), [], [-1.0] * M, [1.0] * M)
    unresolved = 0
    for _ in range(40):
        found = noise_scale(agent, normal(generator, 30, N), normal(generator, 2, 30, M))
        if found.split.gradient_squared.value > 0:
            assert found.scale.interval()[1] == math.inf or found.split.gradient_squared.resolved
            unresolved += found.scale.interval()[1] == math.inf
        else:
            assert math.isnan(found.scale.value)
            assert any("not above its noise" in note for note in found.notes)
    assert unresolved > 5


def test_fieller_against_normal_draws() -> None:
    generator = torch.Generator().manual_seed(3)
    root = torch.tensor([[1.0, 0.0], [0.3, 0.4]]).double()
    covariance = root @ root.T
    held = 0
    for _ in range(2000):
        a, b = (torch.tensor([3.0, 2.0]).double() + root @ normal(generator, 2)).tolist()
        one = Estimate(a, math.sqrt(float(covariance[0, 0])), 10**6)
        two = Estimate(b, math.sqrt(float(covariance[1, 1])), 10**6)
        low, high = ratio(one, two, float(covariance[0, 1])).interval()
        held += low <= 1.5 <= high
    assert abs(held / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_what_does_not_fit_or_is_not_finite_is_refused_and_located() -> None:
    agent, obs, v = make((3, 2, 6))
    with pytest.raises(GradlabError, match=r"expected \[actions, states, m\]"):
        variance_split(agent, obs, v[0, 0])
    broken = v.clone()
    broken[1, 0, 4] = math.nan
    with pytest.raises(GradlabError, match="1 of 36 samples at 1 of 6 states, first at action 1, state 4"):
        variance_split(agent, obs, broken)
    with pytest.raises(GradlabError, match="5 episode numbers"):
        variance_split(agent, obs, v, episode=torch.arange(5))
    one = variance_split(agent, obs, v[:1, :1])
    assert math.isnan(one.action.value)
    assert len(one.notes) == 2
    two = variance_split(agent, obs, v, episode=torch.tensor([0, 0, 0, 1, 1, 1]))
    assert math.isnan(two.total.stderr)
    assert "no interval" in two.notes[0]


def test_the_total_s_interval_holds_with_states_of_heavy_tails() -> None:
    # g = h + e with h = exp(0.8 x), x and e standard normal: Var h = e^(0.64) (e^(0.64) − 1), of kurtosis 34.
    repetitions, states, generator = 200, 30, torch.Generator().manual_seed(5)
    true = math.exp(0.64) * (math.exp(0.64) - 1) + 1
    agent = Agent(nn.Linear(1, 1, bias=False).double(), [], action_low=[-1], action_high=[1])
    obs = torch.ones(states, 1).double()
    kernel = tangent_kernel(agent, obs)
    held = symmetric = 0
    for _ in range(repetitions):
        h = (0.8 * torch.randn(states, 1, generator=generator, dtype=torch.float64)).exp()
        total = variance_split(
            agent, obs, h + torch.randn(3, states, 1, generator=generator, dtype=torch.float64), kernel=kernel
        ).total
        low, high = total.interval()
        held += low <= true <= high
        symmetric += abs(total.value - true) <= float(stdtrit(states - 1, 0.975)) * total.stderr
    # Heavy tails may cost it five points, not more: 90 % less four standard errors.
    assert held >= (0.9 - 4 * math.sqrt(0.09 / repetitions)) * repetitions, held
    # Negative control: the same standard error without the tails.
    assert symmetric < held, (symmetric, held)


@pytest.mark.parametrize("cubed", [False, True], ids=["normal states", "cubed normal states"])
def test_the_states_part_s_interval_holds_with_a_cubic_critic(cubed: bool) -> None:
    # One state s and a gradient J = s of a(s) = s: v = 1 − s² + e and g = s(1 − s²) + s e; or x³ in place of s, v = 1.
    # E s²(1 − s²)² = 1 − 2·3 + 15 = 10, E s(1 − s²) = 0; E x⁶ = 15. Kurtosis of g² is in the hundreds.
    repetitions, states, actions, generator = 400, 30, 4, torch.Generator().manual_seed(20_000_300)
    true = 15.0 if cubed else 10.0
    agent = Agent(nn.Linear(1, 1, bias=False).double(), [], action_low=[-1], action_high=[1])
    held = symmetric = 0
    for _ in range(repetitions):
        x = normal(generator, states, 1)
        obs, mean = (x.pow(3), torch.ones_like(x)) if cubed else (x, 1 - x.square())
        state = variance_split(agent, obs, mean + normal(generator, actions, states, 1)).state
        low, high = state.interval()
        held += low <= true <= high
        symmetric += abs(state.value - true) <= float(stdtrit(states - 1, 0.975)) * state.stderr
    # What the states do not show of their tails may cost it ten points, not more: 85 % less four standard errors.
    assert held >= (0.85 - 4 * math.sqrt(0.85 * 0.15 / repetitions)) * repetitions, held
    # Negative control: the same standard error without the tails.
    assert symmetric < (0.85 - 4 * math.sqrt(0.85 * 0.15 / repetitions)) * repetitions, symmetric
