"""The simulator reference within a budget: the same numbers however it was cut up, killed or threaded."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Softmax, SquashedGaussian
from gradlab.references import SimulatorReference
from gradlab.references.rollouts.assembly import NOT_CHOSEN, OUT_OF_ROLLOUTS, OUT_OF_TIME
from gradlab.references.rollouts.noise import policy_noise
from gradlab.references.rollouts.spending import Progress
from gradlab.references.softmax import softmax_cotangent
from gradlab.simulation import Simulator


def reacher_agent(seed: int = 0) -> Agent:
    actor = nn.Linear(10, 4)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return Agent(actor, [], [-1, -1], [1, 1], policy=SquashedGaussian(), entropy=0.1)


@pytest.fixture(scope="module")
def reacher() -> Simulator:
    return Simulator("Reacher-v5", threads=1)


@pytest.fixture(scope="module")
def states(reacher):
    return reacher.visit(reacher_agent(), 6, seed=1, episodes=3)


def same(one, other) -> None:
    assert torch.equal(one.mean.nan_to_num(7.0), other.mean.nan_to_num(7.0))
    assert torch.equal(one.stderr.nan_to_num(7.0), other.stderr.nan_to_num(7.0))
    for name in ("value", "growth", "chain_error", "disagreement"):
        assert torch.equal(one.diagnostics[name].nan_to_num(7.0), other.diagnostics[name].nan_to_num(7.0)), name
    assert one.diagnostics["reason"] == other.diagnostics["reason"]
    assert one.diagnostics["noise_seeds"].tolist() == other.diagnostics["noise_seeds"].tolist()
    assert one.diagnostics["steps"] == other.diagnostics["steps"]


def test_the_same_for_any_number_of_threads(reacher, states):
    agent = reacher_agent()
    one, three = (
        SimulatorReference(simulator, horizon=4, stderr_target=0.0, rollouts=4000).cotangent(agent, states)
        for simulator in (reacher, Simulator("Reacher-v5", threads=3))
    )
    same(one, three)
    assert one.valid.all()


def test_the_same_rollouts_for_any_number_of_lanes_but_for_rounding(reacher, states):
    agent = reacher_agent()
    one, other = (
        SimulatorReference(simulator, horizon=4).cotangent(agent, states)
        for simulator in (reacher, Simulator("Reacher-v5", lanes=7))
    )
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(one.diagnostics["value"], other.diagnostics["value"], rtol=1e-12, atol=1e-13)


def test_a_state_has_its_noise_whatever_is_simulated_along_with_it(reacher, states):
    agent = reacher_agent()
    pilot = reacher.pilot(agent)
    pairs = [(3, 0), (3, 5), (0, 2), (3, 2)]
    positions, indices = torch.tensor(pairs).T
    noise = policy_noise(pilot, 4, 9, positions, indices)
    for column, (position, index) in enumerate(pairs):
        alone = policy_noise(pilot, 4, 9, torch.tensor([position]), torch.tensor([index]))
        assert torch.equal(noise[:, column], alone[:, 0])
    # 72 standard normal numbers of one stream, and no two columns alike.
    assert torch.corrcoef(noise.flatten(1)[:, ::2].T).fill_diagonal_(0).abs().max() < 0.999
    assert not torch.equal(noise, policy_noise(pilot, 5, 9, positions, indices))
    whole = SimulatorReference(reacher, horizon=3).cotangent(agent, states)
    first = SimulatorReference(reacher, horizon=3).cotangent(agent, states[:2])
    torch.testing.assert_close(whole.mean[:2], first.mean, rtol=1e-6, atol=1e-8)


class Clock:
    """Seconds go by with rollouts alone."""

    def __init__(self, simulator: Simulator, monkeypatch, price: float = 0.01) -> None:
        self.now, self.rollouts, plain = 0.0, 0, simulator.rollouts

        def rollouts(agent, states, first_actions, **options):
            found = plain(agent, states, first_actions, **options)
            self.now += price * found.value.numel()
            self.rollouts += found.value.numel()
            return found

        monkeypatch.setattr(simulator, "rollouts", rollouts)

    def __call__(self) -> float:
        return self.now


def test_seconds_are_not_exceeded_and_what_there_was_no_time_for_is_left_out(reacher, states, monkeypatch):
    clock, agent = Clock(reacher, monkeypatch), reacher_agent()
    reference = SimulatorReference(reacher, horizon=3, seconds=9.0, clock=clock)
    seen: list[Progress] = []
    found = reference.cotangent(agent, states, progress=seen.append)
    # 33 rollouts a noise and 8 noises: blocks of 5 and 8 noises take 1.65 and 2.64 seconds, one of 16 would take 5.28.
    assert 0 < clock.now <= 9.0
    assert found.diagnostics["left_out"] == sum(not ok for ok in found.valid)
    assert 0 < found.diagnostics["left_out"] < 6
    assert set(found.diagnostics["reason"]) == {"", OUT_OF_TIME}
    assert seen[-1].fraction == 1.0
    assert seen[-1].rollouts == clock.rollouts
    whole = SimulatorReference(reacher, horizon=3).cotangent(agent, states)
    assert torch.equal(whole.mean[found.valid], found.mean[found.valid])


def test_progress_rises_to_the_end(reacher, states):
    for options in ({}, {"stderr_target": 0.3}, {"stderr_target": 0.0, "rollouts": 3300}):
        seen: list[Progress] = []
        found = SimulatorReference(reacher, horizon=3, **options).cotangent(
            reacher_agent(), states, progress=seen.append
        )
        fractions = [report.fraction for report in seen]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        assert 0 < fractions[0] < 1
        assert len(seen) > 3
        assert seen[-1].states_begun == seen[-1].states == 6
        assert seen[-1].steps == found.diagnostics["steps"]
        assert seen[-1].widest > 0


def test_a_cap_on_rollouts_and_one_on_states(reacher, states):
    agent = reacher_agent()
    found = SimulatorReference(reacher, horizon=3, rollouts=700).cotangent(agent, states)
    assert 0 < int(found.diagnostics["rollouts"].sum()) <= 700
    assert OUT_OF_ROLLOUTS in found.diagnostics["reason"]
    three = SimulatorReference(reacher, horizon=3, states=3).cotangent(agent, states)
    assert three.valid.tolist() == [False, True, False, True, False, True]
    assert three.diagnostics["reason"][0] == NOT_CHOSEN
    assert three.diagnostics["left_out"] == 3
    whole = SimulatorReference(reacher, horizon=3).cotangent(agent, states)
    torch.testing.assert_close(whole.mean[three.valid], three.mean[three.valid], rtol=1e-6, atol=1e-8)


# Resuming -------------------------------------------------------------------------------------------------------

KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
from test_simulator_budget import *
reacher = Simulator("Reacher-v5", threads=2)
agent = reacher_agent()
states = reacher.visit(agent, 6, seed=1, episodes=3)
def wait(progress):
    print(progress.rollouts, flush=True)
    if progress.rollouts > 1000:
        time.sleep(300)
SimulatorReference(reacher, horizon=4, stderr_target=0.0, rollouts=4000).cotangent(
    agent, states, resume={path!r}, progress=wait
)
"""


