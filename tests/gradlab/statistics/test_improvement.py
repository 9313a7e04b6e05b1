"""What a step gains, against the regulator's closed form, and ρ → 1 along any direction where ∇J is right."""

from __future__ import annotations

import math

import pytest
import torch
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from gradlab import GradlabError, PolicyGradient, realised_improvement
from gradlab.episode_error import ParameterReference
from gradlab.inference.quotient import fieller, quotient_interval
from gradlab.objective import Objective
from gradlab.simulation import Simulator
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

HORIZON = 6


def regulator(gain: Tensor | None = None, policy_std: float = 0.0, sigma0: Tensor | None = None) -> LinearQuadratic:
    A, B = [[0.9, 0.2], [0.0, 0.8]], [[0.3], [0.5]]
    gain = torch.tensor([[0.1, 0.0]]).double() if gain is None else gain
    Q = [[1.0, 0.1], [0.1, 0.5]]
    return LinearQuadratic(A, B, Q, 0.1, 0.8, gain, policy_std=policy_std, horizon=HORIZON, sigma0=sigma0)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(lambda: TimeLimit(LinearQuadraticEnvironment(regulator(), 50.0), HORIZON))


def first_moment(simulator: Simulator, agent, episodes: int, seed: int) -> Tensor:
    runs = simulator.episodes(agent, episodes, seed=seed)
    first = runs.obs[runs.step == 0]
    return first.T @ first / episodes


def exactly(gradient: Tensor, horizon: int = HORIZON) -> PolicyGradient:
    """A reference without noise."""
    return PolicyGradient(gradient.expand(64, -1).clone(), "closed form", Objective(0.8, horizon=horizon))


def test_the_gain_is_the_closed_form_and_the_ratio_tends_to_one(simulator):
    world = regulator()
    agent = world.agent(action_bound=50.0)
    # With the second moment of these very first states the closed form is that of these very episodes.
    sigma = first_moment(simulator, agent, 16, seed=4)
    gradient = regulator(sigma0=sigma).true_gradient().flatten()
    sizes = [1e-4, 1e-2, 0.3]
    found = realised_improvement(agent, gradient, simulator, sizes, reference=exactly(gradient), episodes=16, seed=4)
    before = regulator(sigma0=sigma).value()
    for step in found.steps:
        moved = regulator(world.K - step.step_size * found.direction.reshape(1, 2), sigma0=sigma)
        # The actor's weight is −K and J is a cost, so that a gain in return is a fall in cost.
        gain = before - moved.value()
        assert step.actual.value == pytest.approx(gain, rel=1e-6)
        assert step.claimed == pytest.approx(step.step_size * float(gradient.norm()))
        assert step.predicted.value == pytest.approx(step.claimed)
        assert step.ratio.value == pytest.approx(gain / step.claimed, rel=1e-6)
        assert step.claimed_ratio.value == pytest.approx(step.ratio.value)
    ratios = [step.ratio.value for step in found.steps]
    assert abs(ratios[0] - 1) < 1e-3
    # To second order what is missing is proportional to the step.
    assert (1 - ratios[1]) / (1 - ratios[0]) == pytest.approx(100, rel=0.1)
    assert ratios[2] < ratios[1] < ratios[0]
    assert found.objective == Objective(0.8, horizon=HORIZON)
    assert found.episodes == 16


def test_the_ratio_tends_to_one_along_a_wrong_direction_too(simulator):
    agent = regulator().agent(action_bound=50.0)
    sigma = first_moment(simulator, agent, 16, seed=4)
    gradient = regulator(sigma0=sigma).true_gradient().flatten()
    wrong = torch.stack([-gradient[0] - 0.3 * gradient[1], -gradient[1] + 0.3 * gradient[0]])
    found = realised_improvement(
        agent, {"weight": wrong.reshape(1, 2)}, simulator, [1e-4], reference=exactly(gradient), episodes=16, seed=4
    )
    step = found.steps[0]
    assert step.ratio.value == pytest.approx(1, abs=1e-3)
    assert step.predicted.value < 0
    assert step.actual.value < 0
    # Its own claim is that it goes up.
    assert step.claimed > 0
    assert step.claimed_ratio.value < 0
    alone = realised_improvement(agent, wrong, simulator, [1e-4], episodes=64, seed=4)
    assert alone.steps[0].ratio is None
    assert alone.steps[0].reading.startswith("the opposite of what was predicted")
    assert alone.trusted == 0


@pytest.mark.parametrize("policy_std", [0.0, 0.3])
def test_episodes_are_paired(simulator, policy_std):
    """Common random numbers: the standard error of the change is far below that of either return."""
    agent = regulator(policy_std=policy_std).agent(action_bound=50.0)
    gradient = torch.tensor([1.0, 1.0]).double()
    found = realised_improvement(agent, gradient, simulator, [1e-3], episodes=32, seed=1, normalise=False)
    runs = simulator.episodes(agent, 32, seed=1)
    assert found.steps[0].actual.stderr < 0.01 * float(runs.returns().std()) / 32**0.5
    moved = regulator(regulator().K - 1e-3 * gradient.reshape(1, 2), policy_std).agent(action_bound=50.0)
    expected = simulator.episodes(moved, 32, seed=1).returns() - runs.returns()
    assert found.steps[0].actual.value == pytest.approx(float(expected.mean()), rel=1e-6)
    torch.testing.assert_close(found.direction, gradient)


