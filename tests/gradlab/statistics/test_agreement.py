"""Two ways to one gradient: the test's own level and power, and real tasks where pathwise and score-function meet."""

from __future__ import annotations

import gymnasium
import pytest
import torch
from torch import Tensor, nn

from gradlab import Agent, GradlabError, PolicyGradient, cross_check, policy_gradient
from gradlab.objective import Objective
from gradlab.policies import Around, Gaussian
from gradlab.references import MonteCarloReference, SimulatorReference
from gradlab.references.smoothed import SmoothedSimulatorReference
from gradlab.simulation import Simulator, visit_discounted


def sample(count: int, generator: torch.Generator, shift: float = 0.0, scale: float = 1.0) -> PolicyGradient:
    spread = scale * torch.linspace(3, 0.01, 120).double()
    noise = torch.randn(count, 120, generator=generator, dtype=torch.float64) * spread
    return PolicyGradient(1 + shift + noise, "example", Objective())


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_more_parameters_than_episodes_are_no_obstacle(shift):
    generator = torch.Generator().manual_seed(1)
    agree = held = along = overlap = 0
    for seed in range(100):
        found = cross_check(sample(64, generator), sample(200, generator, shift, 3.0), directions=4, seed=seed)
        agree += found.agree
        low, high = found.difference_squared.interval()
        held += low <= 120 * shift**2 <= high
        along += found.projections[0].agree
        overlap += found.overlapping
    assert held >= 87
    if shift:
        assert agree == 0
        assert along == 0
    else:
        assert agree >= 87
        assert along >= 87
        assert overlap >= 0.95 * 500


def test_a_wrong_scale_that_hides_from_the_whole_vectors_is_seen_along_the_gradient():
    """A gradient a fifth too long among the noise of 200 parameters; and of equal ones 5 % are told apart, not more."""
    generator = torch.Generator().manual_seed(4)
    truth = torch.full((200,), 200**-0.5).double()
    spread = 0.3 * torch.logspace(0, -2, 200).double()

    def drawn(count: int, scale: float) -> PolicyGradient:
        noise = torch.randn(count, 200, generator=generator, dtype=torch.float64) * spread
        return PolicyGradient(scale * truth + noise, "example", Objective())

    equal = [cross_check(drawn(12, 1.0), drawn(64, 1.0), directions=1) for _ in range(150)]
    longer = [cross_check(drawn(12, 1.0), drawn(64, 1.2), directions=1) for _ in range(60)]
    assert sum(not one.agree for one in equal) <= 16  # 7.5 expected, with a standard deviation of 2.7
    assert sum(not one.agree for one in longer) >= 54
    assert sum(one.vectors_agree for one in longer) >= 30
    hidden = next(one for one in longer if one.vectors_agree and not one.agree)
    assert str(hidden).startswith("disagree along the gradient: ")
    assert str(next(one for one in equal if one.agree)).startswith("agree along the gradient and as whole vectors: ")


def test_the_squared_difference_is_unbiased():
    generator = torch.Generator().manual_seed(2)
    values = torch.tensor(
        [
            cross_check(sample(8, generator), sample(20, generator, 0.2), directions=1).difference_squared.value
            for _ in range(200)
        ]
    )
    assert abs(float(values.mean()) - 120 * 0.04) < 4 * float(values.std()) / 200**0.5


def test_gradients_of_different_things_are_refused():
    generator = torch.Generator().manual_seed(0)
    one = sample(8, generator)
    with pytest.raises(GradlabError, match="divided by the weight"):
        cross_check(one, PolicyGradient(one.samples, "mean", Objective(), per_weight=True))
    with pytest.raises(GradlabError, match="120 against 3 parameters"):
        cross_check(one, PolicyGradient(one.samples[:, :3], "other", Objective()))
    soft = PolicyGradient(one.samples, "soft", Objective(entropy=0.1))
    with pytest.raises(GradlabError, match="another objective"):
        cross_check(one, soft)
    allowed = cross_check(one, soft, allow_mismatch=True)
    assert "mismatch allowed" in allowed.difference_squared.caveat
    with pytest.raises(GradlabError, match="at least two episodes"):
        PolicyGradient(one.samples[:1], "one", Objective())
    broken = one.samples.clone()
    broken[3, 0] = torch.nan
    with pytest.raises(GradlabError, match="NaN or infinite in 1 of 8 samples, first 3"):
        PolicyGradient(broken, "broken", Objective())


# Real tasks ----------------------------------------------------------------------------------------------------


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(
                gain * torch.randn(parameter.shape, generator=generator).double() * parameter.shape[-1] ** -0.5
            )
    return layers


class WithLogStd(nn.Module):
    def __init__(self, body: nn.Module, size: int) -> None:
        super().__init__()
        self.body, self.log_std = body, nn.Parameter(torch.full((size,), -1.0).double())

    def forward(self, obs: Tensor) -> Tensor:
        mean = self.body(obs)
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)


@pytest.mark.slow
def test_pathwise_and_score_function_gradients_agree_on_reacher():
    """Derivatives of returns at visited states against scores along whole episodes: nothing in common but the task."""
    simulator = Simulator(lambda: gymnasium.make("Reacher-v5", max_episode_steps=10))
    actor = WithLogStd(network(10, 2, 0.5), 2)
    agent = Agent(actor, [], [-1, -1], [1, 1], 0.95, policy=Gaussian(), obs_size=10)
    reference = SimulatorReference(simulator, horizon=10, respect_time_limit=True, noise_seeds=4)
    pathwise = policy_gradient(agent, reference, visit_discounted(simulator, agent, 48, seed=1))
    score = MonteCarloReference(simulator, 10, respect_time_limit=True).gradient(agent, 1024)
    assert pathwise.objective == score.objective == Objective(0.95, horizon=10)
    found = cross_check(pathwise, score)
    assert found.agree
    assert found.overlapping >= 31
    # The check could have failed: it would have seen a difference of the gradient's own size.
    assert found.largest < 0.9
    half = PolicyGradient(score.samples / 2, score.name, score.objective)
    assert not cross_check(pathwise, half).projections[0].overlap


@pytest.mark.slow
def test_smoothed_differences_and_score_functions_agree_where_the_return_jumps():
    """InvertedPendulum-v5 pays until it falls. The policy's own noise makes its expectation smooth."""
    simulator = Simulator(lambda: gymnasium.make("InvertedPendulum-v5", max_episode_steps=20))
    agent = Agent(network(4, 1, 0.3), [], [-1], [1], 0.95, policy=Around(0.3), env_low=[-3], env_high=[3], obs_size=4)
    states = visit_discounted(simulator, agent, 128, 2, seed=1)
    options = {"horizon": 20, "respect_time_limit": True}
    smoothed = policy_gradient(agent, SmoothedSimulatorReference(simulator, 0.1, draws=8, **options), states)
    at_states = policy_gradient(agent, MonteCarloReference(simulator, draws=48, **options), states)
    score = MonteCarloReference(simulator, **options).gradient(agent, 1024)
    for one in (smoothed, at_states):
        found = cross_check(one, score)
        assert found.agree
        assert found.overlapping >= 31
        assert found.largest < 0.9
    with pytest.raises(GradlabError, match=r"100% of the weight .* closed"):
        policy_gradient(agent, SimulatorReference(simulator, **options), states)
