"""Several actors against loops, closed forms and repetitions."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape import failure_signatures, several_actors, trend
from gradlab.landscape.actors.many_actors import random_spacing
from gradlab.landscape.unseen_optima.hill_numbers import effective_number


def quadratic(shift):
    return lambda obs, act: -((act - obs[:, :2] - shift) ** 2).sum(-1)


def agent_of(*critics):
    return Agent(nn.Identity(), list(critics), [-1.0, -2.0], [1.0, 2.0])


def states(count, seed=0):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


ACTORS = (
    lambda obs: 0.5 * obs[:, :2],
    lambda obs: obs[:, 1:] + 0.1,
    lambda obs: 5 * obs[:, :2],  # leaves the box
    lambda obs: 0.5 * obs[:, :2] + 0.001,
)


def test_every_state_agrees_with_a_loop():
    agent, obs = agent_of(quadratic(0.2)), states(40)
    found = several_actors(agent, obs, ACTORS, radius=0.01)
    low, high = np.array([-1.0, -2.0]), np.array([1.0, 2.0])
    wins = []
    for s, row in enumerate(obs):
        actions = [np.clip(actor(row[None])[0].numpy().astype(float), low, high) for actor in ACTORS]
        values = [-((a - row[:2].numpy() - 0.2) ** 2).sum() for a in actions]
        best = int(np.argmax(values))
        wins.append(best)
        apart = [np.linalg.norm((a - b) / (high - low)) / math.sqrt(2) for a, b in itertools.combinations(actions, 2)]
        assert int(found.winner[s]) == best
        assert float(found.gain[s]) == pytest.approx(values[best] - values[0], abs=1e-5)
        assert float(found.distance[s]) == pytest.approx(np.mean(apart), rel=1e-5)
        assert float(found.duplicate[s]) == pytest.approx(np.mean([d <= 0.01 for d in apart]))
    shares = np.bincount(wins, minlength=4) / len(wins)
    assert [share.value for share in found.win_share] == pytest.approx(shares.tolist())
    used = shares[shares > 0]
    assert found.effective.value == pytest.approx(math.exp(-(used * np.log(used)).sum()))
    assert found.advantage.value == pytest.approx(float(found.gain.mean()))
    assert found.second is None


def test_actors_may_see_the_actions_before_theirs():
    seen = []

    def next_actor(obs, previous):
        seen.append(tuple(previous.shape))
        return previous[:, -1] + 0.1

    found = several_actors(
        agent_of(quadratic(0.0)), states(5), [ACTORS[0], next_actor, next_actor], conditioned=True, radius=0.0
    )
    assert seen == [(5, 1, 2), (5, 2, 2)]
    assert torch.allclose(found.actions[1], torch.minimum(found.actions[0] + 0.1, torch.tensor([1.0, 2.0])))


def noisy_critics(seed, count):
    """Two critics of the same flat truth with independent errors of one standard deviation at each actor's action."""
    noise = torch.randn(2, count, 2, generator=torch.Generator().manual_seed(seed))

    def critic(which):
        # The third number of an observation is the state, the action's sign says which actor it is of.
        return lambda obs, act: noise[which][obs[:, 2].long(), (act[:, 0] > 0).long()]

    obs = torch.zeros(count, 3)
    obs[:, 2] = torch.arange(count)
    agent = Agent(nn.Identity(), [critic(0), critic(1)], [-1.0, -1.0], [1.0, 1.0])
    return agent, obs, [lambda obs: 0 * obs[:, :2] - 0.5, lambda obs: 0 * obs[:, :2] + 0.5]


def test_a_second_critic_sees_the_winners_curse():
    # The maximum of two independent normal errors less the first: E max(0, d) = 1/√π, d ~ N(0, 2).
    agent, obs, actors = noisy_critics(0, 4000)
    found = several_actors(agent, obs, actors, second=1)
    for estimate, truth in (
        (found.advantage, math.pi**-0.5),
        (found.second.advantage, 0.0),
        (found.second.curse, math.pi**-0.5),
    ):
        assert abs(estimate.value - truth) < 4 * estimate.stderr
    assert found.second.agreement.value == pytest.approx(0.5, abs=0.04)
    assert found.second.worse.value == pytest.approx(0.25, abs=0.03)
    own = several_actors(agent, obs, actors, second=lambda obs, act: agent.critics[0](obs, act))
    assert own.second.curse.value == 0.0
    assert own.second.agreement.value == 1.0


def test_intervals_of_the_advantage_and_the_curse_cover():
    held = np.zeros(2)
    repetitions = 200
    for seed in range(repetitions):
        agent, obs, actors = noisy_critics(seed, 48)
        found = several_actors(agent, obs, actors, second=1)
        for i, estimate in enumerate((found.advantage, found.second.curse)):
            low, high = estimate.interval()
            held[i] += low <= math.pi**-0.5 <= high
    assert ((held / repetitions >= 0.9) & (held / repetitions <= 0.985)).all()