def test_entropy_is_part_of_the_return(simulator):
    """Moving log σ alone by η gives η·α·Σγᵗ of entropy, and costs what the noise costs."""
    world = regulator(policy_std=0.3)

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_std = torch.nn.Parameter(torch.tensor([math.log(0.3)]).double())

        def forward(self, obs: Tensor) -> Tensor:
            mean = -obs @ world.K.T
            return torch.cat([mean, self.log_std.expand_as(mean)], -1)

    agent = world.agent(action_bound=50.0)
    agent.actor, agent.entropy = Head(), 0.5
    agent._head = lambda actor, obs: actor(obs)
    one = torch.ones(1).double()
    soft, hard = (
        realised_improvement(agent, one, simulator, [0.01], episodes=8, entropy=entropy) for entropy in (True, False)
    )
    bonus = soft.steps[0].actual.value - hard.steps[0].actual.value
    assert bonus == pytest.approx(0.01 * 0.5 * sum(0.8**t for t in range(HORIZON)), rel=1e-9)
    assert soft.objective.entropy == 0.5


def test_intervals_of_the_ratio_hold_the_truth():
    """Fieller's interval of two independent means, the lower one within two standard errors of zero or far from it."""
    generator = torch.Generator().manual_seed(0)
    for below in (0.3, 2.0):
        held = 0
        for _ in range(400):
            top = 1.0 + 0.2 * float(torch.randn((), generator=generator))
            under = below + 0.2 * float(torch.randn((), generator=generator))
            low, high = fieller(top, 0.2, under, 0.2, 1.96)
            held += low <= 1.0 / below <= high
        assert held >= 368


@pytest.mark.parametrize("top", [(1.0, 0.2), (-1.0, 0.2), (0.1, 0.2), (-0.1, 0.2)])
@pytest.mark.parametrize("below", [(2.0, 0.3), (-2.0, 0.3), (0.5, 0.4)])
def test_symmetric_intervals_give_fiellers_and_others_hold_zero_at_their_ends(top, below):
    (a, up), (b, half) = top, below
    symmetric = quotient_interval(a, (a - up, a + up), b, (b - half, b + half))
    assert symmetric == pytest.approx(fieller(a, up, b, half, 1.0), rel=1e-12)
    # Much wider upwards than downwards, beyond twice the lower number too: at each end the difference's interval has
    # one end at zero.
    of_top, of_below = (a - up, a + 3 * up), (b - half, b + 4 * abs(b))
    if b < 0:
        of_below = (b - 4 * abs(b), b + half)
    for rho in quotient_interval(a, of_top, b, of_below):
        scaled = sorted((-rho * of_below[0], -rho * of_below[1]))
        low = a - rho * b - ((a - of_top[0]) ** 2 + (-rho * b - scaled[0]) ** 2) ** 0.5
        high = a - rho * b + ((of_top[1] - a) ** 2 + (scaled[1] + rho * b) ** 2) ** 0.5
        assert min(abs(low), abs(high)) < 1e-9


def test_readings_follow_the_interval(simulator):
    agent = regulator().agent(action_bound=50.0)
    sigma = first_moment(simulator, agent, 64, seed=4)
    gradient = regulator(sigma0=sigma).true_gradient().flatten()
    # A reference that promises much too little, then one that promises the truth, and one that promises too much.
    readings = [
        realised_improvement(
            agent, gradient, simulator, [1e-3], reference=exactly(scale * gradient), episodes=64, seed=4
        )
        .steps[0]
        .reading
        for scale in (0.5, 20.0)
    ]
    assert readings[0].startswith("more than three quarters")
    assert readings[1].startswith("less than a quarter")
    found = realised_improvement(
        agent, gradient, simulator, [1e-3, 1e-2, 5.0], reference=exactly(gradient), episodes=64, seed=4
    )
    assert found.trusted == 1e-2


def test_a_noisy_gradient_claims_too_much_and_says_so(simulator):
    agent = regulator().agent(action_bound=50.0)
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = PolicyGradient(1 + 3 * noise, "noisy", Objective(0.8, horizon=HORIZON))
    found = realised_improvement(agent, noisy, simulator, [0.01], episodes=4)
    assert "of the gradient's squared norm is its own noise" in found.notes[0]
    assert realised_improvement(agent, exactly(noisy.gradient), simulator, [0.01], episodes=4).notes == ()


def test_wrong_input_is_refused_in_one_line(simulator):
    agent = regulator().agent(action_bound=50.0)
    one = torch.ones(2).double()
    for sizes in ([], [0.0], [0.2, 0.1], [math.nan]):
        with pytest.raises(GradlabError, match="step sizes"):
            realised_improvement(agent, one, simulator, sizes)
    with pytest.raises(GradlabError, match="there is no direction"):
        realised_improvement(agent, 0 * one, simulator, [0.1])
    with pytest.raises(GradlabError, match=r"expected \[2\]"):
        realised_improvement(agent, torch.ones(3), simulator, [0.1])
    with pytest.raises(GradlabError, match="at least two pairs"):
        realised_improvement(agent, one, simulator, [0.1], episodes=1)
    mean = PolicyGradient(one.expand(4, -1).clone(), "mean", Objective(0.8), per_weight=True)
    with pytest.raises(GradlabError, match="no prediction of the return"):
        realised_improvement(agent, one, simulator, [0.1], reference=mean)
    other = PolicyGradient(one.expand(4, -1).clone(), "other", Objective(0.5))
    with pytest.raises(GradlabError, match="another objective"):
        realised_improvement(agent, one, simulator, [0.1], reference=other)
    given = ParameterReference(one, "given", Objective(0.8))
    assert realised_improvement(agent, given, simulator, [0.1], episodes=2).episodes == 2
    weight = agent.actor.weight.clone()
    realised_improvement(agent, one, simulator, [0.1], episodes=2)
    torch.testing.assert_close(agent.actor.weight, weight, rtol=0, atol=0)
