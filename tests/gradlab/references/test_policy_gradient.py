"""∇_θ J from cotangents at states: the regulator's closed form, its distribution over episodes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from gradlab import GradlabError, PolicyGradient, policy_gradient
from gradlab.objective import Objective
from gradlab.products import parameter_gradient
from gradlab.references import ReferenceCotangent, SimulatorReference
from gradlab.simulation import Simulator, visit_discounted
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

HORIZON = 6


def regulator(policy_std: float = 0.0) -> LinearQuadratic:
    A, B = [[0.9, 0.2], [0.0, 0.8]], [[0.3], [0.5]]
    K = [[0.4, 0.1]]
    return LinearQuadratic(A, B, [[1.0, 0.1], [0.1, 0.5]], 0.1, 0.8, K, policy_std=policy_std, horizon=HORIZON)


def simulator_of(world: LinearQuadratic) -> Simulator:
    return Simulator(lambda: TimeLimit(LinearQuadraticEnvironment(world, 50.0), HORIZON))


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return simulator_of(regulator())


class Exact:
    """The regulator's own cotangents, which know how many rewards are left, with noise of a known size."""

    name = "exact"
    horizon, respect_time_limit = HORIZON, True

    def __init__(self, simulator: Simulator, noise: float = 0.0, closed: float = 0.0) -> None:
        self.simulator, self.noise, self.closed = simulator, noise, closed
        self.generator = torch.Generator().manual_seed(7)

    def cotangent(self, agent, states) -> ReferenceCotangent:
        world = regulator()
        act = -states.obs @ world.K.T
        rows = [
            world.action_gradient(obs[None], a[None], int(t))
            for obs, a, t in zip(states.obs, act, states.step, strict=True)
        ]
        mean = torch.cat(rows)
        mean = mean + self.noise * torch.randn(mean.shape, generator=self.generator, dtype=torch.float64)
        shut = torch.rand(len(mean), generator=self.generator) < self.closed
        mean[shut] = torch.nan
        why = {"reason": ["closed here" if one else "" for one in shut.tolist()]}
        spread = torch.full_like(mean, self.noise)
        return ReferenceCotangent(mean, spread, self.name, Objective(0.8, horizon=HORIZON), ~shut, 0, why)


def of_first_states(first: Tensor) -> Tensor:
    """∇J when the first states are these: Σ_t γᵗ 2 E_t Σ_t with their own second moment Σ₀."""
    world, sigma = regulator(), first.T @ first / len(first)
    return (
        LinearQuadratic(world.A, world.B, world.Q, world.R, 0.8, world.K, sigma0=sigma, horizon=HORIZON)
        .true_gradient()
        .flatten()
    )


@pytest.mark.parametrize("reference", ["exact", "simulator"])
def test_at_all_steps_it_is_the_regulators_gradient(simulator, reference):
    agent = regulator().agent(action_bound=50.0)
    # So many draws that every step has its share; what remains is that of one draw in 20,000.
    states = visit_discounted(simulator, agent, 6, 20_000, seed=1)
    asked = (
        Exact(simulator)
        if reference == "exact"
        else SimulatorReference(simulator, horizon=HORIZON, respect_time_limit=True)
    )
    found = policy_gradient(agent, asked, states)
    first = states.states.obs[states.states.step == 0]
    torch.testing.assert_close(found.gradient, of_first_states(first), rtol=1e-3, atol=1e-4)
    each = torch.stack([of_first_states(one[None]) for one in first])
    torch.testing.assert_close(found.samples, each, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found.stderr, each.std(0) / 6**0.5, rtol=1e-2, atol=1e-3)
    assert found.objective == Objective(0.8, horizon=HORIZON)
    assert (found.count, found.per_weight, found.closed, found.notes) == (6, False, 0.0, ())
    assert found.reference_share < 1e-6
    assert found.along(torch.tensor([1.0, 2.0])).value == pytest.approx(
        float(found.gradient @ torch.tensor([1.0, 2.0]).double())
    )
    assert found.as_dict(agent)["weight"].shape == (1, 2)
    flat, stderr = found.reference.flat(agent)
    torch.testing.assert_close(flat, found.gradient)
    torch.testing.assert_close(stderr, found.stderr)


@pytest.mark.slow
def test_intervals_hold_the_truth_over_episodes(simulator):
    world, agent = regulator(), regulator().agent(action_bound=50.0)
    truth = world.true_gradient().flatten()
    exact, held, norm = Exact(simulator, noise=0.5), torch.zeros(2), 0
    for seed in range(100):
        found = policy_gradient(agent, exact, visit_discounted(simulator, agent, 32, 2, seed=seed))
        for k, unit in enumerate(torch.eye(2)):
            low, high = found.along(unit).interval()
            held[k] += low <= truth[k] <= high
        low, high = found.norm_squared.interval()
        norm += low <= float(truth @ truth) <= high
    assert float(held.min()) / 100 >= 0.86
    assert norm >= 86


