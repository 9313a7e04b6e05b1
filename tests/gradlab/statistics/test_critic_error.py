"""A critic's error in value and in gradient: closed forms on a regulator, leave-one-out by hand, and coverage."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from gymnasium.wrappers import TimeLimit
from torch import Tensor, nn

from gradlab import Agent, GradlabError, critic_error
from gradlab.objective import Objective
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.references import CriticReference, ReferenceCotangent, SimulatorReference
from gradlab.statistics.critic_gradient import gradient_accuracy
from gradlab.statistics.critic_value import critic_values
from gradlab.statistics.value_accuracy import value_accuracy
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

HORIZON = 8


def regulator(policy_std: float = 0.0) -> LinearQuadratic:
    return LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.9, K=0.4, policy_std=policy_std, horizon=HORIZON)


@pytest.fixture(scope="module")
def reference() -> SimulatorReference:
    return SimulatorReference(lambda: TimeLimit(LinearQuadraticEnvironment(regulator(), 50.0), 60), horizon=HORIZON)


class Wrong(nn.Module):
    """1.5 Q + 2 + 0.3 s − a: values, their scale and the gradient are all off."""

    def __init__(self, true: nn.Module) -> None:
        super().__init__()
        self.true = true

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return 1.5 * self.true(obs, act) + 2 + 0.3 * obs[:, 0] - act[:, 0]


def wrong_agent() -> Agent:
    agent = regulator().agent(action_bound=50.0)
    agent.critics = (Wrong(agent.critics[0]),)
    return agent


def test_on_a_regulator_every_number_is_the_closed_form(reference):
    world, agent = regulator(), wrong_agent()
    states = reference.simulator.visit(agent, 24, seed=3, episodes=6, max_steps=6)
    actions = torch.linspace(-2, 2, 24).double()[:, None]
    found = critic_error(agent, reference, states, actions=actions)
    policy = -0.4 * states.obs
    true, there = world.q(states.obs, policy), world.q(states.obs, actions)
    torch.testing.assert_close(found.value.true, true, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.replay.true, there, rtol=1e-9, atol=1e-9)
    for part, values, act in ((found.value, true, policy), (found.replay, there, actions)):
        said = 1.5 * values + 2 + 0.3 * states.obs[:, 0] - act[:, 0]
        torch.testing.assert_close(part.critic, said)
        assert part.bias.value == pytest.approx(float((said - values).mean()), rel=1e-8)
        assert part.rmse.value == pytest.approx(float((said - values).square().mean().sqrt()), rel=1e-8)
        both = torch.stack([said, values])
        assert part.correlation.value == pytest.approx(float(torch.corrcoef(both)[0, 1]), rel=1e-8)
        assert part.slope.value == pytest.approx(float(torch.cov(both)[0, 1] / said.var()), rel=1e-8)
    r = world.action_gradient(states.obs, policy)
    c = 1.5 * r - 1
    gradient = found.gradient
    assert gradient.bias_squared.value == pytest.approx(float((c - r).square().sum(-1).mean()), rel=1e-5)
    assert gradient.relative_bias_squared.value == pytest.approx(float((c - r).square().sum() / r.square().sum()), 1e-5)
    assert gradient.cosine.value == pytest.approx(float((c * r).sum() / (c.norm() * r.norm())), rel=1e-5)
    assert gradient.norm_ratio.value == pytest.approx(float(c.norm() / r.norm()), rel=1e-5)
    assert gradient.mean_cosine.value == pytest.approx(float((c * r).sign().mean()), rel=1e-5)
    torch.testing.assert_close(gradient.per_state["norm_ratio"], (c / r).abs()[:, 0], rtol=1e-5, atol=0)
    assert found.wrong_direction.value == pytest.approx(float((c * r < 0).double().mean()), abs=1e-6)
    assert (found.states, found.episodes, gradient.open) == (24, 6, 24)
    assert found.value.bias.samples == 6


def test_a_perfect_critic_has_no_error_and_a_shifted_one_no_gradient_error(reference):
    agent = regulator().agent(action_bound=50.0)
    states = reference.simulator.visit(agent, 12, seed=1, episodes=6, max_steps=5)
    found = critic_error(agent, reference, states)
    assert abs(found.value.bias.value) < 1e-9
    assert found.value.mean_squared_error.value < 1e-18
    assert found.value.slope.value == pytest.approx(1)
    assert found.value.correlation.value == pytest.approx(1)
    assert found.gradient.cosine.value == pytest.approx(1)
    assert found.wrong_direction.value < 1e-6
    assert found.replay is None
    shift = agent.critics[0]
    agent.critics = (lambda obs, act: shift(obs, act) + 7,)
    shifted = critic_error(agent, reference, states)
    assert shifted.value.bias.value == pytest.approx(7)
    assert shifted.gradient.relative_bias_squared.value < 1e-9


def test_what_was_asked_before_is_not_simulated_again(reference):
    agent = wrong_agent()
    states = reference.simulator.visit(agent, 8, seed=3, episodes=4, max_steps=6)
    given = reference.cotangent(agent, states)
    again, anew = critic_error(agent, given, states), critic_error(agent, reference, states)
    assert again.value.bias == anew.value.bias
    assert again.gradient.cosine == anew.gradient.cosine
    with pytest.raises(GradlabError, match=r"pass values=SimulatorReference"):
        critic_error(agent, given, states, actions=torch.zeros(8, 1))
    longer = SimulatorReference(reference.simulator, horizon=20)
    values = critic_error(agent, given, states, values=longer).value.true
    torch.testing.assert_close(values, longer.values(agent, states).mean)
    notes = critic_error(agent, given, states, values=longer).notes
    assert [note.split(":")[0] for note in notes] == ["gradient", "value"]


def test_entropy_is_on_both_sides_of_a_stochastic_policy():
    world = regulator(policy_std=0.3)
    agent = world.agent(action_bound=50.0)
    agent.entropy = 0.2
    reference = SimulatorReference(
        lambda: TimeLimit(LinearQuadraticEnvironment(world, 50.0), 60), horizon=1, noise_seeds=32
    )
    states = reference.simulator.visit(agent, 12, seed=3, episodes=6, max_steps=6)
    # One reward: Q(s, a) is −(s² + 0.1 a²), a quadratic critic knows it, and the bonus of the first action is counted.
    one = replace_horizon(world, 1).agent(action_bound=50.0)
    agent.critics = one.critics
    found = critic_error(agent, reference, states)
    low, high = found.value.bias.interval()
    assert low <= 0 <= high
    assert abs(found.value.bias.value) < 0.1
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(0.3)
    exact = -(states.obs[:, 0] ** 2) * (1 + 0.1 * 0.16) - 0.1 * 0.09 + 0.2 * entropy
    torch.testing.assert_close(found.value.critic, exact, rtol=0, atol=0.03)
    without = SimulatorReference(reference.simulator, horizon=1, entropy=False, noise_seeds=8)
    with pytest.raises(GradlabError, match="another objective"):
        critic_error(agent, without, states)
    allowed = critic_error(agent, without, states, allow_mismatch=True)
    assert "mismatch allowed" in allowed.value.bias.caveat
    assert "mismatch allowed" in allowed.wrong_direction.caveat


def replace_horizon(world: LinearQuadratic, horizon: int) -> LinearQuadratic:
    return LinearQuadratic(
        A=world.A, B=world.B, Q=world.Q, R=world.R, gamma=world.gamma, K=world.K, policy_std=0.3, horizon=horizon
    )


@pytest.mark.parametrize(
    ("policy", "size"),
    [(Gaussian(), 2), (SquashedGaussian(), 2), (Softmax(), 2)],
    ids=["gaussian", "squashed", "softmax"],
)
def test_the_critics_own_expectation_equals_a_large_sample(policy, size):
    coordinates = size // 2 if policy.continuous else size
    head = torch.tensor([0.3, -0.4]).double()
    agent = Agent(
        nn.Identity(),
        [lambda obs, act: obs[:, 0] * act[:, 0] + act.square().sum(-1)],
        [-1] * coordinates,
        [1] * coordinates,
        policy=policy,
        head=lambda actor, obs: head.to(obs).expand(len(obs), -1),
        entropy=0.1,
    )
    obs = torch.tensor([[1.0], [-2.0]]).double()
    mean, stderr = critic_values(agent, obs)
    noise = policy.noise((200_000, 2, coordinates), torch.Generator().manual_seed(1), head)
    act, log_prob = policy.sample(head.expand(2, -1), noise)
    values = obs[:, 0] * act[..., 0] + act.square().sum(-1) - 0.1 * log_prob
    sampled, error = values.double().mean(0), values.double().std(0) / 200_000**0.5
    assert ((mean - sampled).abs() < 4 * (stderr.square() + error.square()).sqrt() + 1e-5).all()


def test_intervals_leave_whole_episodes_out():
    generator = torch.Generator().manual_seed(0)
    q, v = torch.randn(2, 10, generator=generator, dtype=torch.float64)
    sigma, episode = torch.full((10,), 0.2).double(), torch.tensor([4, 4, 4, 0, 0, 7, 7, 7, 7, 1])
    found = value_accuracy(q, 0 * q, v, sigma, episode)

    def jackknife(statistic) -> float:
        left = torch.tensor([statistic(episode != label) for label in (0, 1, 4, 7)])
        return float((3 / 4 * (left - left.mean()).square().sum()).sqrt())

    assert found.bias.stderr == pytest.approx(jackknife(lambda keep: float((q - v)[keep].mean())))
    squared = jackknife(lambda keep: float((q - v)[keep].square().mean()) - 0.04)
    assert found.mean_squared_error.stderr == pytest.approx(squared)

    def slope(keep: Tensor) -> float:
        both = torch.cov(torch.stack([q[keep], v[keep]]))
        return float(both[0, 1] / both[0, 0])

    assert found.slope.stderr == pytest.approx(jackknife(slope))


def test_states_without_a_true_value_are_left_out_and_counted():
    q, v = torch.ones(4), torch.tensor([1.0, math.nan, 3.0, 5.0])
    found = value_accuracy(q, 0 * q, v, 0 * q, torch.arange(4))
    assert found.bias.value == pytest.approx(-2)
    assert found.notes == ("value: 1 of 4 states left out, their simulation was not finite",)
    with pytest.raises(GradlabError, match="no state has a finite true value"):
        value_accuracy(q, 0 * q, torch.full((4,), math.nan), 0 * q, torch.arange(4))


def test_closed_gates_are_left_out_of_the_gradient_and_named():
    mean = torch.ones(4, 2).double()
    truth = ReferenceCotangent(
        mean,
        0 * mean,
        "truth",
        Objective(),
        torch.tensor([True, False, True, True]),
        0,
        {"reason": ["", "why", "", ""]},
    )
    found, wrong = gradient_accuracy(replace(truth, mean=2 * mean), truth, torch.arange(4))
    assert found.open == 3
    assert found.notes == ("gradient: 1 of 4 states left out, truth's gate is closed there (why)",)
    assert torch.isnan(found.per_state["cosine"][1])
    assert wrong.samples == 3
    with pytest.raises(GradlabError, match="gate is closed at all 4 states"):
        gradient_accuracy(truth, replace(truth, valid=torch.zeros(4, dtype=torch.bool)), torch.arange(4))


def test_a_noisy_reference_is_told():
    generator = torch.Generator().manual_seed(0)
    mean, stderr = torch.randn(64, 2, generator=generator).double(), torch.full((64, 2), 0.5).double()
    truth = ReferenceCotangent(mean, stderr, "truth", Objective())
    found, _ = gradient_accuracy(replace(truth, stderr=0 * stderr), truth, torch.arange(64))
    assert "is its own noise" in found.notes[0]
    # c is r itself: what is left of ‖c − r‖² is minus the noise that was to be expected.
    assert found.bias_squared.value == pytest.approx(-0.5)


def test_a_critic_without_error_may_have_none_and_nothing_is_relative_to_noise():
    """Noise is taken off the squares: about half of the intervals of a right critic begin below zero, not above."""
    generator = torch.Generator().manual_seed(1)
    r = torch.randn(24, 2, generator=generator, dtype=torch.float64)
    stderr, held = torch.full((24, 2), 0.3).double(), 0
    for _ in range(40):
        noise = 0.3 * torch.randn(24, 2, generator=generator, dtype=torch.float64)
        truth = ReferenceCotangent(r + noise, stderr, "truth", Objective())
        found, _ = gradient_accuracy(replace(truth, mean=r, stderr=0 * stderr), truth, torch.arange(24))
        low, high = found.relative_bias_squared.interval()
        held += low <= 0 <= high
    assert held >= 33
    # Squares that are their noise's: no ratio, rather than one from 3e-305 to 3e303.
    drowned = ReferenceCotangent(0.3 * r, stderr, "truth", Objective())
    found, _ = gradient_accuracy(replace(drowned, stderr=0 * stderr), drowned, torch.arange(24))
    for estimate in (found.relative_bias_squared, found.norm_ratio, found.cosine):
        assert math.isnan(estimate.value)
        assert estimate.ends is None


def test_wrong_input_is_refused_in_one_line(reference):
    agent = wrong_agent()
    states = reference.simulator.visit(agent, 4, seed=3, episodes=2, max_steps=6)
    with pytest.raises(GradlabError, match=r"has no method cotangent"):
        critic_error(agent, object(), states)
    with pytest.raises(GradlabError, match=r"has 4 states, 2 were given"):
        critic_error(agent, reference.cotangent(agent, states), states[:2])
    with pytest.raises(GradlabError, match=r"actions: shape \(4, 2\); expected \[4, 1\]"):
        critic_error(agent, reference, states, actions=torch.zeros(4, 2))
    with pytest.raises(GradlabError, match="tells no true values"):
        critic_error(agent, CriticReference().cotangent(agent, states.obs), states)
    agent.critics = (lambda obs, act: act[:, 0] / 0,)
    with pytest.raises(GradlabError, match=r"critic: NaN or infinite at"):
        critic_error(agent, reference, states)


@pytest.mark.slow
@pytest.mark.parametrize(("episodes", "noise"), [(8, 0.5), (24, 0.0)])
def test_intervals_hold_the_truth(episodes: int, noise: float):
    """Episodes have effects of their own; the truth is that of the distribution they come from."""
    generator, repetitions, m = torch.Generator().manual_seed(5), 150, 3

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    spread, error = 5.0, 0.5
    bias = 1 + 0.7 * 5 - 5
    squared = bias**2 + 0.09 * spread + error
    r2, c2 = m * 2.25, 0.64 * m * 2.25 + 0.8 * m + m * 0.61
    cross = 0.8 * r2 + 0.5 * m
    truth = {
        "bias": bias,
        "mean_squared_error": squared,
        "rmse": squared**0.5,
        "slope": 0.7 * spread / (0.49 * spread + error),
        "correlation": 0.7 * spread / math.sqrt(spread * (0.49 * spread + error)),
        "bias_squared": c2 - 2 * cross + r2,
        "relative_bias_squared": (c2 - 2 * cross + r2) / r2,
        "cosine": cross / math.sqrt(c2 * r2),
        "norm_ratio": math.sqrt(c2 / r2),
    }
    held = dict.fromkeys(truth, 0)
    episode = torch.arange(episodes).repeat_interleave(4)
    states = len(episode)
    sigma, none = torch.full((states,), noise).double(), torch.zeros(states, m).double()
    for _ in range(repetitions):
        v = 5 + 2 * normal(episodes)[episode] + normal(states)
        q = 1 + 0.7 * v + 0.5 * normal(episodes)[episode] + 0.5 * normal(states)
        values = value_accuracy(q, 0 * sigma, v + sigma * normal(states), sigma, episode)
        r = 1 + 0.5 * normal(episodes, m)[episode] + normal(states, m)
        c = 0.8 * r + 0.5 + 0.6 * normal(states, m)
        blur = sigma[:, None].expand(-1, m)
        reference = ReferenceCotangent(r + blur * normal(states, m), blur, "truth", Objective())
        gradient, _ = gradient_accuracy(ReferenceCotangent(c, none, "critic", Objective()), reference, episode)
        for name, value in truth.items():
            estimate = getattr(values if hasattr(values, name) else gradient, name)
            low, high = estimate.interval()
            held[name] += low <= value <= high
    # Binomial: 0.95 ± 4 · 0.018.
    assert all(0.88 <= hits / repetitions <= 1.0 for hits in held.values()), held
