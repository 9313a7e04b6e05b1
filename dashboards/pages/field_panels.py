"""Which panels of the field are beside each other, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dashboards.figures.field_difference import difference_panel, sureness
from dashboards.figures.field_panel import Panel, critics, panel, planes, simulated_panel
from dashboards.records import Records
from dashboards.showing import together
from dashboards.timeline import picture_at
from dashboards.trails import Trails

Arrays = Mapping[str, xr.DataArray]
#: Panels that fit.
MOST = 4
BESIDE = {
    "one": "one panel",
    "critics": "all critics",
    "simulated": "learned and simulated",
    "planes": "all planes",
    "states": "all states",
    "runs": "compared runs",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is looked at: the run with those beside it, the step, and which of the stored states, critics and planes."""

    token: Any
    run: int | None
    at: Any
    state: int
    critic: int
    plane: int
    beside: str


@dataclass(frozen=True, slots=True)
class Panels:
    """Panels, and how they are drawn.

    Attributes:
        panels: at most four.
        linked: whether they zoom together.
        shared: whether a colour is the same in all.
        note: what has to be known to compare them.
        ids: of the measurements they are of.
    """

    panels: Sequence[Panel]
    linked: bool
    shared: bool
    note: str
    ids: tuple[int, ...]


def gathered(records: Records, trails: Trails, arrays: Arrays, measurement_id: int, chosen: Chosen) -> Panels:
    """The panels of a picture, and of others beside it.

    Args:
        records: what is known of the store.
        trails: where actors were before.
        arrays: of the picture.
        measurement_id: of the picture.
        chosen: what is looked at.
    """
    if "q" not in arrays:
        return Panels((), True, True, "", (measurement_id,))
    state, critic, plane = chosen.state, chosen.critic, chosen.plane
    here = (measurement_id,)

    def one(state: int = state, critic: int = critic, plane: int = plane, title: str = "") -> Panel:
        return panel(
            arrays, state, critic, plane, trails.trail(chosen.run, measurement_id, state, arrays.get("obs")), title
        )

    if chosen.beside == "critics":
        names = critics(arrays)
        # The last is what the actor follows, where it is made of several.
        which = [*range(len(names))] if len(names) <= MOST else [*range(MOST - 1), len(names) - 1]
        found = [one(critic=number, title=names[number] + follows(arrays, names[number])) for number in which]
        return Panels(found, True, True, "Colours are the same Q in all panels.", here)
    if chosen.beside == "planes":
        found = [one(plane=number, title=name) for number, name in list(enumerate(planes(arrays)))[:MOST]]
        return Panels(found, False, True, "Colours are the same Q in all panels; their axes are not.", here)
    if chosen.beside == "states":
        count = min(arrays["q"].sizes["state"], MOST)
        found = [one(state=number, title=f"state {number + 1}") for number in range(count)]
        return Panels(found, plane < len(planes(arrays)), False, "Each state has colours of its own.", here)
    if chosen.beside == "simulated":
        return _simulated(records, trails, measurement_id, chosen) or Panels(
            [one()], True, True, "No simulated field is stored in the pictures up to this step.", here
        )
    if chosen.beside == "runs":
        return _runs(records, trails, chosen, one(title="this run"), measurement_id)
    return Panels([one()], True, True, "", here)


def follows(arrays: Arrays, name: str) -> str:
    """What is said beside the name of the critic that the actor follows."""
    return " · the actor's" if name == str(arrays["q"].attrs.get("followed", "")) and name != "followed" else ""


def _simulated(records: Records, trails: Trails, measurement_id: int, chosen: Chosen) -> Panels | None:
    found = trails.simulated(chosen.run, measurement_id)
    if found is None:
        return None
    step, number = found
    arrays = records.arrays(number)
    truth = simulated_panel(arrays, chosen.state, f"simulated, step {step:,}")
    if truth is None:
        others = [k + 1 for k in range(arrays["q"].sizes["state"]) if simulated_panel(arrays, k) is not None]
        alone = panel(arrays, chosen.state, chosen.critic)
        note = f"State {chosen.state + 1} is not simulated; choose state {' or '.join(map(str, others))}."
        return Panels([alone], True, True, note, (number,))
    name = critics(arrays)[min(chosen.critic, len(critics(arrays)) - 1)]
    trail = trails.trail(chosen.run, number, chosen.state, arrays.get("obs"))
    learned = panel(arrays, chosen.state, chosen.critic, 0, trail, f"learned ({name}), step {step:,}")
    known = arrays["simulated_q"].attrs
    rewards = known.get("horizon", "some")
    note = (
        f"Both are shown less their mean over the plane, in the same colours: the simulated Q counts {rewards} rewards "
        "of the actor's own policy, the learned one all. Arrows of the simulated Q are differences on its grid. "
    )
    less = difference_panel(arrays, chosen.state, chosen.critic, "learned − simulated")
    assert less is not None
    return Panels(
        [learned.centred(), truth.centred(), less],
        True,
        True,
        note + sureness(less, int(known.get("noises", 0))),
        (number,),
    )


def _runs(records: Records, trails: Trails, chosen: Chosen, own: Panel, measurement_id: int) -> Panels:
    names = {run.id: run for run in records.view().runs}
    found, ids, states, tasks = [], [], [], set()
    for run in together(chosen.token)[:MOST] or [chosen.run]:
        at = picture_at(records, run, chosen.at)
        if at is None or run not in names:
            continue
        step, number = at
        arrays = records.arrays(number)
        if "q" not in arrays:
            continue
        trail = trails.trail(run, number, chosen.state, arrays.get("obs"))
        title = f"{names[run].name.replace('<', '&lt;')}, step {step:,}"
        found.append(panel(arrays, chosen.state, chosen.critic, chosen.plane, trail, title))
        ids.append(number)
        tasks.add(names[run].environment)
        if "obs" in arrays:
            states.append(arrays["obs"].values[min(chosen.state, arrays["obs"].sizes["state"] - 1)])
    flat = {one.flat for one in found}
    if len(found) < 2 or len(flat) > 1:
        why = (
            "These runs have not the same number of actions." if len(flat) > 1 else "Tick runs to compare at the left."
        )
        return Panels([own], True, True, why, (measurement_id,))
    ranges = {tuple(np.round([side[0] for side in one.sides] + [side[-1] for side in one.sides], 6)) for one in found}
    same = len(tasks) == 1
    alike = len(states) == len(found) and all(np.array_equal(states[0], other) for other in states[1:])
    colours = "Colours are the same Q in all panels" if same else "Each has colours of its own: the tasks differ"
    where = "the same state" if alike else "a state of its own"
    return Panels(found, len(ranges) == 1, same, f"{colours}; each run is looked at in {where}.", tuple(ids))