@pytest.mark.parametrize("shares", [[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.7, 0.1, 0.1, 0.05, 0.05]])
def test_the_effective_number_is_covered(shares):
    p = torch.tensor(shares)
    truth = math.exp(-float(torch.special.xlogy(p, p).sum()))
    generator = torch.Generator().manual_seed(1)
    held = 0
    for _ in range(200):
        low, high = effective_number(torch.multinomial(p, 32, True, generator=generator), len(p)).interval()
        held += low <= truth <= high
    assert held >= 0.9 * 200


def test_one_actor_and_equal_actors():
    agent, obs = agent_of(quadratic(0.0)), states(20)
    alone = several_actors(agent, obs, [ACTORS[0]])
    assert alone.effective.value == 1.0
    assert alone.gain.eq(0).all()
    assert math.isnan(alone.diversity.value)
    same = several_actors(agent, obs, [ACTORS[0]] * 3)
    assert same.winner.eq(0).all()
    assert same.duplicates.value == 1.0
    assert same.effective.interval()[1] > 1.2


@pytest.mark.parametrize(("size", "mean"), [(1, 1 / 3), (2, 0.5214054331), (3, 0.6617071822)])
def test_random_spacing_is_robbins_constant(size, mean):
    assert random_spacing(size) == pytest.approx(mean / math.sqrt(size), rel=1e-6)


def test_random_spacing_in_many_coordinates():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 200_000, 8, generator=generator)
    apart = (a - b).norm(dim=-1) / 8**0.5
    assert random_spacing(8) == pytest.approx(float(apart.mean()), abs=4 * float(apart.std()) / 200_000**0.5)


def test_signatures_are_judged_by_whole_intervals():
    agent, obs = agent_of(quadratic(0.0)), states(200)
    alike = failure_signatures(several_actors(agent, obs, [ACTORS[0], ACTORS[3]]))
    assert alike[0].verdict == "present"
    apart = failure_signatures(several_actors(agent, obs, [lambda o: o[:, :2] + 0.3, lambda o: -o[:, :2] + 0.1]))
    assert apart[0].verdict == "absent"
    always = failure_signatures(several_actors(agent, obs, [lambda o: o[:, :2], lambda o: o[:, :2] + 1.0]))
    assert always[1].verdict == "present"
    assert failure_signatures(several_actors(agent, obs, [ACTORS[0]])) == ()
    rising = [Estimate(1.0 + i, 0.05, 50) for i in range(5)]
    flat = [Estimate(1.0, 0.05, 50) for _ in range(5)]
    steps = [0, 1, 2, 3, 4]
    several = several_actors(agent, obs, ACTORS)
    assert failure_signatures(several, rising, steps)[2].verdict == "present"
    assert failure_signatures(several, flat, steps)[2].verdict == "unresolved"
    assert failure_signatures(several, rising[::-1], steps)[2].verdict == "absent"
    assert "threshold" in str(always[1])


def test_a_trend_is_covered():
    generator = np.random.default_rng(0)
    steps = np.array([1.0, 3.0, 6.0, 10.0, 12.0])
    truth = 2 + 0.1 * steps
    # The relative change is about the mean of a straight line at the weighted centre, here with equal weights.
    change = 0.1 * 11 / truth.mean()
    held = 0
    for _ in range(200):
        seen = truth + 0.1 * generator.normal(size=5)
        low, high = trend(steps, [Estimate(v, 0.1, 50) for v in seen]).interval()
        held += low <= change <= high
    assert held >= 180


def test_wrong_input_is_refused_in_one_line():
    agent, obs = agent_of(quadratic(0.0)), states(4)

    def wrong(match, call):
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    wrong("actors: none", lambda: several_actors(agent, obs, []))
    wrong("actors: none", lambda: several_actors(agent, obs, ACTORS[0]))
    wrong("actor 1: shape", lambda: several_actors(agent, obs, [ACTORS[0], lambda obs: obs]))
    wrong("actor 0: NaN", lambda: several_actors(agent, obs, [lambda obs: obs[:, :2] * math.nan]))
    wrong("not a tensor", lambda: several_actors(agent, obs, [lambda obs: None]))
    wrong("critic: NaN", lambda: several_actors(agent_of(lambda obs, act: act.sum(-1) * math.nan), obs, ACTORS))
    wrong("critic: 3", lambda: several_actors(agent, obs, ACTORS, second=3))
    wrong("second: answered", lambda: several_actors(agent, obs, ACTORS, second=lambda obs, act: obs))
    wrong("radius", lambda: several_actors(agent, obs, ACTORS, radius=-1.0))
    wrong("episode", lambda: several_actors(agent, obs, ACTORS, episode=torch.zeros(3)))
    wrong("trend", lambda: trend([0, 1], [Estimate(1.0, 0.1, 5)] * 2))
    wrong("trend", lambda: trend([0, 1, 1], [Estimate(1.0, 0.1, 5)] * 3))
    wrong("trend", lambda: trend([0, 1, 2], [Estimate(1.0, math.nan, 5)] * 3))
