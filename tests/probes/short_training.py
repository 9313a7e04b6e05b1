"""A real, short training run, and what must be true of it whatever happens to its probes."""

import random
import sqlite3
import time
from collections import Counter
from pathlib import Path

import gymnasium
import numpy as np
import torch
from torch import nn

import gradlab
from gradlab.store import open_store
from gradlab.testing.conformance import differences, digest
from probes.replay import replay

STEPS = 240


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, obs, act):
        return self.layers(torch.cat([obs, act], -1)).squeeze(-1)


def train(begin=None, events=None, steps=STEPS):
    """Deep deterministic policy gradient on Pendulum-v1, from one seed.

    Args:
        begin: agent → monitor; None to train without.
        events: step → what happens before it, given the monitor.
        steps: environment steps, each with an update.

    Returns:
        The digest of everything training depends on, and the monitor, not closed.
    """
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    env = gymnasium.make("Pendulum-v1")
    env.action_space.seed(0)
    actor = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1), nn.Tanh())
    critic = Critic()
    optimizers = [torch.optim.Adam(part.parameters(), lr=1e-3) for part in (actor, critic)]
    buffer = np.zeros((steps + 1, 3 + 1 + 1 + 3), np.float32)
    monitor = None
    if begin is not None:
        monitor = begin(gradlab.Agent(actor, [critic], action_low=[-1], action_high=[1], obs_size=3))
    obs, _ = env.reset(seed=0)
    for step in range(steps):
        if monitor is not None and events and step in events:
            events[step](monitor)
        with torch.no_grad():
            act = (actor(torch.from_numpy(obs)) + 0.3 * torch.randn(1)).clamp(-1, 1)
        following, reward, _, truncated, _ = env.step(2.0 * act.numpy())
        buffer[step] = np.concatenate([obs, act.numpy(), [reward], following])
        obs = env.reset()[0] if truncated else following
        batch = torch.from_numpy(buffer[np.random.randint(step + 1, size=32)])
        seen, done, paid, then = batch[:, :3], batch[:, 3:4], batch[:, 4], batch[:, 5:]
        with torch.no_grad():
            target = paid + 0.99 * critic(then, actor(then))
        optimizers[0].zero_grad()
        (-critic(seen, actor(seen)).mean()).backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        (critic(seen, done) - target).square().mean().backward()
        optimizers[1].step()
        if monitor is not None:
            monitor.step(step, obs=seen)
    drawn = [torch.rand(1), np.random.rand(), random.random()]
    return digest(actor=actor, critic=critic, optimizers=optimizers, buffer=buffer, env=env, drawn=drawn), monitor


def idle(monitor, seconds=90.0):
    """Wait until the background process takes a job, or will take none any more."""
    deadline = time.monotonic() + seconds
    while not (monitor._background.idle or monitor._background.gone):
        assert time.monotonic() < deadline, monitor.status
        time.sleep(0.02)
    monitor._wake_time = 0.0  # it looks only now and then whether there is room again


def soon(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(number):
    """Whether a process runs; one that is dead but not yet waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(number):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == str(number):
            found += [int(stat.parent.name), *children(stat.parent.name)]
    return found


def sound(path, receipts=True):
    """The measurements of a store that is whole."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        named, measurements = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("receipts", "measurements")
        )
    connection.close()
    assert named == measurements or not receipts
    with open_store(path, readonly=True) as store:
        store.scalars()
        return store.measurements()


def balanced(monitor, path, run=None):
    """In = out + dropped, to the unit, before and after a replay; the measurements that the store has in the end."""
    status = monitor.status
    assert status.balanced, status
    assert status.in_flight == 0, status
    found = [one for one in sound(path) if one.run == (run or monitor.run.id)]
    assert len(found) == status.stored, (status, found)
    if status.waiting:
        assert replay(path).waiting == 0
        found = [one for one in sound(path) if one.run == (run or monitor.run.id)]
        assert len(found) == status.stored + status.waiting
    if not status.lost:
        counted = {"ok": status.measured, "skipped": status.skipped, "failed": status.failed}
        assert Counter((one.status, one.probe) for one in found) == {
            (how, probe): number for how, probes in counted.items() for probe, number in probes.items()
        }
    return found


def unchanged(found):
    """Training is bit for bit what it is when nobody looks."""
    changed = differences(_undisturbed(), found)
    assert changed == [], changed[:20]
    assert len(found) > 30


_kept = {}


def _undisturbed():
    if not _kept:
        _kept.update(train()[0])
    return _kept
