"""Learned surrogates whose faults are planted, and ones that are really learned."""

import math

import pytest
import torch

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import fit_surrogate, function_agent, surrogate_quality
from gradlab.worlds.landscapes import SineRamp

LOW, HIGH = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
ANCHOR = torch.tensor([[[0.171171]]], dtype=torch.float64)
CUT = float(SineRamp().q(ANCHOR)[0, 0])


def exact(obs, act, previous):
    world = SineRamp()
    return torch.maximum(world.q(act), world.q(previous).amax(1))


def quality(learned, **settings):
    agent, obs = function_agent(SineRamp().q, LOW, HIGH)
    return surrogate_quality(agent, obs, learned, ANCHOR, samples=512, **settings)


def test_the_exact_surrogate_is_without_error_and_flat():
    found = quality(exact)
    for name in ("anchor_error", "anchor_squared", "box_error", "box_squared", "relative_error", "below", "shortfall"):
        assert getattr(found, name).value == 0.0
    for name in ("slope", "towards", "escapes", "ascent_gain", "spurious", "missed", "on_plateau"):
        assert getattr(found, name).value == 0.0
    assert found.vanishing.value == 1.0
    assert found.optima.value == 1.0
    line = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[:, None]
    flat = float((SineRamp().q(line) <= CUT).double().mean())
    assert found.plateau.value == pytest.approx(flat, abs=4 / 512)


def test_shifted_surrogates_are_off_by_the_shift():
    # The peak stands 1.334234 − τ = .267 above the plateau, the slack is a hundredth of the range of about 2.1: what is
    # .3 too low is below τ everywhere.
    for shift, below in ((0.3, 0.0), (-0.3, 1.0)):
        found = quality(lambda obs, act, previous, by=shift: exact(obs, act, previous) + by)
        assert found.anchor_error.value == pytest.approx(shift)
        assert found.box_error.value == pytest.approx(shift)
        assert found.box_squared.value == pytest.approx(shift**2)
        assert found.below.value == below
        assert (found.shortfall.value > 0) == (shift < 0)
        lowest = float(SineRamp().values(SineRamp()._stationary(-1.0)).min())
        assert found.relative_error.value == pytest.approx(0.3 / (1.334234 - lowest), rel=1e-4)


def test_a_slope_to_the_best_leads_off_the_plateau():
    # A tent over the best optimum: every plateau action is led there.
    found = quality(lambda obs, act, previous: 1.4 - 0.3 * (act[:, 0] - 0.837838).abs())
    assert found.towards.value == 1.0
    assert found.escapes.value == 1.0
    assert found.vanishing.value == 0.0
    assert found.ascent_gain.value == pytest.approx(1.0, abs=1e-3)
    assert (found.optima.value, found.spurious.value, found.on_plateau.value) == (1.0, 0.0, 0.0)
    # Its slope over the root mean square of Q's: (1/2)∫(3π cos 3πa + .4)² da = 9π²/2 + .16 + 0.
    assert found.slope.value == pytest.approx(0.3 / math.sqrt(4.5 * math.pi**2 + 0.16), rel=0.02)


def test_a_slope_away_from_the_best_is_told():
    found = quality(lambda obs, act, previous: 1.4 - 0.3 * act[:, 0])
    assert found.escapes.value == 0.0
    assert found.towards.value < 0.2
    assert (found.optima.value, found.spurious.value, found.missed.value, found.on_plateau.value) == (1, 1, 1, 1)


def test_a_planted_bump_is_spurious():
    def bumpy(obs, act, previous):
        return exact(obs, act, previous) + 0.5 * (-(act[:, 0] + 0.5).square() / 0.02).exp()

    found = quality(bumpy)
    assert (found.optima.value, found.spurious.value, found.missed.value, found.on_plateau.value) == (2, 1, 0, 1)


def several_states(count=12):
    """Q with its peak at a place that depends on the state; the first actor is far from it."""

    def critic(obs, act):
        return (-((act - 0.6 * obs).square().sum(-1)) / 0.4).exp()

    agent = Agent(torch.nn.Linear(1, 2, dtype=torch.float64), [critic], [-1.0] * 2, [1.0] * 2)
    obs = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return agent, obs, torch.full((1, count, 2), -0.6, dtype=torch.float64)


def test_learning_brings_the_error_down_and_depends_on_where_it_is_trained():
    agent, obs, previous = several_states()
    before = torch.random.get_rng_state()
    little, more, anchored = (
        fit_surrogate(agent, obs, previous, steps=steps, at_anchors=share, batch=128, width=32)
        for steps, share in ((20, 0.5), (500, 0.5), (500, 1.0))
    )
    assert torch.equal(before, torch.random.get_rng_state())
    found = [surrogate_quality(agent, obs, net, previous, samples=64, starts=16) for net in (little, more, anchored)]
    assert found[1].box_squared.value < 0.5 * found[0].box_squared.value
    # Trained where the actors are, it is good there alone.
    assert found[2].anchor_squared.value < found[2].box_squared.value
    assert found[2].box_squared.value > found[1].box_squared.value
    assert all(each.box_error.samples == len(obs) for each in found)
    again = fit_surrogate(agent, obs, previous, steps=20, batch=128, width=32)
    assert torch.equal(again.layers[0].weight, little.layers[0].weight)
    assert all(not parameter.requires_grad for parameter in more.parameters())
    assert agent.actor.weight.grad is None


def test_constant_critics_have_nothing_to_measure_beyond_the_error():
    agent, obs = function_agent(lambda a: 0.0 * a.sum(-1) + 1.0, LOW, HIGH)
    found = surrogate_quality(agent, obs, lambda o, a, p: 0.0 * a.sum(-1) + 1.25, ANCHOR, samples=16, starts=8)
    assert found.box_error.value == 0.25
    assert found.plateau.value == 1.0
    assert math.isnan(found.escapes.value)
    assert math.isnan(found.relative_error.value)
    assert found.optima.value == 0.0


def test_wrong_input_is_refused_in_one_line():
    agent, obs = function_agent(SineRamp().q, LOW, HIGH)

    def wrong(match, call):
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    wrong("previous: no actions", lambda: surrogate_quality(agent, obs, exact, ANCHOR[:0]))
    wrong("previous: shape", lambda: surrogate_quality(agent, obs, exact, ANCHOR[0]))
    wrong("previous: NaN", lambda: surrogate_quality(agent, obs, exact, ANCHOR * math.nan))
    wrong("NaN", lambda: surrogate_quality(agent, obs, lambda o, a, p: a.sum(-1) * math.nan, ANCHOR))
    wrong("radius", lambda: surrogate_quality(agent, obs, exact, ANCHOR, radius=0.0))
    wrong("samples", lambda: surrogate_quality(agent, obs, exact, ANCHOR, samples=0))
    wrong("previous: no actions", lambda: fit_surrogate(agent, obs, ANCHOR[:0]))
    wrong("steps", lambda: fit_surrogate(agent, obs, ANCHOR, steps=0))
    wrong("learning_rate", lambda: fit_surrogate(agent, obs, ANCHOR, learning_rate=0.0))
