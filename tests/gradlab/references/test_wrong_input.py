"""Input of the wrong kind is refused in one line by whatever is given it, before anything is simulated."""

from __future__ import annotations

import json
import math
import struct
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian
from gradlab.references import (
    BootstrappedReference,
    MonteCarloReference,
    SimulatorReference,
    SmoothedSimulatorReference,
    policy_gradient,
)
from gradlab.references.rollouts.log import RolloutLog
from gradlab.references.softmax import softmax_cotangent
from gradlab.simulation import Simulator, States, chain_rule, visit_discounted

NAN = math.nan
ACTIONS = torch.zeros(3, 1)


@pytest.fixture(scope="module")
def pendulum():
    return Simulator("Pendulum-v1")


def pendulum_agent(policy=None, outputs=1):
    actor = nn.Sequential(nn.Linear(3, outputs), nn.Tanh())
    nn.init.constant_(actor[0].weight, 0.1)
    nn.init.zeros_(actor[0].bias)
    return Agent(actor, [], [-2], [2], policy=policy)


@pytest.fixture(scope="module")
def states(pendulum):
    return pendulum.visit(pendulum_agent(), 3, seed=0, episodes=1, max_steps=4)


def refused(attempt, message):
    with pytest.raises(GradlabError, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)


OPTIONS = [
    *[(SimulatorReference, {"horizon": value}) for value in (2.5, "10", None, NAN, True)],
    *[(SimulatorReference, {"steps": value}) for value in (1e-5, (), "ab")],
    *[(SimulatorReference, {"noise_seeds": value}) for value in (2.5, "8", None)],
    *[(SimulatorReference, {"seed": value}) for value in (1.5, "a", None)],
    *[(SimulatorReference, {"tolerance": value}) for value in (NAN, -1, "x", None)],
    *[(SimulatorReference, {"seconds": value}) for value in ("5", -1)],
    *[(SimulatorReference, {"states": value}) for value in (2.5, "3")],
    *[(SimulatorReference, {"rollouts": value}) for value in (1.5, "3")],
    *[(SimulatorReference, {"stderr_target": value}) for value in ("x", NAN)],
    *[(SimulatorReference, {name: "no"}) for name in ("second_way", "entropy", "respect_time_limit")],
    *[(SmoothedSimulatorReference, {"radius": 0.1, "seconds": value}) for value in (-1, NAN, "x")],
    *[(SmoothedSimulatorReference, {"radius": 0.1, "draws": value}) for value in (2.5, "x")],
    *[(SmoothedSimulatorReference, {"radius": 0.1, name: "no"}) for name in ("entropy", "respect_time_limit")],
    *[(SmoothedSimulatorReference, {"radius": 0.1, "seed": 0.5}), (SmoothedSimulatorReference, {"radius": None})],
    *[(MonteCarloReference, {"draws": value}) for value in (8.5, "16", None)],
    *[(MonteCarloReference, {"smoothing": value}) for value in ("x", -0.1, None)],
    *[(BootstrappedReference, {name: 1.5}) for name in ("steps", "bias_states", "bias_horizon")],
]


@pytest.mark.parametrize(("reference", "options"), OPTIONS)
def test_options_of_references(pendulum, reference, options):
    refused(lambda: reference(pendulum, **options), f"^{list(options)[-1]}: .*; ")


def test_numbers_of_a_simulator(pendulum):
    agent = pendulum_agent()
    for lanes in (2.5, "x", None):
        refused(lambda lanes=lanes: Simulator("Pendulum-v1", lanes=lanes), "lanes: ")
    for threads in (2.5, "x"):
        refused(lambda threads=threads: Simulator("Pendulum-v1", threads=threads), "threads: ")
    wrong = {
        "count": (2.5, "3"),
        "seed": (0.5, None),
        "exploration": (NAN, "x"),
        "episodes": (1.5,),
        "max_steps": (2.5, "x"),
        "stochastic": ("no",),
    }
    for name, values in wrong.items():
        for value in values:
            options = {"count": 2, name: value}
            refused(lambda options=options: pendulum.visit(agent, **options), f"{name}: ")
            if name not in ("exploration", "episodes"):
                refused(lambda options=options: pendulum.episodes(agent, **options), f"{name}: ")
            if name in ("seed", "max_steps", "stochastic"):
                given = {name: value}
                refused(lambda given=given: visit_discounted(pendulum, agent, 2, **given), f"{name}: ")