def test_intervals_of_skewed_episodes_hold_the_truth():
    """Squares of normal numbers, as an episode's gradient has it of its first state: more often than Student's do."""
    generator = torch.Generator().manual_seed(6)
    truth = torch.tensor([1.0, 0.5, 2.0]).double()
    unit = truth / truth.norm()
    for episodes, least in ((8, 0.81), (16, 0.87), (32, 0.905)):
        along = norm = student = 0
        for _ in range(400):
            square = torch.randn(episodes, 1, generator=generator, dtype=torch.float64).square()
            own = 0.1 * torch.randn(episodes, 3, generator=generator, dtype=torch.float64)
            found = PolicyGradient(square * truth + own, "example", Objective())
            low, high = found.along(unit).interval()
            along += low <= float(truth.norm()) <= high
            low, high = found.norm_squared.interval()
            norm += low <= float(truth @ truth) <= high
            student += not replace(
                found.along(unit), ends=None, value=found.along(unit).value - float(truth.norm())
            ).resolved
        assert along / 400 >= least
        assert norm / 400 >= least - 0.01
        assert along > student + 8


def test_a_stochastic_policy_has_the_reference_noise_in_its_interval():
    world = regulator(policy_std=0.4)
    simulator, agent = simulator_of(world), world.agent(action_bound=50.0)
    reference = SimulatorReference(simulator, horizon=HORIZON, noise_seeds=4, respect_time_limit=True)
    found = policy_gradient(agent, reference, visit_discounted(simulator, agent, 96, 1, seed=5))
    apart = (found.gradient - world.true_gradient().flatten()) / found.stderr
    assert float(apart.abs().max()) < 3.5
    assert 0.0 < found.reference_share < 1.0


def test_per_weight_it_is_the_weighted_mean(simulator):
    agent = regulator().agent(action_bound=50.0)
    states = simulator.visit(agent, 20, seed=3, episodes=5)
    exact = Exact(simulator)
    cotangent = exact.cotangent(agent, states)
    found = policy_gradient(agent, cotangent, states)
    weights = 0.8 ** states.step.double()
    v = cotangent.mean * (20 * weights / weights.sum())[:, None]
    torch.testing.assert_close(found.gradient, parameter_gradient(agent, states.obs, v)["weight"].flatten())
    assert found.per_weight
    assert found.count == len(states.episode.unique())
    assert "per unit of weight" in found.notes[0]
    alike = policy_gradient(agent, cotangent, states, weights=torch.ones(20))
    expected = parameter_gradient(agent, states.obs, cotangent.mean)["weight"].flatten()
    torch.testing.assert_close(alike.gradient, expected)
    # A ratio's standard error, against leaving each episode out.
    left = []
    for label in states.episode.unique():
        keep = states.episode != label
        w = weights[keep]
        part = cotangent.mean[keep] * (len(w) * w / w.sum())[:, None]
        left.append(parameter_gradient(agent, states.obs[keep], part)["weight"].flatten())
    deviations = torch.stack(left) - torch.stack(left).mean(0)
    jackknife = ((found.count - 1) / found.count * deviations.square().sum(0)).sqrt()
    torch.testing.assert_close(found.stderr, jackknife, rtol=0.35, atol=0)
    bare = policy_gradient(agent, cotangent, states.obs)
    assert bare.count == 20
    torch.testing.assert_close(bare.gradient, expected)


def test_closed_gates_are_reported_and_too_many_refused(simulator):
    agent = regulator().agent(action_bound=50.0)
    states = visit_discounted(simulator, agent, 40, 3, seed=1)
    some = Exact(simulator, closed=0.1).cotangent(agent, states.states)
    with pytest.raises(
        GradlabError, match=r"% of the weight lies at states where the gate of exact is closed \(closed"
    ):
        policy_gradient(agent, some, states)
    found = policy_gradient(agent, some, states, closed=0.5)
    assert 0 < found.closed < 0.3
    assert "the others stand for them" in found.notes[0]
    whole = policy_gradient(agent, Exact(simulator), states)
    apart = (found.gradient - whole.gradient) / found.stderr
    assert float(apart.abs().max()) < 3


def test_what_is_not_represented_is_said(simulator):
    agent = regulator().agent(action_bound=50.0)
    states = visit_discounted(simulator, agent, 4, 2, seed=1)
    found = policy_gradient(agent, SimulatorReference(simulator, horizon=3), states)
    assert found.objective == Objective(0.8, horizon=3)
    assert found.notes == (
        "states after step 6 weigh 0.26 of a task that goes on, and are not represented",
        "each state counts 3 rewards; later ones weigh 0.51",
    )


def test_wrong_input_is_refused_in_one_line(simulator):
    agent = regulator().agent(action_bound=50.0)
    states = visit_discounted(simulator, agent, 4, 2, seed=1)
    exact = Exact(simulator)
    with pytest.raises(GradlabError, match="weights of their own"):
        policy_gradient(agent, exact, states, weights=torch.ones(len(states.states)))
    with pytest.raises(GradlabError, match="none negative"):
        policy_gradient(agent, exact, states.states, weights=-torch.ones(len(states.states)))
    with pytest.raises(GradlabError, match=r"the reference has .* states, 2 were given"):
        policy_gradient(agent, exact.cotangent(agent, states.states), states.states[:2])
    with pytest.raises(GradlabError, match="at least two episodes"):
        policy_gradient(agent, exact, states.states[states.states.episode == 0])
    other = regulator().agent(action_bound=50.0)
    other.discount = 0.5
    with pytest.raises(GradlabError, match=r"states drawn for γ=0.8, the agent has γ=0.5"):
        policy_gradient(other, exact, states)
    found = policy_gradient(agent, exact, states)
    with pytest.raises(GradlabError, match="3 numbers for 2 parameters"):
        found.along(torch.ones(3))
