"""Predicted sensitivities: regulators' gains, the maximiser's own slope, saturated coordinates, and correlations."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import observed_smoothness, predictions_along, sensitivity, sensitivity_predictions
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator
from gradlab.worlds import LinearQuadratic

OBS, ACT = 4, 3


def regulator(K=None, seed=0, actions=2):
    generator = torch.Generator().manual_seed(seed)
    A, B = (0.25 * torch.randn(s, generator=generator, dtype=torch.float64) for s in ((4, 4), (4, actions)))
    eye = torch.eye(4, dtype=torch.float64)
    R = torch.diag(torch.linspace(0.1, 0.5, actions, dtype=torch.float64))
    return LinearQuadratic(A=A, B=B, Q=eye, R=R, gamma=0.9, K=0.1 * B.mT if K is None else K)


def optimal(world):
    """By policy iteration."""
    for _ in range(50):
        world = LinearQuadratic(A=world.A, B=world.B, Q=world.Q, R=world.R, gamma=world.gamma, K=world.improved_gain())
    return world


def states(count, size=OBS, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_prediction_is_one_step_of_policy_iteration():
    world = regulator()
    found = sensitivity_predictions(world.agent(), states(6))
    torch.testing.assert_close(found.predicted, -world.improved_gain().expand(6, -1, -1))
    torch.testing.assert_close(found.actor, -world.K.expand(6, -1, -1))
    assert found.predicted_norm.tolist() == pytest.approx([float(torch.linalg.svdvals(world.improved_gain())[0])] * 6)
    assert found.ratio.tolist() == pytest.approx([world.sensitivity_ratio()] * 6)
    assert bool((found.predicted_norm <= found.ratio * (1 + 1e-12)).all())
    expected = float((world.improved_gain() * world.K).sum() / (world.improved_gain().norm() * world.K.norm()))
    assert found.cosine.tolist() == pytest.approx([expected] * 6)
    assert bool(found.free.all())


def test_of_the_optimal_gain_the_prediction_is_the_actor_and_with_one_action_the_slack_is_one():
    several = sensitivity_predictions(optimal(regulator()).agent(), states(5))
    torch.testing.assert_close(several.predicted, several.actor)
    assert several.cosine.tolist() == pytest.approx([1.0] * 5)
    assert bool((several.slack > 1).all())
    single = sensitivity_predictions(optimal(regulator(actions=1)).agent(), states(5))
    torch.testing.assert_close(single.predicted, single.actor)
    assert single.slack.tolist() == pytest.approx([1.0] * 5)
    summary = single.summary()
    assert summary["violated_share"].value == 0.0
    assert summary["valid_share"].value == summary["free_share"].value == 1.0
    # An actor steeper than the bound violates it everywhere.
    world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=1.6)
    steep = sensitivity_predictions(world.agent(), torch.ones(9, 1))
    assert float(steep.slack[0]) == pytest.approx(world.sensitivity_ratio() / 1.6)
    assert steep.summary()["violated_share"].value == 1.0


class Wavy(nn.Module):
    """−½ Σ_i c_i (a_i − f_i(s))² + coupling: its maximiser moves as f does."""

    def forward(self, obs, act):
        apart = act - 0.5 * torch.sin(obs[:, :ACT] * torch.tensor([1.0, 2.0, 3.0]).to(obs))
        form = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 4.0]]).to(obs)
        return -(apart @ form * apart).sum(-1) / 2 - 0.1 * apart.pow(4).sum(-1)


def test_at_the_maximiser_the_prediction_is_its_slope():
    obs = states(6)
    agent = Agent(nn.Linear(OBS, ACT).double(), [Wavy()], [-1.0] * ACT, [1.0] * ACT)

    def best(s):
        return 0.5 * torch.sin(s[:, :ACT] * torch.tensor([1.0, 2.0, 3.0]).double())

    found = sensitivity_predictions(agent, obs, act=best(obs))
    for i in range(6):
        slope = torch.autograd.functional.jacobian(lambda s: best(s[None])[0], obs[i])
        torch.testing.assert_close(found.predicted[i], slope)
    assert bool(found.valid.all())


def test_saturated_coordinates_are_held_fixed():
    hessian = torch.tensor([[-2.0, 0.5, 0.3], [0.5, 1.0, 0.2], [0.3, 0.2, -3.0]], dtype=torch.float64)
    mixed = states(ACT, seed=5)

    class Quadratic(nn.Module):
        def forward(self, obs, act):
            return (act @ hessian * act).sum(-1) / 2 + (act @ mixed * obs).sum(-1)

    agent = Agent(nn.Linear(OBS, ACT).double(), [Quadratic()], [-1.0] * ACT, [1.0] * ACT)
    act = torch.tensor([[0.0, 1.0, 0.2], [0.0, 0.0, 0.0], [0.3, -1.0, 1.0], [1.0, 1.0, -1.0]], dtype=torch.float64)
    found = sensitivity_predictions(agent, states(4), act=act)
    # Q rises along the second coordinate: only where that is saturated is there a maximum's shape.
    assert found.valid.tolist() == [True, False, True, False]
    keep = torch.tensor([0, 2])
    block, rows = hessian[keep][:, keep], mixed[keep]
    expected = torch.zeros(ACT, OBS, dtype=torch.float64)
    expected[keep] = -torch.linalg.solve(block, rows)
    torch.testing.assert_close(found.predicted[0], expected)
    curvature = -float(torch.linalg.eigvalsh(block)[-1])
    assert float(found.ratio[0]) == pytest.approx(float(torch.linalg.svdvals(rows)[0]) / curvature)
    torch.testing.assert_close(found.predicted[2, 0], mixed[0] / 2)
    assert float(found.ratio[2]) == pytest.approx(float(mixed[0].norm()) / 2)
    assert found.predicted[2, 1:].abs().sum() == 0
    assert bool(found.predicted[1].isnan().all())
    assert bool(found.ratio[[1, 3]].isnan().all())
    assert found.summary()["free_share"].value == pytest.approx((2 + 3 + 1) / 12)


def network_agent(activation=nn.SiLU, obs=OBS, act=ACT):
    def net(sizes, last):
        made = nn.Sequential(
            nn.Linear(sizes[0], 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, sizes[1]), *last
        )
        generator = torch.Generator().manual_seed(sizes[0])
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.4, generator=generator)
        return made

    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net((obs + act, 1), [])

        def forward(self, obs, act):
            return self.net(torch.cat([obs, act], -1)) - act.square().sum(-1, keepdim=True)

    return Agent(net((obs, act), [nn.Tanh()]), [Critic()], [-1.0] * act, [1.0] * act)


def test_all_free_it_agrees_with_the_sensitivity_measured():
    agent, obs = network_agent(), states(10)
    found, known = sensitivity_predictions(agent, obs), sensitivity(agent, obs)
    assert bool(found.free.all())
    torch.testing.assert_close(found.ratio, known.ratio, equal_nan=True)
    torch.testing.assert_close(found.actor_norm, known.policy_jacobian)
    assert found.valid.tolist() == known.valid.tolist()
    assert int(found.valid.sum()) > 4
    scaled = sensitivity_predictions(agent, obs, 1e-4)
    torch.testing.assert_close(scaled.predicted, found.predicted, rtol=1e-5, atol=1e-7, equal_nan=True)


def test_correlations_with_what_was_seen():
    agent = network_agent()
    obs = states(240)
    after = obs + 0.01 * states(240, seed=1)
    episode = torch.arange(12).repeat_interleave(20)
    act, next_act = (agent.action(s.float()).detach().double() for s in (obs, after))
    seen = (next_act - act).norm(dim=-1) / (after - obs).norm(dim=-1)
    found = sensitivity_predictions(agent, obs, next_obs=after, observed=seen, episode=episode)
    # Of a short step the change is the Jacobian's, so that it is never more than its norm.
    assert bool((seen <= found.actor_norm * 1.02).all())
    correlations = found.correlations()
    assert set(correlations) == {
        "ratio ~ actor",
        "predicted ~ actor",
        "ratio ~ observed",
        "predicted ~ observed",
        "actor ~ observed",
        "predicted along the step ~ observed",
    }
    assert correlations["actor ~ observed"].value > 0.3
    assert correlations["actor ~ observed"].resolved
    assert all(c.samples == 12 for c in correlations.values())
    step = after - obs
    moved = torch.einsum("bij,bj->bi", found.predicted, step).norm(dim=-1) / step.norm(dim=-1)
    torch.testing.assert_close(found.moved, moved, equal_nan=True)
    assert found.summary()["observed"].samples == 12
    assert len(sensitivity_predictions(agent, obs[:8]).correlations()) == 2
    # Constants have no order.
    flat = sensitivity_predictions(regulator().agent(), obs, observed=seen, episode=episode)
    assert not flat.correlations()["ratio ~ observed"].resolved


def test_along_episodes_of_a_simulator():
    simulator = Simulator("Reacher-v5")
    agent = network_agent(obs=10, act=2)
    runs = simulator.episodes(agent, 6, seed=1, stochastic=False)
    found = predictions_along(agent, runs, time_step=0.02, states=40, seed=3)
    assert len(found.rows) == 40
    assert not bool(runs.last[found.rows].any())
    smooth = observed_smoothness(runs.obs, runs.act, runs.trajectory, time_step=0.02)
    assert torch.equal(found.predictions.observed, smooth.rate[found.rows])
    assert torch.equal(found.predictions.episode, runs.trajectory[found.rows])
    few = predictions_along(agent, runs, time_step=0.02, states=10_000)
    assert len(few.rows) == int((~runs.last).sum())
    assert found.observed.means()["high_frequency_share"].samples == 6


def test_the_live_agent_is_untouched():
    agent, before = network_agent(), torch.random.get_rng_state()
    sensitivity_predictions(agent, states(5)).summary()
    assert torch.equal(before, torch.random.get_rng_state())
    for module in (agent.actor, *agent.critics):
        assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())


def test_wrong_input_is_refused_in_one_line():
    agent, obs = network_agent(), states(6)
    for match, call in [
        ("next_obs: shape", lambda: sensitivity_predictions(agent, obs, next_obs=obs[:4])),
        ("observed: shape", lambda: sensitivity_predictions(agent, obs, observed=torch.zeros(4))),
        ("episode", lambda: sensitivity_predictions(agent, obs, episode=[1])),
        ("act: shape", lambda: sensitivity_predictions(agent, obs, act=torch.zeros(6, 2))),
        ("piecewise linear", lambda: sensitivity_predictions(relu_agent(), obs)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)


def relu_agent():
    class Kinked(nn.Module):
        def forward(self, obs, act):
            return -(act - obs[:, :ACT]).abs().sum(-1)

    return Agent(network_agent().actor, [Kinked()], [-1.0] * ACT, [1.0] * ACT)


def test_a_piecewise_linear_critic_is_measured_at_a_scale():
    found = sensitivity_predictions(relu_agent(), states(30), 0.5)
    assert not math.isnan(float(found.ratio[found.valid].sum()))
    assert found.free.shape == (30, ACT)
