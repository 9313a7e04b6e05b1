"""States that cannot be copied are reached by repetition, in processes that end with whoever started them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

from gradlab.errors import GradlabError
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator
from gradlab.simulation.lanes.replay import ReplayLanes, ReplaySnapshot
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

# The environments below are the tests' own: another process could not import them.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

WORLD = LinearQuadratic([[0.9, 0.2], [-0.1, 0.8]], [[0.5], [1.0]], np.eye(2), 0.1, 0.9, [[0.2, 0.3]], horizon=6)


class Pointer(LinearQuadraticEnvironment):
    """The regulator, its state behind a pointer into a buffer that is no attribute."""

    def __init__(self):
        super().__init__(WORLD)
        self.pointer = ctypes.pointer((ctypes.c_double * 2)())

    def reset(self, *, seed=None, options=None):
        out = super().reset(seed=seed)
        self.pointer.contents[:] = self.state.tolist()
        return out

    def step(self, action):
        self.state = np.array(self.pointer.contents[:])
        out = super().step(action)
        self.pointer.contents[:] = self.state.tolist()
        return out


class Running(gymnasium.Env):
    """Its state is the local variables of a generator that is under way."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    noisy = False
    carries = False

    def __init__(self):
        self.course = None
        self.resets = iter(range(10**9))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        first = self.np_random.uniform()
        if self.carries:
            first += next(self.resets)
        self.course = self._course(first)
        return np.array([next(self.course)]), {}

    def step(self, action):
        x = self.course.send(float(action[0]))
        if self.noisy:
            x += self.np_random.normal()
        if x > 1e6:
            raise ValueError("the course has left the field\nand so on")
        return np.array([x]), -x * x, x < -3, False, {}

    def _course(self, x):
        while True:
            x = 0.9 * x + (yield x)


class Noisy(Running):
    noisy = True


class Carrying(Running):
    """Begins elsewhere after every reset: only a new one begins where a new one begins."""

    carries = True


class Slow(Running):
    def step(self, action):
        if action[0] > 0.999:
            time.sleep(300)
        return super().step(action)


class Breaking(InvertedPendulumEnv):
    """MuJoCo's cart and pole with a generator inside; a full push blows the physics up."""

    def __init__(self):
        super().__init__()
        self.course = self._count()

    def _count(self):
        yield from range(10**9)

    def reset(self, *, seed=None, options=None):
        self.course = self._count()
        return super().reset(seed=seed)

    def step(self, action):
        if action[0] > 2.99:
            self.data.qvel[:] = 1e12
        obs, reward, *rest = super().step(action)
        return obs, reward + next(self.course), *rest