def test_a_killed_run_goes_on_without_repeating_or_losing_anything(reacher, states, tmp_path, monkeypatch):
    path, agent = tmp_path / "kept.rollouts", reacher_agent()
    program = KILLED.format(folder=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        made = 0
        for line in process.stdout:
            made = int(line)
            if made > 1000:
                break
        process.send_signal(signal.SIGKILL)
    assert made > 1000
    settings = {"horizon": 4, "stderr_target": 0.0, "rollouts": 3000}
    whole = SimulatorReference(reacher, **settings).cotangent(agent, states)
    clock = Clock(reacher, monkeypatch)
    resumed = SimulatorReference(reacher, **settings).cotangent(agent, states, resume=path)
    same(resumed, whole)
    assert clock.rollouts == int(whole.diagnostics["rollouts"].sum()) - made
    again = SimulatorReference(reacher, **settings).cotangent(agent, states, resume=path)
    same(again, whole)
    assert clock.rollouts == int(whole.diagnostics["rollouts"].sum()) - made
    # More may be asked for later; of another agent nothing is taken.
    more = SimulatorReference(reacher, horizon=4, stderr_target=0.0, rollouts=4000)
    same(more.cotangent(agent, states, resume=path), more.cotangent(agent, states))
    cases = (
        ("other agent", lambda: more.cotangent(reacher_agent(1), states, resume=path)),
        ("other states", lambda: more.cotangent(agent, states[:3], resume=path)),
        ("other settings", lambda: SimulatorReference(reacher, horizon=5).cotangent(agent, states, resume=path)),
    )
    for message, attempt in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_an_interrupted_run_of_a_deterministic_policy_goes_on(reacher, tmp_path):
    actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.fill_(0.05)
    agent = Agent(actor, [], [-1, -1], [1, 1])
    states = reacher.visit(agent, 40, seed=2, episodes=4)

    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.rollouts > 200:
            raise StopError

    reference = SimulatorReference(reacher, horizon=3)
    with pytest.raises(StopError):
        reference.cotangent(agent, states, resume=tmp_path / "kept", progress=stop)
    same(reference.cotangent(agent, states, resume=tmp_path / "kept"), reference.cotangent(agent, states))


# Other policies -------------------------------------------------------------------------------------------------


def test_a_softmax_policy_sums_over_actions():
    actor = nn.Linear(4, 2)
    with torch.no_grad():
        actor.weight.fill_(0.1), actor.bias.zero_()
    agent = Agent(actor, [], [0, 0], [1, 1], policy=Softmax(), entropy=0.05)
    simulator = Simulator("CartPole-v1")
    states = simulator.visit(agent, 4, seed=0, episodes=2)
    reference = SimulatorReference(simulator, horizon=12, noise_seeds=16)
    found = reference.cotangent(agent, states)
    assert found.valid.all()
    assert found.samples == 16
    pilot = simulator.pilot(agent)
    pairs = torch.cartesian_prod(torch.arange(16), torch.arange(4))
    noise = policy_noise(pilot, 0, 12, pairs[:, 1], pairs[:, 0]).unflatten(1, (16, 4)).transpose(0, 1)
    apart = softmax_cotangent(simulator, agent, states, horizon=12, noise=noise, entropy=0.05)
    torch.testing.assert_close(found.mean, apart.mean)
    torch.testing.assert_close(found.stderr, apart.stderr)
    torch.testing.assert_close(found.diagnostics["value"], apart.values.mean(0))
    torch.testing.assert_close(reference.values(agent, states).mean, apart.values.mean(0))
    more = SimulatorReference(simulator, horizon=12, stderr_target=0.1, rollouts=2000).cotangent(agent, states)
    assert more.diagnostics["noise_seeds"].max() > 8


def test_values_at_actions_are_those_of_a_plain_average(reacher, states):
    agent = reacher_agent()
    reference = SimulatorReference(reacher, horizon=4, noise_seeds=3)
    pilot = reacher.pilot(agent)
    action = torch.linspace(-0.5, 0.5, 12).reshape(6, 2)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(6))
    noise = policy_noise(pilot, 0, 4, pairs[:, 1], pairs[:, 0]).unflatten(1, (3, 6)).transpose(0, 1)
    value = reacher.returns(agent, states, action.expand(3, 6, 2), horizon=4, noise=noise, entropy=0.1)
    found = reference.values(agent, states, action)
    torch.testing.assert_close(found.mean, value.mean(0))
    torch.testing.assert_close(found.stderr, value.std(0) / 3**0.5)
    with pytest.raises(GradlabError, match=r"actions: shape \(5, 2\); expected \[6, 2\]"):
        reference.values(agent, states, action[:5])


def test_wrong_limits_are_one_line(reacher, states):
    cases = [
        ({"rollouts": 0}, "rollouts"),
        ({"states": 0}, "states"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"stderr_target": -0.1}, "stderr_target"),
        ({"stderr_target": 0.0}, "has no end of its own"),
        ({"seed": -1}, "seed"),
    ]
    for options, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            SimulatorReference(reacher, horizon=2, **options)
        assert "\n" not in str(caught.value)
    few = SimulatorReference(reacher, horizon=2, noise_seeds=4, stderr_target=0.1)
    with pytest.raises(GradlabError, match="begins with at least 8"):
        few.cotangent(reacher_agent(), states)