def test_what_rollouts_are_given(pendulum, states):
    agent, drawing = pendulum_agent(), pendulum_agent(Gaussian(), 2)
    for horizon in (2.5, "x", None):
        refused(lambda horizon=horizon: pendulum.returns(agent, states, ACTIONS, horizon=horizon), "horizon: ")
    cases = [
        (agent, torch.zeros(3, 1, dtype=torch.cfloat), {}, "first_actions: the numbers are complex"),
        (agent, "left", {}, "first_actions: 'left'"),
        (agent, ACTIONS, {"entropy": "a"}, "entropy: 'a'"),
        (agent, ACTIONS, {"respect_time_limit": "no"}, "respect_time_limit: 'no'"),
        (drawing, ACTIONS, {"noise": "loud"}, "noise: 'loud'"),
        (None, ACTIONS, {}, "agent: None"),
        (agent.actor, ACTIONS, {}, "agent: Sequential, but what its outputs mean"),
    ]
    for who, first, options, message in cases:
        refused(
            lambda who=who, first=first, options=options: pendulum.returns(who, states, first, horizon=2, **options),
            message,
        )
    expected = pendulum.returns(agent, states, ACTIONS, horizon=2)
    for same in (ACTIONS.tolist(), ACTIONS.numpy(), ACTIONS.int()):
        assert torch.equal(pendulum.returns(agent, states, same, horizon=2), expected)
    reference = SimulatorReference(pendulum, 2)
    assert torch.equal(reference.values(agent, states, ACTIONS.tolist()).mean, expected)


def test_states_that_are_none_or_do_not_fit(pendulum, states):
    agent, drawing = pendulum_agent(), pendulum_agent(Gaussian(), 2)
    narrow = States(states.obs[:, :2], states.snapshots, states.episode, states.step, states.environment)
    bad = [
        (states.obs, "an observation is not all of a state"),
        (states[[]], "there are none"),
        (narrow, r"shape \(3, 2\)"),
    ]
    for given, message in bad:
        attempts = [
            lambda given=given: pendulum.returns(agent, given, ACTIONS[: len(given)], horizon=2),
            lambda given=given: chain_rule(pendulum, agent, given, horizon=2),
            lambda given=given: SimulatorReference(pendulum, 2).cotangent(agent, given),
            lambda given=given: SimulatorReference(pendulum, 2).values(agent, given),
            lambda given=given: SmoothedSimulatorReference(pendulum, 0.1, 2).cotangent(agent, given),
            lambda given=given: MonteCarloReference(pendulum, 2, draws=8).cotangent(drawing, given),
        ]
        for attempt in attempts:
            refused(attempt, message)
    for index in ([9], 9.5, torch.ones(2, dtype=torch.bool)):
        refused(lambda index=index: states[index], "no selecting .* of 3")