def gone(pids, seconds=20.0):
    """Whether the processes are no more, not even as zombies, within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.05)
    return False


def pids(lanes):
    return [worker._process.pid for worker in lanes._crew]


@pytest.fixture(scope="module")
def simulator():
    found = Simulator(Pointer)
    yield found
    found._lanes.close()


def test_lanes_repeat_the_environment_to_the_last_bit(simulator):
    lanes = simulator._lanes
    assert isinstance(lanes, ReplayLanes)
    assert "exact only where seed and actions decide everything" in lanes.promise
    assert not simulator.random
    assert lanes.another() is None
    env = Pointer()
    acts = np.random.default_rng(0).uniform(-1, 1, (12, 5, 1))
    running = np.random.default_rng(1).random((12, 5)) < 0.7
    running[5:, 4] = False
    lanes.processes = 3
    obs = lanes.reset([3, 4, 5, 6, 7])
    middle = None
    path = [[] for _ in range(5)]
    for t in range(12):
        if t == 6:
            middle = pickle.loads(pickle.dumps([lanes.capture(i) for i in range(5)]))
        outcome = lanes.step(acts[t], running[t])
        for lane in range(5):
            path[lane].append([part[lane] for part in outcome])
    for lane in range(5):
        assert np.array_equal(obs[lane], env.reset(seed=3 + lane)[0])
        for t in np.flatnonzero(running[:, lane]):
            for ours, theirs in zip(path[lane][t], env.step(acts[t, lane]), strict=False):
                assert np.array_equal(ours, theirs)
        assert not any(np.any(path[lane][t][0]) for t in np.flatnonzero(~running[:, lane]))
    assert isinstance(middle[0], ReplaySnapshot)
    lanes.load(middle)
    for t in range(6, 12):
        again = lanes.step(acts[t], running[t])
        for lane in range(5):
            for ours, theirs in zip([part[lane] for part in again], path[lane][t], strict=True):
                assert np.array_equal(ours, theirs)


def test_the_reference_through_worker_processes_equals_the_closed_form(simulator):
    reference = SimulatorReference(simulator, horizon=6)
    states = simulator.visit(WORLD.agent(), 3, seed=0, episodes=2, max_steps=8)
    assert int(states.step.max()) > 0
    found = reference.cotangent(WORLD.agent(), states)
    truth = WORLD.action_gradient(states.obs, states.obs @ -WORLD.K.T)
    assert found.valid.all()
    assert ((found.mean - truth).abs() <= 3 * found.stderr + 1e-9 * truth.abs()).all()


def test_generators_random_numbers_and_resets_that_leave_something_behind():
    for kind, draws, fresh in ((Running, False, False), (Noisy, True, False), (Carrying, False, True)):
        found = Simulator(kind)
        lanes = found._lanes
        assert isinstance(lanes, ReplayLanes)
        assert (found.random, lanes.fresh) == (draws, fresh)
        started = pids(lanes)
        assert started
        env = kind()
        acts = np.random.default_rng(0).uniform(-1, 1, (6, 1))
        first = env.reset(seed=9)[0]
        path = [env.step(act)[:3] for act in acts]
        lanes.reset([1, 2])
        obs = lanes.reset([9, 8])
        if not fresh:
            assert np.array_equal(obs[0], first)
        both = np.array([True, False])
        ours = [lanes.step(np.stack([act, act]), both) for act in acts]
        if not fresh:
            assert all(
                np.array_equal(part[0], there)
                for a, b in zip(ours, path, strict=True)
                for part, there in zip(a, b, strict=True)
            )
        lanes.load([lanes.capture(0)] * 2)
        again = lanes.step(np.stack([acts[0]] * 2), np.array([True, True]))
        assert np.array_equal(again[0][0], again[0][1])
        # Nobody holds the simulator any more.
        del found, lanes
        gc.collect()
        assert gone(started)


def test_diverging_physics_are_told_across_processes():
    simulator = Simulator(Breaking)
    lanes = simulator._lanes
    assert isinstance(lanes, ReplayLanes)
    lanes.reset([0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lanes.step(np.array([[0.0], [3.0]]), np.array([True, True]))
    assert lanes.unstable().tolist() == [False, True]
    lanes.load([lanes.capture(0)])
    assert not lanes.unstable().any()
    lanes.close()


def test_an_error_in_the_environment_is_one_line_and_ends_the_processes():
    simulator = Simulator(Running)
    lanes = simulator._lanes
    lanes.reset([0, 1])
    started = pids(lanes)
    with pytest.raises(
        GradlabError, match=r"Running: failed in a worker process \(ValueError: the course has"
    ) as caught:
        lanes.step(np.array([[0.0], [1e7]]), np.array([True, True]))
    assert "\n" not in str(caught.value)
    assert gone(started)
    # The next states have new processes.
    assert lanes.reset([0, 1]).shape == (2, 1)
    started = pids(lanes)
    os.kill(started[0], signal.SIGKILL)
    with pytest.raises(GradlabError, match=r"its worker process ended \(exit code -9\)"):
        lanes.step(np.zeros((2, 1)), np.array([True, True]))
    assert gone(started)


def test_what_cannot_be_sent_is_refused_in_one_line():
    lock = threading.Lock()

    def locked():
        with lock:
            return Running()

    with pytest.raises(GradlabError, match="cannot be sent to a worker process") as caught:
        Simulator(locked)
    assert "\n" not in str(caught.value)


def test_an_interrupt_ends_the_processes_and_the_next_states_have_others():
    simulator = Simulator(Slow)
    lanes = simulator._lanes
    obs = lanes.reset([0, 1])
    started = pids(lanes)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            lanes.step(np.ones((2, 1)), np.array([True, True]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(started)
    assert np.array_equal(lanes.reset([0, 1]), obs)
    lanes.close()


def test_a_process_that_only_steps_environments_does_not_load_torch():
    program = "import gradlab.simulation.lanes.replay_worker, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"


def test_processes_import_the_very_package_of_this_one(tmp_path, monkeypatch):
    other = tmp_path / "gradlab"
    other.mkdir()
    (other / "__init__.py").write_text("raise ImportError('another version, installed or in the working folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lanes = ReplayLanes("Running", Running(), Running)
    lanes.processes = 1
    try:
        assert np.array_equal(lanes.reset([3])[0], Running().reset(seed=3)[0])
    finally:
        lanes.close()


PROGRAM = """
import os, signal, sys, threading, time
import numpy as np, gymnasium
from gymnasium import spaces
from gradlab.simulation import Simulator

class Running(gymnasium.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    wait = 0.0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = (None for _ in range(3))
        return np.zeros(1), {}
    def step(self, action):
        print("environments may print")
        if action[0] > 0.999:
            time.sleep(300)
        return np.zeros(1), 0.0, False, False, {}

found = Simulator(Running)
found._lanes.reset([0, 1])
print("pids", *[worker._process.pid for worker in found._lanes._crew], flush=True)
how = sys.argv[1]
if how == "exit":
    sys.exit(0)
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
found._lanes.step(np.ones((2, 1)), np.array([True, True]))
"""


@pytest.mark.parametrize("how", ["exit", "kill", "interrupt"])
def test_processes_do_not_outlive_their_program_however_it_ends(how, tmp_path):
    """A script without a ``__main__`` guard, whose class no other process could import."""
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, script, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        started = [int(pid) for pid in program.stdout.readline().removeprefix("pids").split()]
        assert started
        if how == "interrupt":
            time.sleep(1.0)
            program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=60)
        assert rest == ""
        assert ("KeyboardInterrupt" in errors) == (how == "interrupt")
        assert gone(started)
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        program.wait()
