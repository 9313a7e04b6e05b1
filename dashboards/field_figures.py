"""The figures of one run's field, from its store: the field itself, panels of it, the state, and over states."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import plotly.graph_objects as go
import xarray as xr

from dashboards import figures
from dashboards.drawn_run import DrawnRun
from dashboards.figures.field_difference import difference_panel, sureness
from dashboards.figures.field_panel import critics, panel, planes, simulated_panel
from dashboards.figures.state_fields import stored_over_states
from dashboards.one_run import opened
from dashboards.style import Theme
from gradlab.errors import GradlabError
from gradlab.store.damage import damage_named
from gradlab.store.records import ArrayInfo

#: Newest pictures that are searched for what only some of them have.
_BACK = 24
#: Figures of what only some pictures have → the array that says so, and why a run has none.
_ONLY_WITH = {
    "field-critics": ("q", "there is one critic"),
    "field-simulated": ("simulated_q", f"none of the newest {_BACK} pictures has a simulated field"),
    "field-over-states": ("state_q", "the field over states was not measured: too few states were seen"),
    "state-look": ("obs", "the pictures do not say in which states they are"),
}


class FieldFigures(DrawnRun):
    """What ``RunFigures`` has of the probe ``field``."""

    def _why_not(self, name: str) -> str:
        why = super()._why_not(name)
        return why if why or name not in _ONLY_WITH or name in self._newest else _ONLY_WITH[name][1]

    @cached_property
    def _newest(self) -> dict[str, int]:
        """Figures of what only some pictures have → the step of the newest that has it."""
        found: dict[str, int] = {}
        with opened(self.run.where) as store, damage_named(store):
            for step, number in reversed(self.run.fields[-_BACK:]):
                record = store.record(number)
                held = {one.name: one for one in record.arrays} if record is not None else {}
                for name, (array, _) in _ONLY_WITH.items():
                    if name not in found and array in held and (name != "field-critics" or _critics(held[array]) > 1):
                        found[name] = step
                if len(found) == len(_ONLY_WITH):
                    break
        return found

    def said_of_picture(self, name: str) -> str:
        """Of which picture a figure of only some pictures is, and how sure what is simulated in it is."""
        if name not in self._newest:
            return ""
        step = self._newest[name]
        said = f"Of the first state, at step {step:,}."
        if name != "field-simulated":
            return said
        arrays = self._picture(step)
        less = difference_panel(arrays)
        noises = int(arrays["simulated_q"].attrs.get("noises", 0))
        return said if less is None else f"{said} {sureness(less, noises)}"

    def field_critics(self, step: int | None = None, *, state: int = 0, theme: Theme = "light") -> go.Figure:
        """The field by each critic, in the same colours; ``step`` and ``state`` as in ``field``."""
        self._require("field-critics")
        return self.fields("critics", step, state=state, theme=theme)

    def field_simulated(self, step: int | None = None, *, state: int = 0, theme: Theme = "light") -> go.Figure:
        """The learned field, the simulated one and their difference, of the newest picture that has all when None."""
        self._require("field-simulated")
        return self.fields(
            "simulated", self._newest["field-simulated"] if step is None else step, state=state, theme=theme
        )

    def field(
        self, step: int | None = None, *, state: int = 0, critic: int = 0, plane: int = 0, theme: Theme = "light"
    ) -> go.Figure:
        """The Q-gradient field: Q(s, ·), arrows along ∇_a Q, optima, the actor and its ascent.

        Args:
            step: the last picture at or before this training step; the newest when None.
            state: which of the stored states.
            critic: which of the stored critics.
            plane: which of the stored planes of actions.
            theme: light or dark.

        Raises:
            GradlabError: there is no picture then, or no such state, critic or plane.
        """
        return figures.field(self._picture(step, state, critic, plane), state, critic, theme, plane=plane)

    def fields(
        self,
        beside: Literal["critics", "planes", "states", "simulated"] = "critics",
        step: int | None = None,
        *,
        state: int = 0,
        critic: int = 0,
        plane: int = 0,
        theme: Theme = "light",
    ) -> go.Figure:
        """Up to four panels: all critics, planes or states of a picture; or learned, simulated and their difference.

        Args:
            beside: what is beside each other.
            step: as in ``field``.
            state: as in ``field``; likewise critic and plane.
            critic: which of the stored critics.
            plane: which of the stored planes of actions.
            theme: light or dark.

        Raises:
            GradlabError: there is no such picture, or it has no simulated field in this state.
        """
        arrays = self._picture(step, state, critic, plane)
        if beside == "critics":
            found = [panel(arrays, state, k, plane, title=name) for k, name in enumerate(critics(arrays))]
        elif beside == "planes":
            found = [panel(arrays, state, critic, k, title=name) for k, name in enumerate(planes(arrays))]
        elif beside == "states":
            count = arrays["q"].sizes["state"]
            found = [panel(arrays, k, critic, plane, title=f"state {k + 1}") for k in range(count)]
        elif beside == "simulated":
            truth = simulated_panel(arrays, state, "simulated")
            if truth is None:
                raise GradlabError(
                    f"figure fields: state {state} is not simulated in this picture; choose another step"
                )
            less = difference_panel(arrays, state, critic, "learned − simulated")
            learned = panel(arrays, state, critic, title="learned").centred()
            found = [learned, truth.centred(), *([less] if less is not None else [])]
        else:
            raise GradlabError(f"beside: {beside!r} is none of critics, planes, states, simulated")
        columns = 3 if len(found) == 3 else 2
        return figures.fields(found, columns=columns, linked=beside != "planes", shared=beside != "states", theme=theme)

    def state_look(self, step: int | None = None, *, state: int = 0, theme: Theme = "light") -> go.Figure:
        """What a state of the field looks like: its body where the task is known, its coordinates otherwise."""
        self._require("state-look")
        return figures.state_look(self._picture(step, state), state, theme)

    def field_over_states(
        self, step: int | None = None, *, state: int = 0, critic: int = 0, shown: str = "norm", theme: Theme = "light"
    ) -> go.Figure:
        """The gradient at the actor's action over a plane of states; ``shown`` as in ``figures.field_over_states``.

        Raises:
            GradlabError: there is no such picture, or the field over states was not measured.
        """
        self._require("field-over-states")
        step = self._newest["field-over-states"] if step is None else step
        found = stored_over_states(self._picture(step, state, critic), state)
        if not found:
            raise GradlabError("figure field over states: was not measured in this picture")
        return figures.field_over_states(found, critic, shown=shown, theme=theme)

    def _picture(self, step: int | None, state: int = 0, critic: int = 0, plane: int = 0) -> Mapping[str, xr.DataArray]:
        """The arrays of a picture that has this state, critic and plane."""
        self._require("field")
        at = [one for one in self.run.fields if step is None or one[0] <= step]
        if not at:
            first = self.run.fields[0][0]
            raise GradlabError(f"figure field: has no picture at or before step {step:,}; the first is at {first:,}")
        with opened(self.run.where) as store, damage_named(store):
            arrays = store.arrays(at[-1][1])
        sizes = {
            "state": arrays["q"].sizes["state"],
            "critic": arrays["q"].sizes["critic"],
            "plane": len(planes(arrays)),
        }
        for what, number in (("state", state), ("critic", critic), ("plane", plane)):
            if not 0 <= number < sizes[what]:
                raise GradlabError(
                    f"figure field: {what} {number} is none of its {sizes[what]}; give 0 to {sizes[what] - 1}"
                )
        return arrays


def _critics(array: ArrayInfo) -> int:
    return dict(zip(array.dims, array.shape, strict=True)).get("critic", 1)