def test_the_chain_rule_a_parameter_gradient_and_a_sum_over_actions(pendulum, states):
    agent = pendulum_agent()
    refused(lambda: chain_rule(pendulum, agent, states, horizon=2.5), "horizon: 2.5")
    refused(lambda: chain_rule(pendulum, agent, states, horizon=2, steps=1e-5), "steps: 1e-05")
    refused(lambda: chain_rule(pendulum, agent, states, horizon=2, tolerance=NAN), "tolerance: nan")
    refused(lambda: policy_gradient(None, SimulatorReference(pendulum, 2), states), "agent: None")
    refused(lambda: policy_gradient(agent, "truth", states), "reference: 'truth'")
    refused(lambda: policy_gradient(agent, SimulatorReference(pendulum, 2), "here"), "states: 'here'")
    refused(lambda: policy_gradient(agent, SimulatorReference(pendulum, 2), states, closed=NAN), "closed: nan")
    refused(lambda: policy_gradient(agent, SimulatorReference(pendulum, 2), states, weights="even"), "weights: 'even'")
    refused(lambda: softmax_cotangent(pendulum, None, states, horizon=2, noise=ACTIONS), "agent: None")
    refused(lambda: MonteCarloReference(pendulum, 2).gradient(pendulum_agent(Gaussian(), 2), 2.5), "episodes: 2.5")
    refused(
        lambda: MonteCarloReference(pendulum, 2).gradient(pendulum_agent(Gaussian(), 2), 8, estimator="best"),
        "estimator: 'best'",
    )


def test_smoothing_wider_than_the_box(pendulum, states):
    refused(
        lambda: SmoothedSimulatorReference(pendulum, 1e300, 2).cotangent(pendulum_agent(), states),
        r"radius: 1e\+300 is wider than the agent's box of actions, 4",
    )
    refused(
        lambda: MonteCarloReference(pendulum, 2, draws=8, smoothing=5.0).cotangent(pendulum_agent(), states),
        "smoothing: 5 is wider",
    )


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, obs: Tensor) -> Tensor:
        raise LookupError("no gain for this\nor anything")


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, obs: Tensor) -> Tensor:
        return self.layer(obs)


def test_actors_that_break_or_give_another_size(pendulum):
    for actor, message in (
        (Breaking(), r"the actor cannot take its 3-number observations \(LookupError: no gain for this\)"),
        (Wide(), r"the actor gives \(2, 2\) for two observations; Deterministic of 1 action\(s\) needs \(2, 1\)"),
    ):
        refused(lambda actor=actor: pendulum.visit(Agent(actor, [], [-2], [2]), 2), message)


def test_functions_that_make_no_environment():
    def broken():
        raise OSError("File arm.xml does not exist\nnor anything like it")

    for make, message in (
        (lambda: None, r"returned NoneType, which has no unwrapped"),
        (lambda: 3, r"returned int"),
        (broken, r"environment function broken: failed \(OSError: File arm.xml does not exist\)"),
        (lambda needed: needed, r"failed \(TypeError: .*missing 1 required positional argument"),
    ):
        refused(lambda make=make: Simulator(make), message)


def test_files_and_listeners(pendulum, states, tmp_path):
    reference, agent = SimulatorReference(pendulum, 2), pendulum_agent()
    refused(lambda: reference.cotangent(agent, states, resume=3), "resume: 3; name a file")
    refused(lambda: reference.cotangent(agent, states, resume=""), "resume: ''")
    refused(lambda: reference.cotangent(agent, states, progress=3), "progress: 3; give a function")
    # A sound frame that is not what the file must begin with.
    for payload in (json.dumps([1]).encode(), b"\xff"):
        file = tmp_path / f"{len(payload)}"
        file.write_bytes(b"gradlab-rollouts-1\n" + struct.pack("<QI", len(payload), zlib.crc32(payload)) + payload)
        refused(lambda file=file: RolloutLog(file, {"agent": "1"}), "a file of another kind")


def test_numbers_of_numpy_and_torch_are_as_good(pendulum, states):
    agent = pendulum_agent()
    plain = SimulatorReference(pendulum, 3).cotangent(agent, states).mean
    for horizon in (np.int64(3), torch.tensor(3), 3.0):
        assert torch.equal(SimulatorReference(pendulum, horizon).cotangent(agent, states).mean, plain)


def test_an_actor_that_rounds_its_output_is_measured_all_the_same(pendulum, states):
    class Rounding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, obs: Tensor) -> Tensor:
            return torch.tanh(self.layer(obs)).float()

    found = SimulatorReference(pendulum, 2).cotangent(Agent(Rounding(), [], [-2], [2]), states)
    assert found.mean.dtype == torch.float64
