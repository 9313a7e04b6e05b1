"""The landscape probe: its numbers are the science's, and optima are followed from one measurement to the next."""

import copy
import time

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.landscape import gap, local_optima
from gradlab.store import open_store
from gradlab.testing.conformance import differences, digest

EXISTING = {"optima", "gap", "relative_gap", "best_basin_share", "boundary_share"}
FOLLOWED = {"births", "deaths", "moves", "rise", "actor_changed", "actor_lost"}


class Hills(nn.Module):
    """Two hills; the second can be moved by hand."""

    def __init__(self, second=0.6):
        super().__init__()
        self.second = nn.Parameter(torch.tensor(second), requires_grad=False)

    def forward(self, obs, act):
        low = torch.exp(-(act[:, 0] + 0.6).square() / 0.02)
        return low + 2 * torch.exp(-(act[:, 0] - self.second).square() / 0.02) + 0.0 * obs.sum(-1)


def agent(second=0.6):
    actor = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
    nn.init.zeros_(actor[0].weight)
    nn.init.constant_(actor[0].bias, -1.0)
    return gradlab.Agent(actor, [Hills(second)], action_low=[-1.0], action_high=[1.0], obs_size=3)


def observations(seed=0, count=5):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def generator():
    return torch.Generator().manual_seed(0)


def test_numbers_are_those_of_the_search():
    obs = observations()
    found = probes.Landscape(states=5).measure(agent(), obs, generator())
    optima = local_optima(agent(), obs, starts=32)
    standing = gap(agent(), obs, optima)
    scalars = found.scalars
    assert scalars.keys() >= EXISTING
    assert not FOLLOWED & scalars.keys()
    assert "from the next measurement on" in found.notes[0]
    assert scalars["optima"].value == 2.0
    assert scalars["gap"].value == pytest.approx(standing.gap.double().mean().item(), rel=1e-6)
    assert scalars["own_fit"].value + scalars["basin_choice"].value == pytest.approx(scalars["gap"].value, rel=1e-6)
    relative = scalars["relative_own_fit"].value + scalars["relative_basin_choice"].value
    assert relative == pytest.approx(scalars["relative_gap"].value, rel=1e-5)
    # The actor, at −0.76, is in the basin of the lower hill.
    assert scalars["best_basin_share"].value == 0.0
    assert scalars["basin_choice"].value == pytest.approx(1.0, abs=1e-3)
    assert (scalars["missed"].value, scalars["coverage"].value) == (0.0, 1.0)
    # The actor is on the lower of two hills: cut at its action, the higher one is left for sure.
    assert scalars["surrogate/0/optima"].value == scalars["optima"].value
    assert 1 <= scalars["surrogate/1/optima"].value <= 2
    assert 0 < scalars["surrogate/1/vanishing_share"].value < 1
    curve = {float(name.partition("/")[2]): one.value for name, one in scalars.items() if name.startswith("persist")}
    assert len(curve) == 13
    assert curve == pytest.approx({x: optima.count(x).double().mean().item() for x in curve})
    for name, estimate in scalars.items():
        low, high = estimate.interval()
        assert low <= estimate.value <= high
        # What the search tells of itself is of no objective.
        assert estimate.objective == ("" if name in {"missed", "coverage"} else "γ=0.99")


def test_optima_are_followed_from_one_measurement_to_the_next():
    """The probe travels as a copy, as it does to the background process; what it saw last is remembered there."""
    obs, probe = observations(), probes.Landscape(states=5)

    def measured(second, at=obs):
        return copy.deepcopy(probe).measure(agent(second), at, generator())

    measured(0.6)
    same = measured(0.6).scalars
    assert [same[name].value for name in ("births", "deaths", "moves", "rise", "actor_changed")] == [0.0] * 5
    moved = measured(0.7)
    assert moved.notes == ()
    # One of two hills moved by 0.1 of 2.
    assert moved.scalars["moves"].value == pytest.approx(0.025, abs=1e-3)
    gone = measured(0.2).scalars
    assert [gone[name].value for name in ("births", "deaths", "actor_changed", "actor_lost")] == [1, 1, 0, 0]
    other = measured(0.2, observations(seed=1))
    assert not FOLLOWED & other.scalars.keys()
    assert "at other states" in other.notes[0]


def test_another_probe_has_another_memory():
    obs = observations()
    probes.Landscape(states=5).measure(agent(), obs, generator())
    assert not FOLLOWED & probes.Landscape(states=5).measure(agent(), obs, generator()).scalars.keys()


def test_the_first_states_are_kept():
    probe = probes.Landscape(states=5)
    first = observations()
    assert probe.choose(first) is first
    assert probe.choose(observations(seed=1)) is first


def test_nothing_of_the_agent_changes():
    measured = agent()
    for part in (measured.actor, *measured.critics):
        part.train()
    before = digest(agent=measured)
    probes.Landscape(states=5).measure(measured, observations(), generator())
    assert not differences(before, digest(agent=measured))


def test_a_constant_critic_is_said_to_be_one():
    level = gradlab.Agent(agent().actor, [lambda obs, act: 0 * act.sum(-1) + 2.0], [-1.0], [1.0], obs_size=3)
    found = probes.Landscape(states=5).measure(level, observations(), generator())
    assert found.scalars["level_share"].value == 1.0
    assert found.scalars["gap"].value == found.scalars["optima"].value == 0.0
    # There is no best action to reach.
    assert "best_basin_share" not in found.scalars
    assert "Q is level over the box of actions at 100% of the states: no action is best there" in found.notes
    usual = probes.Landscape(states=5).measure(agent(), observations(), generator())
    assert usual.scalars["level_share"].value == 0.0
    assert not any("level" in note for note in usual.notes)
    best = {f"surrogate/{i}/best_share" for i in range(4)}
    assert usual.scalars.keys() <= found.scalars.keys() | EXISTING | best


@pytest.mark.slow
def test_births_and_deaths_are_streamed_from_the_background_process(tmp_path):
    live = agent()
    path = tmp_path / "store.db"
    rows = np.asarray(observations(count=8))
    monitor = probes.attach(live, store=str(path), probes=[probes.Landscape(every=1, states=5, starts=8)], budget=None)
    with monitor:
        step, wanted = 0, 2
        deadline = time.monotonic() + 60
        while monitor.status.measured.get("landscape", 0) < wanted and time.monotonic() < deadline:
            step += 1
            if monitor.status.measured.get("landscape", 0) == 1:
                live.critics[0].second.fill_(0.2)
            monitor.step(step, obs=rows)
            time.sleep(0.05)
    with open_store(str(path), readonly=True) as store:
        table = store.scalars(monitor.run.id)
    seen = set(table.name)
    assert seen >= EXISTING | {"births", "deaths", "moves"}


@pytest.mark.parametrize(
    "change", [{"starts": 0}, {"threshold": -1.0}, {"threshold": float("nan")}, {"radius": 0.0}, {"states": 0}]
)
def test_wrong_input(change):
    with pytest.raises(GradlabError, match="probe landscape"):
        probes.Landscape(**change)
