"""Optima of critics against worlds whose true Q is known."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import gap
from gradlab.landscape.truth.phantoms import Verdict, phantom_optima
from gradlab.policies import Gaussian
from gradlab.references import SimulatorReference
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic


def humps(act):
    """Two maxima: 1 at about .5, .7 at about −.5."""
    x = act[..., 0]
    return (-(((x - 0.5) / 0.2) ** 2)).exp() + 0.7 * (-(((x + 0.5) / 0.2) ** 2)).exp()


class Humps(gymnasium.Env):
    """Reward humps(a) + noise·ξ·a; no action moves the state, so that Q^π is the reward and a constant."""

    def __init__(self, noise=0.0):
        self.noise = noise
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)
        self.state = np.zeros(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.standard_normal(1)
        return self.state.copy(), {}

    def step(self, action):
        act = np.asarray(action, dtype=np.float64)
        reward = float(humps(torch.from_numpy(act)))
        if self.noise:
            reward += self.noise * float(self.np_random.standard_normal()) * float(act[0])
        return self.state.copy(), reward, False, False, {}


class At(nn.Module):
    def __init__(self, action):
        super().__init__()
        self.action = nn.Parameter(torch.tensor([action], dtype=torch.float64))

    def forward(self, obs):
        return self.action.expand(len(obs), -1)


class Planted(nn.Module):
    """The true reward and a hump at zero that is not there."""

    def __init__(self, height):
        super().__init__()
        self.height = height

    def forward(self, obs, act):
        return humps(act) + self.height * (-((act[..., 0] / 0.1) ** 2)).exp()


def of_humps(start, height, count=3, **options):
    reference = SimulatorReference(Humps, horizon=4)
    agent = Agent(At(start), [Planted(height)], [-1.0], [1.0], 0.9)
    states = reference.simulator.visit(agent, count, seed=0, episodes=count, max_steps=1)
    return phantom_optima(agent, states, reference, **options)


def test_a_planted_optimum_is_phantom_and_the_true_ones_are_real():
    found = of_humps(-0.5, 1.5)
    assert found.state.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.optimum.tolist() == [0, 1, 2] * 3
    # Highest first: the planted one, then .5, then −.5, which is the actor's own action.
    assert found.by_value.tolist() == [Verdict.PHANTOM, Verdict.REAL, Verdict.NOT_CLAIMED] * 3
    assert found.by_slope.tolist() == [Verdict.PHANTOM, Verdict.REAL, Verdict.REAL] * 3
    later = float(humps(torch.tensor([-0.5], dtype=torch.float64)))
    constant = later * (0.9 + 0.81 + 0.729)
    assert found.actor_true_value.tolist() == pytest.approx([later + constant] * 9, rel=1e-9)
    true = [float(humps(torch.tensor([a], dtype=torch.float64))) for a in (0.0, 0.5, -0.5)]
    assert found.true_value.tolist() == pytest.approx([t + constant for t in true] * 3, abs=1e-5)
    assert found.gain.value.tolist() == pytest.approx([t - later for t in true] * 3, abs=1e-5)
    # What follows is the same whatever the first action was.
    assert found.gain.truncation.tolist() == [0.0] * 9


def test_means_tell_what_is_promised_and_what_is_there():
    found = of_humps(-0.5, 1.5, count=6)
    means = found.means()
    promised, real = float(found.critic_gain[0]), float(found.gain.value[0])
    assert means.promised.value == pytest.approx(promised)
    assert means.real_gain.value == pytest.approx(real)
    assert means.overestimated.value == pytest.approx(promised - real)
    assert means.realised.value == pytest.approx(real / promised)
    # The actor sits on the lowest of the three, so that its own basin promises and gives nothing.
    assert found.own.tolist() == [False, False, True] * 6
    assert means.own_promised.value == pytest.approx(0.0, abs=1e-5)
    assert means.own_real_gain.value == pytest.approx(0.0, abs=1e-5)
    assert means.value_phantom.value == pytest.approx(1 / 2)
    assert means.slope_phantom.value == pytest.approx(1 / 3)
    assert means.value_unresolved.value == means.slope_unresolved.value == 0.0
    assert means.slope_phantom.samples == 6
    low, high = means.slope_phantom.interval()
    assert low < 1 / 3 < high < 1
    assert means.slope_phantom.objective == "γ=0.9, H=4"


def test_a_critic_without_inventions_keeps_its_promises():
    means = of_humps(-0.5, 0.0).means()
    assert means.value_phantom.value == means.slope_phantom.value == 0.0
    # Three episodes without a phantom are no proof that there is none.
    assert means.slope_phantom.interval()[1] > 0.5
    assert means.realised.value == pytest.approx(1.0, abs=1e-6)
    nothing = of_humps(0.5, 0.0).means()
    assert np.isnan(nothing.value_phantom.value)


def test_noise_leaves_verdicts_unresolved():
    reference = SimulatorReference(lambda: Humps(1.5), horizon=2, noise_seeds=4)
    agent = Agent(At(-0.5), [Planted(0.0)], [-1.0], [1.0], 0.9)
    states = reference.simulator.visit(agent, 40, seed=0, episodes=40, max_steps=1)
    found = phantom_optima(agent, states, reference, most=1)
    assert found.optimum.tolist() == [0] * 40
    assert float((found.by_value == Verdict.UNRESOLVED).double().mean()) > 0.5
    assert float((found.by_value == Verdict.PHANTOM).double().mean()) <= 0.025 + 3.5 * (0.025 * 0.975 / 40) ** 0.5
    # The two actions differ by 1, times ξ of the first step alone: what follows is common.
    z = (found.gain.value - 0.3) / (1.5 / 2)
    assert float(z.square().mean()) == pytest.approx(1.0, abs=4 * (2 / 40) ** 0.5)
    assert float(found.gain.stderr.square().mean()) == pytest.approx(1.5**2 / 4, rel=4 * (2 / 120) ** 0.5)
    means = found.means()
    assert means.value_phantom.interval()[1] > means.value_unresolved.value


class Offset(nn.Module):
    """−(a − greedy − offset)², greedy being where the true Q of the regulator is highest."""

    def __init__(self, gain, offset):
        super().__init__()
        self.gain, self.offset = gain, offset

    def forward(self, obs, act):
        return -(act - obs @ -self.gain.T - self.offset).square().sum(-1)


def regulator(K=0.2, horizon=None, gamma=0.9):
    return LinearQuadratic(0.6, 0.5, 1.0, 0.3, gamma, K, horizon=horizon)


@pytest.mark.parametrize(("part", "verdict"), [(0.4, Verdict.REAL), (0.6, Verdict.PHANTOM)])
@pytest.mark.parametrize("radius", [0.02, 0.1])
def test_an_optimum_off_by_half_the_radius_is_where_the_slope_tells(part, verdict, radius):
    world = regulator()
    bound = 3.0
    agent = world.agent(action_bound=bound)
    offset = part * radius * 2 * bound
    critic = Offset(world.improved_gain(), offset)
    agent = Agent(agent.actor, [critic], [-bound], [bound], world.gamma)
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, bound), horizon=80)
    states = reference.simulator.visit(agent, 4, seed=0, episodes=4, max_steps=1)
    found = phantom_optima(agent, states, reference, radius=radius)
    assert found.by_slope.tolist() == [verdict] * 4


@pytest.mark.parametrize("horizon", [6, 12, 40])
def test_real_gains_are_those_of_the_closed_form_within_what_the_horizon_cuts_off(horizon):
    world, bound = regulator(), 3.0
    agent = Agent(
        world.agent(action_bound=bound).actor, [Offset(world.improved_gain(), 1.0)], [-bound], [bound], world.gamma
    )
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, bound), horizon=horizon)
    states = reference.simulator.visit(agent, 6, seed=0, episodes=6, max_steps=1)
    found = phantom_optima(agent, states, reference)
    best = states.obs @ -world.improved_gain().T + 1.0
    own = states.obs @ -world.K.T
    exact = world.q(states.obs, best) - world.q(states.obs, own)
    short = regulator(horizon=horizon)
    counted = short.q(states.obs, best) - short.q(states.obs, own)
    torch.testing.assert_close(found.gain.value, counted, rtol=1e-5, atol=1e-6)
    cut = (exact - counted).abs()
    assert bool((cut <= found.gain.truncation + found.gain.rounding + 1e-9).all())


def test_what_lies_beyond_is_exact_where_rewards_differ_by_a_constant():
    """A state that stays where the first action put it: Δ_∞ = Δ_H + the allowance."""
    world, bound = LinearQuadratic(1.0, 1.0, 1.0, 0.1, 0.9, 0.0), 3.0
    agent = Agent(
        world.agent(action_bound=bound).actor,
        [Offset(torch.zeros(1, 1).double(), 1.0)],
        [-bound],
        [bound],
        0.9,
    )
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, bound), horizon=9)
    states = reference.simulator.visit(agent, 5, seed=0, episodes=5, max_steps=1)
    found = phantom_optima(agent, states, reference)
    s = states.obs.squeeze(-1)
    exact = -0.1 - 0.9 / 0.1 * ((s + 1).square() - s.square())
    gap = (exact - found.gain.value).abs()
    torch.testing.assert_close(gap, found.gain.truncation, rtol=1e-4, atol=1e-6)


def test_a_maximum_on_the_face_of_the_box_is_real():
    world, bound = regulator(), 0.05
    agent = Agent(world.agent(action_bound=bound).actor, [lambda obs, act: world.q(obs, act)], [-bound], [bound], 0.9)
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, bound), horizon=80)
    states = reference.simulator.visit(agent, 6, seed=0, episodes=6, max_steps=1)
    states = states[states.obs.squeeze(-1).abs() > 0.3]
    found = phantom_optima(agent, states, reference)
    assert len(found.state) == len(states) > 2
    assert set(found.by_slope.tolist()) == {Verdict.REAL}


def test_undiscounted_differences_that_last_are_never_resolved():
    world, bound = LinearQuadratic(1.0, 1.0, 1.0, 0.1, 1.0, 0.0, horizon=8), 3.0
    agent = Agent(
        world.agent(action_bound=bound).actor,
        [Offset(torch.zeros(1, 1).double(), 1.0)],
        [-bound],
        [bound],
        1.0,
    )
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, bound), horizon=8)
    states = reference.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=1)
    found = phantom_optima(agent, states, reference)
    assert found.by_value.tolist() == [Verdict.UNRESOLVED] * 3
    assert found.gain.truncation.tolist() == [np.inf] * 3


def test_a_stochastic_policy_is_held_against_its_soft_value():
    reference = SimulatorReference(Humps, horizon=3, noise_seeds=4)

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.tensor([-0.5, -2.0], dtype=torch.float64))

        def forward(self, obs):
            return self.mean.expand(len(obs), -1)

    agent = Agent(Head(), [Planted(1.5)], [-1.0], [1.0], 0.9, policy=Gaussian(), entropy=0.1)
    states = reference.simulator.visit(agent, 2, seed=0, episodes=2, max_steps=1)
    found = phantom_optima(agent, states, reference)
    # The first action alone decides what differs, so that common noise leaves none in the gain.
    assert float(found.gain.stderr.max()) < 1e-12
    assert found.by_value.tolist() == [Verdict.PHANTOM, Verdict.REAL, Verdict.NOT_CLAIMED] * 2
    assert "entropy" in str(found.objective)
    hard = SimulatorReference(reference.simulator, horizon=3, noise_seeds=4, entropy=False)
    with pytest.raises(GradlabError, match="another objective"):
        phantom_optima(agent, states, hard)
    allowed = phantom_optima(agent, states, hard, allow_mismatch=True)
    assert "entropy" in allowed.means().real_gain.caveat


def test_nothing_of_the_callers_is_touched():
    reference = SimulatorReference(Humps, horizon=3, noise_seeds=4)
    actor = nn.Sequential(nn.BatchNorm1d(1), nn.Dropout(0.5), nn.Linear(1, 1), nn.Tanh()).double()
    for parameter in actor.parameters():
        nn.init.constant_(parameter, 0.3)
    agent = Agent(actor, [Planted(1.5)], [-1.0], [1.0], 0.9)
    states = reference.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=1)
    before = {name: value.clone() for name, value in actor.state_dict().items()}
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (phantom_optima(agent, states, reference) for _ in range(2))
    standing = gap(agent, states.obs)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert all(torch.equal(value, before[name]) for name, value in actor.state_dict().items())
    assert all(module.training for module in actor.modules())
    assert all(parameter.grad is None for parameter in actor.parameters())
    # In evaluation mode there is no dropout, so that equal calls give equal answers.
    assert torch.equal(first.critic_gain, second.critic_gain)
    best = first.optimum == 0
    torch.testing.assert_close(first.critic_gain[best], standing.gap)


def test_wrong_input_is_refused_in_one_line():
    reference = SimulatorReference(Humps, horizon=4)
    agent = Agent(At(-0.5), [Planted(1.5)], [-1.0], [1.0], 0.9)
    states = reference.simulator.visit(agent, 2, seed=0, episodes=2, max_steps=1)
    flat = Agent(At(-0.5), [lambda obs, act: 0 * act.sum(-1)], [-1.0], [1.0], 0.9)
    nan = Agent(At(-0.5), [lambda obs, act: torch.nan * act.sum(-1)], [-1.0], [1.0], 0.9)
    short = SimulatorReference(reference.simulator, horizon=1)
    for match, call in [
        ("radius: 0.7", lambda: phantom_optima(agent, states, reference, radius=0.7)),
        ("radius", lambda: phantom_optima(agent, states, reference, radius=0.0)),
        ("most", lambda: phantom_optima(agent, states, reference, most=0)),
        ("critic constant", lambda: phantom_optima(flat, states, reference)),
        ("NaN", lambda: phantom_optima(nan, states, reference)),
        ("horizon: 1", lambda: phantom_optima(agent, states, short)),
        ("critic: 1", lambda: phantom_optima(agent, states, reference, critic=1)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
