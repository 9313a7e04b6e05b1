"""Threads change the time a simulation takes, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import SquashedGaussian
from gradlab.simulation import Simulator, States
from gradlab.simulation.lanes.base import Lanes
from gradlab.simulation.torch_threads import one_torch_thread
from gradlab.simulation.workers import chunks, cores, go_on, spread


def network(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layers


def hopper_agent() -> Agent:
    return Agent(network(11, 6), [], [-1] * 3, [1] * 3, 0.99, policy=SquashedGaussian(), entropy=0.1)


class Numbered(Lanes):
    """Lanes that know how many there are of them and in which threads they were used."""

    def __init__(self, made: list[Numbered] | None = None) -> None:
        super().__init__(None)
        self.made = [] if made is None else made
        self.made.append(self)
        self.threads = set[int]()

    def another(self) -> Numbered:
        return Numbered(self.made)

    def load(self, snapshots):
        raise NotImplementedError

    reset = capture = step = _enter = _leave = load


# Results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["Hopper-v5", "Pendulum-v1"])
def test_results_are_equal_to_the_last_bit_for_any_number_of_threads(task):
    found = []
    for threads in (1, 2, 3):
        simulator = Simulator(task, threads=threads, lanes=24)
        size = simulator.action_size
        agent = Agent(
            network(simulator.obs_size, 2 * size),
            [],
            [-1] * size,
            [1] * size,
            policy=SquashedGaussian(),
            entropy=0.1,
            env_low=simulator._env.action_space.low,
            env_high=simulator._env.action_space.high,
        )
        states = simulator.visit(agent, 7, seed=1, episodes=5, exploration=0.1, max_steps=50)
        generator = torch.Generator().manual_seed(0)
        first = torch.rand(2, 6, 7, size, generator=generator, dtype=torch.float64) - 0.5
        noise = torch.randn(2, 1, 20, 7, size, generator=generator, dtype=torch.float64)
        rolled = simulator.rollouts(agent, states, first, horizon=20, noise=noise, entropy=0.1)
        runs = simulator.episodes(agent, 9, seed=2, max_steps=40)
        found.append((states.obs, states.step, rolled.value, rolled.length, rolled.last_obs, runs.obs, runs.act))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_policy_computes_on_one_torch_thread_whatever_the_caller_has_set(threads):
    counts: list[tuple[int, bool]] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network(3, 1)

        def forward(self, obs: Tensor) -> Tensor:
            counts.append((torch.get_num_threads(), torch.is_grad_enabled()))
            return self.body(obs)

    simulator = Simulator("Pendulum-v1", threads=threads)
    agent = Agent(Counting(), [], [-2], [2])
    before = torch.get_num_threads()
    try:
        for mine in (1, 2, 3):
            torch.set_num_threads(mine)
            pilot = simulator.pilot(agent)
            counts.clear()
            states = simulator.visit(pilot, 40, seed=0, max_steps=20)
            simulator.returns(pilot, states, torch.zeros(40, 1), horizon=3)
            simulator.episodes(pilot, 9, max_steps=3)
            # The first of each call asks whether the actor takes such observations, in the caller's own way.
            assert len(counts) > 9
            assert sum(found != (1, False) for found in counts) <= 3
            assert torch.get_num_threads() == mine
    finally:
        torch.set_num_threads(before)


def test_noise_of_every_shape_belongs_to_its_own_lane():
    simulator = Simulator("Hopper-v5", lanes=5)
    agent = hopper_agent()
    states = simulator.visit(agent, 3, seed=1, max_steps=30)
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(2, 4, 3, 3, generator=generator) - 0.5
    noise = torch.randn(2, 4, 6, 3, 3, generator=generator, dtype=torch.float64)

    def value(act: Tensor, eps: Tensor, which: States) -> Tensor:
        return simulator.returns(agent, which, act, horizon=6, noise=eps, entropy=0.1)

    whole = value(first, noise, states)
    for seed, head, state in np.ndindex(2, 4, 3):
        alone = value(first[seed, head, state][None], noise[seed, head, :, state][:, None], states[[state]])
        torch.testing.assert_close(alone[0], whole[seed, head, state], rtol=1e-9, atol=1e-9)
    shared = value(first, noise[:, :1], states)
    torch.testing.assert_close(shared, value(first, noise[:, :1].expand(2, 4, 6, 3, 3), states), rtol=0, atol=0)
    every = value(first, noise[0, 0, :, :1], states)
    torch.testing.assert_close(every, value(first, noise[0, 0, :, :1].expand(2, 4, 6, 3, 3), states), rtol=0, atol=0)


def test_noise_that_does_not_fit_is_refused_in_one_line():
    simulator = Simulator("Hopper-v5")
    agent = hopper_agent()
    states = simulator.visit(agent, 3, seed=1, max_steps=30)
    first = torch.zeros(4, 3, 3)
    for shape in ((5, 3, 3), (4, 6, 2, 3), (2, 6, 3, 3), (3, 3)):
        with pytest.raises(GradlabError, match=r"noise: shape .* does not broadcast to \(4, 6, 3, 3\)") as caught:
            simulator.returns(agent, states, first, horizon=6, noise=torch.zeros(shape))
        assert "\n" not in str(caught.value)
    assert torch.isfinite(simulator.returns(agent, states, first, horizon=6, noise=torch.zeros(9, 3, 3))).all()


def test_a_lane_that_is_not_finite_changes_no_other_in_any_thread():
    simulator = Simulator("Hopper-v5", threads=2, lanes=8)
    agent = hopper_agent()
    states = simulator.visit(agent, 8, seed=1, max_steps=30)
    first = torch.zeros(4, 8, 3, dtype=torch.float64)
    noise = torch.randn(4, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    sound = simulator.rollouts(agent, states, first, horizon=8, noise=noise)
    first[1, 5] = torch.nan
    noise[2, 3, 6] = torch.nan
    broken = simulator.rollouts(agent, states, first, horizon=8, noise=noise)
    bad = torch.zeros(4, 8, dtype=torch.bool)
    bad[1, 5] = bad[2, 6] = True
    assert torch.isfinite(sound.value).all()
    assert torch.isnan(broken.value[bad]).all()
    assert torch.isnan(broken.last_obs[bad]).all()
    assert torch.equal(broken.value[~bad], sound.value[~bad])
    assert torch.equal(broken.last_obs[~bad], sound.last_obs[~bad])


# Chunks and threads ---------------------------------------------------------------------------------------------


def test_chunks_cover_all_in_order_and_are_as_even_as_can_be():
    for count in (1, 2, 15, 16, 17, 31, 200, 255, 256, 257, 1024, 2047, 2049, 2368, 10_000):
        for least, most in ((16, 128), (4, 128), (16, 7), (1, 1)):
            pieces = chunks(count, least=least, most=most)
            sizes = [piece.stop - piece.start for piece in pieces]
            assert pieces[0].start == 0
            assert pieces[-1].stop == count
            assert all(a.stop == b.start for a, b in pairwise(pieces))
            assert max(sizes) <= most
            assert max(sizes) - min(sizes) <= 1
            if count >= 16 * min(least, most):
                assert len(pieces) % 16 == 0
                assert min(sizes) >= min(least, most) // 2
            elif count >= least <= most:
                assert min(sizes) >= least


def test_every_thread_has_lanes_of_its_own_and_results_come_in_order():
    first = Numbered()
    crew = [first, first.another(), first.another()]
    together = threading.Barrier(3, timeout=30)

    def work(lanes: Lanes, at: slice) -> int:
        assert isinstance(lanes, Numbered)
        if not lanes.threads:
            together.wait()
        lanes.threads.add(threading.get_ident())
        assert torch.get_num_threads() == 1
        return at.start

    assert spread(work, chunks(300, least=1, most=10), crew) == [300 * i // 32 for i in range(32)]
    assert [len(lanes.threads) for lanes in crew] == [1, 1, 1]
    assert len(set.union(*(lanes.threads for lanes in crew))) == 3
    assert threading.get_ident() not in set.union(*(lanes.threads for lanes in crew))


def test_lanes_that_cannot_be_multiplied_are_stepped_by_the_caller():
    simulator = Simulator("Pendulum-v1", threads=4)
    simulator._lanes.another = lambda: None
    seen = simulator.spread(100, lambda lanes, at: (lanes is simulator._lanes, threading.get_ident()))
    assert set(seen) == {(True, threading.get_ident())}


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_the_caller_and_calls_the_others_off(threads):
    first = Numbered()
    crew = [first] + [first.another() for _ in range(threads - 1)]
    begun: list[int] = []

    def work(lanes: Lanes, at: slice) -> None:
        begun.append(at.start)
        if at.start == 20:
            raise ZeroDivisionError("lane 20")
        # Stepped until called off: without that, this would never end.
        while threads > 1:
            go_on()

    with pytest.raises(ZeroDivisionError, match="lane 20"):
        spread(work, [slice(i, i + 10) for i in range(20, 1000, 10)], crew)
    assert len(begun) <= threads
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gradlab-lanes")]


def test_an_error_of_the_actor_in_a_thread_is_the_callers():
    simulator = Simulator("Pendulum-v1", threads=2)
    agent = Agent(nn.Sequential(network(3, 1), nn.Tanh()), [], [-2], [2])
    states = simulator.visit(agent, 40, seed=0, max_steps=20)

    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 1))

        def forward(self, obs: Tensor) -> Tensor:
            if len(obs) > 2:
                raise ArithmeticError("no action today")
            return obs @ self.weight

    with pytest.raises(ArithmeticError, match="no action today"):
        simulator.returns(Agent(Failing(), [], [-2], [2]), states, torch.zeros(40, 1), horizon=3)
    # And the simulator goes on to be of use.
    assert torch.isfinite(simulator.returns(agent, states, torch.zeros(40, 1), horizon=3)).all()


def test_an_actor_that_writes_to_itself_is_copied_for_each_thread():
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network(3, 1)

        def forward(self, obs: Tensor) -> Tensor:
            self.seen = obs
            out = self.body(obs).tanh()
            assert self.seen is obs
            return out + 0 * self.seen[:, :1]

    agent = Agent(Remembering(), [], [-2], [2])
    values = []
    for threads in (1, 4):
        simulator = Simulator("Pendulum-v1", threads=threads)
        states = simulator.visit(agent, 100, seed=0, max_steps=30)
        values.append(simulator.returns(agent, states, torch.zeros(100, 1), horizon=20))
    assert torch.equal(*values)
    assert not hasattr(agent.actor, "seen")


def test_numpys_error_handling_of_the_caller_holds_in_the_threads():
    def work(lanes: Lanes, at: slice) -> str:
        return str(np.geterr()["over"])

    first = Numbered()
    with np.errstate(over="raise"):
        assert set(spread(work, chunks(64, least=1, most=4), [first, first.another()])) == {"raise"}


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np, torch
from torch import nn
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation import Simulator

simulator = Simulator("HalfCheetah-v5", threads=2)
agent = Agent(nn.Sequential(nn.Linear(17, 6), nn.Tanh()), [], [-1] * 6, [1] * 6)
states = simulator.visit(agent, 64, seed=0, max_steps=20)
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    simulator.returns(agent, states, torch.zeros(64, 64, 6), horizon=1_000_000)
except KeyboardInterrupt:
    print("interrupted", [t.name for t in threading.enumerate() if t.name.startswith("gradlab-lanes")])
print("threads of torch", torch.get_num_threads() == int(sys.argv[1]))
print("goes on", bool(torch.isfinite(simulator.returns(agent, states, torch.zeros(64, 6), horizon=5)).all()))
"""


