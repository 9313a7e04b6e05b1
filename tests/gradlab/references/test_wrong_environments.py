"""A reference asked of the wrong environment says so in one line; a state that breaks is left out, never averaged."""

from __future__ import annotations

import copy
import re
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator, States
from gradlab.simulation.gate import NOT_FINITE


def actor(obs: int, act: int) -> nn.Module:
    layers = nn.Sequential(nn.Linear(obs, 8), nn.Tanh(), nn.Linear(8, act), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layers


def agent(obs: int, act: int, *, stated: bool = True) -> Agent:
    return Agent(actor(obs, act), [], [-1] * act, [1] * act, 0.95, obs_size=obs if stated else None)


ARM = """
<mujoco><option timestep="0.02"/><worldbody><body><joint name="a" type="hinge" axis="0 0 1" damping="0.1"/>
<geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.01"/></body></worldbody>
<actuator><motor joint="a" ctrlrange="-1 1" ctrllimited="true" gear="0.01"/></actuator></mujoco>
"""


@pytest.mark.parametrize("stated", [True, False])
def test_another_model_or_version_than_the_checkpoint_was_trained_on(stated):
    """Both sizes are named, whether the agent states its own or only its first layer knows."""
    # Ant-v5 sees contact forces, as Ant-v4 did not; and an option leaves them out.
    cases = [
        ("Ant-v5", agent(27, 8, stated=stated)),
        (lambda: gymnasium.make("Ant-v5", include_cfrc_ext_in_observation=False), agent(105, 8, stated=stated)),
        ("Hopper-v5", agent(17, 3, stated=stated)),
        ("Hopper-v5", agent(11, 6, stated=stated)),
    ]
    sizes = [(105, 27), (27, 105), (11, 17), (3, 6)]
    for (kind, trained), (has, takes) in zip(cases, sizes, strict=True):
        reference = SimulatorReference(kind, horizon=2)
        with pytest.raises(GradlabError) as caught:
            reference.simulator.visit(trained, 1)
        message = str(caught.value)
        assert "\n" not in message
        for size in (has, takes):
            assert re.search(rf"\b{size}\b", message)
        assert "environment it was trained on?" in message


def test_a_model_of_ones_own_fits_who_was_trained_on_it_and_nobody_else(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(ARM)

    class Arm(gymnasium.envs.mujoco.MujocoEnv):
        metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"], "render_fps": 25}  # noqa: RUF012

        def __init__(self):
            space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
            super().__init__(str(path), 2, space)

        def step(self, action):
            self.do_simulation(action, self.frame_skip)
            obs = np.concatenate([self.data.qpos, self.data.qvel])
            return obs, -float(obs @ obs) - 0.1 * float(np.square(action).sum()), False, False, {}

        def reset_model(self):
            self.set_state(self.np_random.normal(size=1), self.np_random.normal(size=1))
            return np.concatenate([self.data.qpos, self.data.qvel])

    reference = SimulatorReference(Arm, horizon=10)
    fits = agent(2, 1)
    states = reference.simulator.visit(fits, 3, seed=0, episodes=1, max_steps=10)
    found = reference.cotangent(fits, states)
    assert found.valid.all()
    with pytest.raises(GradlabError, match="2 numbers, but this agent takes 10"):
        reference.cotangent(agent(10, 1), states)


class Derived(ReacherEnv):
    """MuJoCo, but not gymnasium's own class."""


@pytest.mark.parametrize("kind", ["HalfCheetah-v5", "Pendulum-v1", Derived])
@pytest.mark.parametrize("stochastic", [False, True])
def test_an_unstable_state_is_told_and_left_out_and_the_others_are_as_without_it(kind, stochastic):
    simulator = Simulator(kind)
    obs, act = simulator.obs_size, simulator.action_size
    space = simulator._env.action_space
    unit = [-1.0] * act, [1.0] * act
    if stochastic:
        body = nn.Sequential(actor(obs, 2 * act), nn.Hardtanh(-1.5, 1.0))
        who = Agent(body, [], *unit, 0.95, policy=Gaussian(), env_low=space.low, env_high=space.high)
    else:
        who = Agent(actor(obs, act), [], *unit, 0.95, env_low=space.low, env_high=space.high)
    reference = SimulatorReference(simulator, horizon=2, noise_seeds=2)
    states = simulator.visit(who, 3, seed=0, episodes=1, max_steps=8)
    broken = copy.deepcopy(states.snapshots[1])
    if kind == "HalfCheetah-v5":
        broken.state[10:19] = 1e12
    elif kind == "Pendulum-v1":
        held = broken if isinstance(broken, dict) else vars(broken)
        name = next(name for name, value in held.items() if isinstance(value, np.ndarray))
        held[name][...] = np.nan
    else:
        broken.data.qvel[:] = 1e12
    snapshots = (states.snapshots[0], broken, states.snapshots[2])
    mixed = States(states.obs, snapshots, states.episode, states.step, states.environment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, found = reference.cotangent(who, states), reference.cotangent(who, mixed)
        values = reference.values(who, mixed)
    assert found.diagnostics["reason"][1] == NOT_FINITE
    assert not found.valid[1]
    assert torch.isnan(found.mean[1]).all()
    assert torch.isnan(found.stderr[1]).all()
    assert torch.isnan(values.mean[1])
    others = [0, 2]
    assert torch.equal(found.mean[others].nan_to_num(-9.0), whole.mean[others].nan_to_num(-9.0))
    assert torch.isfinite(values.mean[others]).all()


@pytest.mark.parametrize("kind", ["HalfCheetah-v5", "Ant-v5"])
def test_a_lane_that_diverged_before_is_told_of_when_it_does_again(kind):
    """The engine's own counters are set back whenever it resets a state: they never exceed one."""
    lanes = Simulator(kind)._lanes
    lanes.reset([0, 1, 2])
    good = lanes.capture(0)
    bad = copy.deepcopy(good)
    positions = lanes.env.model.nq
    bad.state[1 + positions : 1 + positions + lanes.env.model.nv] = 1e12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for order in ([0, 1, 0], [1, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1]):
            lanes.load([(good, bad)[i] for i in order])
            for _ in range(2):
                lanes.step(np.zeros((len(order), lanes.env.model.nu)), np.ones(len(order), dtype=bool))
                assert lanes.unstable().tolist() == [bool(i) for i in order]


def test_wrappers_are_named_whether_honoured_or_not():
    def running():
        return wrappers.NormalizeObservation(wrappers.RescaleAction(gymnasium.make("Reacher-v5"), -0.5, 0.5))

    with pytest.raises(GradlabError, match=r"NormalizeObservation.*freeze.*honoured: RescaleAction") as caught:
        SimulatorReference(running)
    assert "\n" not in str(caught.value)