def test_an_interrupt_stops_a_simulation_that_would_take_hours():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background jobs ignore interrupts; this one must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.stdout.splitlines() == ["interrupted []", "threads of torch True", "goes on True"], done.stderr


# Torch's threads ------------------------------------------------------------------------------------------------

SETTINGS = """
import os, sys, threading
import torch
from gradlab.simulation import torch_threads
from gradlab.simulation.torch_threads import one_torch_thread

if sys.argv[1] == "set":
    torch.set_num_threads(5)

def elsewhere(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]

def inside():
    with one_torch_thread():
        return torch.get_num_threads()

many = torch.get_num_threads()
print(many > 1, elsewhere(torch.get_num_threads) == many)
for way in ("libraries", "torch"):
    if way == "torch":
        torch_threads._libraries = lambda: None
    with one_torch_thread():
        print(way, torch.get_num_threads(), elsewhere(torch.get_num_threads) == many)
    print(torch.get_num_threads() == many, elsewhere(torch.get_num_threads) == many)
    print(elsewhere(inside), torch.get_num_threads() == many, elsewhere(torch.get_num_threads) == many)
"""


@pytest.mark.skipif(cores() < 2, reason="torch has one thread anyway")
@pytest.mark.parametrize("setting", ["default", "set"])
def test_one_torch_thread_is_the_calling_threads_alone(setting):
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS, setting],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "3"},
    )
    expected = ["True True"]
    for way in ("libraries", "torch"):
        expected += [f"{way} 1 True", "True True", "1 True True"]
    assert done.stdout.splitlines() == expected, done.stderr


def test_one_torch_thread_is_put_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_torch_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
