"""Panels of the field, their marks, and what a state looks like, from pictures as the probe itself makes them."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import xarray as xr

from dashboards import figures
from dashboards.figures.field_difference import difference_panel, sureness
from dashboards.figures.field_panel import Trail, panel, planes, simulated_panel
from dashboards.figures.state_fields import stored_over_states
from dashboards.reports import report_html
from dashboards.run_figures import of_run
from dashboards.style import muted
from gradlab.agent import Agent
from gradlab.measurement import Measurement
from gradlab.store import open_store
from probes.field import Field


def picture(actions: int, **options) -> dict:
    def bowl(obs, act):
        return -(act - 0.5 * obs[:, :1]).square().sum(-1) + 0.4 * (6 * act[:, 0]).cos()

    torch.manual_seed(0)
    size = 3 if options else 4
    actor = torch.nn.Sequential(torch.nn.Linear(size, actions), torch.nn.Tanh())
    bound = 2.0 if options else 1.0
    agent = Agent(actor, [bowl, bowl], [-bound] * actions, [bound] * actions, reduction="min")
    angle = torch.linspace(0, 3, 32)
    obs = torch.stack([angle.cos(), angle.sin(), torch.linspace(-1, 1, 32)], 1) if options else torch.rand(32, 4)
    probe = Field(states=2, resolution=17, arrows=9, starts=8, ascent_steps=5, simulated=1, horizon=5, **options)
    return probe.measure(agent, probe.choose(obs), torch.Generator().manual_seed(0)).arrays


@pytest.fixture(scope="module")
def three() -> dict:
    return picture(3)


@pytest.fixture(scope="module")
def pendulum() -> dict:
    return picture(1, environment="Pendulum-v1")


def test_an_optimum_off_the_plane_is_hollow_and_its_distance_is_right(three):
    assert planes(three) == ["actions 1 and 2", "actions 2 and 3", "to the optima"]
    one = panel(three, 0, 2, 0)
    actor, best = three["actor"].values[0], three["optima"].values[2, 0, 0]
    assert one.optima[0] == pytest.approx(best[:2])
    assert one.distances[0] == pytest.approx(abs(best[2] - actor[2]), rel=1e-5)
    star = figures.field(three, 0, 2).data[5]
    assert list(star.marker.symbol) == ["star-open" if one.distances[0] > 0.02 else "star"]
    # The plane through the optima has it.
    assert panel(three, 0, 2, 2).distances[0] < 1e-3
    assert figures.field(three, 0, 2, plane=2).data[5].marker.symbol == ("star",)


def test_marks_are_as_large_as_their_optima_are_persistent(three):
    one = panel(three, 0, 2)
    others = figures.field(three, 0, 2).data[4]
    assert len(others.x) == len(one.shares) - 1 > 0
    assert np.argsort(others.marker.size).tolist() == np.argsort(one.shares[1:], kind="stable").tolist()
    assert "persistence" in others.text[0]


def test_panels_share_colours_and_zoom_where_they_may(three):
    two = [panel(three, 0, critic, title=f"c{critic}") for critic in (0, 2)]
    figure = go.Figure(figures.fields(two).to_dict())
    heats = [trace for trace in figure.data if trace.type == "heatmap"]
    assert (heats[0].zmin, heats[0].zmax) == (heats[1].zmin, heats[1].zmax)
    assert (heats[0].showscale, heats[1].showscale) == (True, False)
    assert (figure.layout.xaxis2.matches, figure.layout.yaxis3.matches, figure.layout.yaxis4.overlaying) == (
        "x",
        "y",
        "y3",
    )
    apart = figures.fields(two, linked=False, shared=False)
    assert [trace.showscale for trace in apart.data if trace.type == "heatmap"] == [True, True]
    assert "matches" not in apart.layout.xaxis2.to_plotly_json()


def test_the_trail_goes_where_the_actor_was(three):
    trail = Trail(np.array([10, 20]), np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    drawn = figures.field(three, plane=1, trail=trail).data[2]
    assert np.column_stack([drawn.x, drawn.y]).tolist() == [[0.2, 0.3], [0.5, 0.6]]
    assert drawn.customdata.tolist() == [10, 20]


def test_the_simulated_field_of_one_action_and_the_body(pendulum):
    truth = simulated_panel(pendulum, 0, "simulated")
    assert truth is not None
    assert truth.heights[0] == pytest.approx(np.nanmax(truth.values))
    assert abs(np.nanmean(truth.centred().values)) < 1e-9
    learned = panel(pendulum, 0, title="learned")
    figure = go.Figure(figures.fields([learned.centred(), truth.centred()]).to_dict())
    assert len(figure.data) == 14
    # A rod from the pivot: as long as the pendulum, in the direction of its angle (here upright).
    rod, pivot = figures.state_look(pendulum, 0).data
    assert max(rod.y) == pytest.approx(1.08, abs=0.02)
    assert abs(np.mean([min(pivot.x), max(pivot.x)])) < 1e-6
    coordinates = figures.state_look({"obs": pendulum["obs"]}, 1)
    assert coordinates.data[1].x.tolist() == pytest.approx(pendulum["obs"].values[1].tolist())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shown", ["norm", "volatility", "q", "action 1"])
def test_the_stored_field_over_states_is_drawn(three, theme, shown):
    stored = stored_over_states(three, 1)
    figure = figures.field_over_states(stored, 0, shown=shown, theme=theme)
    go.Figure(figure.to_dict())
    name = {"q": "state_q", "norm": "state_norm", "volatility": "state_volatility"}.get(shown, "state_gradient")
    expected = three[name].values[0, 1] if shown != "action 1" else three[name].values[0, 1, ..., 0]
    np.testing.assert_array_equal(figure.data[0].z, expected)
    assert len(figure.data[1].x) == 32
    # What the legend shows of white dots has a rim that is seen on either ground.
    assert (figure.data[1].showlegend, figure.data[2].name) == (False, "states seen")
    assert figure.data[2].marker.line.color == muted(theme)
    assert stored_over_states({}, 0) == {}


def known_difference(noise: float = 0.5) -> dict:
    """Q = 3x + y + 10 and a simulated Q of x − y on a coarser grid: their difference is 2x + 2y, less its mean."""
    fine, coarse = np.linspace(-1, 1, 9), np.linspace(-1, 1, 5)
    x, y = np.meshgrid(fine, fine)
    learned = np.stack([3 * x + y + 10, x - y])[:, None]
    x, y = np.meshgrid(coarse, coarse)
    return {
        "q": xr.DataArray(learned, dims=("critic", "state", "y", "x"), coords={"x": fine, "y": fine}),
        "simulated_q": xr.DataArray((x - y)[None], dims=("state", "y", "x"), coords={"x": coarse, "y": coarse}),
        "simulated_stderr": xr.DataArray(np.full((1, 5, 5), noise), dims=("state", "y", "x")),
        "actor": xr.DataArray([[0.25, 0.5]], dims=("state", "action")),
    }


def test_learned_less_simulated_is_what_it_is_in_closed_form():
    less = difference_panel(known_difference())
    x, y = np.meshgrid(less.sides[0], less.sides[1])
    np.testing.assert_allclose(less.values, 2 * x + 2 * y, atol=1e-12)
    np.testing.assert_allclose(less.slopes, 2.0, atol=1e-12)
    assert less.actor.tolist() == [[0.25, 0.5]]
    # Of a critic that is right there is nothing left.
    np.testing.assert_allclose(difference_panel(known_difference(), critic=1).values, 0.0, atol=1e-12)
    assert difference_panel({}, 0) is None
    # |2x + 2y| > 1.96 · 0.5 holds at 20 of 25 points: all but the diagonal x = −y, where it is 0.
    said = sureness(less, 4)
    assert said.endswith("at most 0.5, n = 4 noises; the difference is told from zero on 80 % of the plane.")
    assert "0 % of the plane" in sureness(difference_panel(known_difference(9.0)))
    assert "are exact" in sureness(difference_panel(known_difference(0.0)))


def test_a_difference_has_symmetric_colours_and_a_bar_of_its_own():
    arrays = known_difference()
    panels = [panel(arrays).centred(), simulated_panel(arrays).centred(), difference_panel(arrays)]
    figure = figures.fields(panels, columns=3)
    go.Figure(figure.to_dict())
    learned, truth, less = (trace for trace in figure.data if trace.type == "heatmap")
    assert (learned.zmin, learned.zmax) == (truth.zmin, truth.zmax) == (-4.0, 4.0)
    assert (less.zmin, less.zmax) == (-4.0, 4.0)
    assert less.colorscale != truth.colorscale
    assert (learned.showscale, truth.showscale, less.showscale) == (False, True, True)
    assert less.colorscale[2][1] == "#f5f5f5"
    assert truth.customdata.shape == (5, 5)
    assert "standard error" in truth.hovertemplate
    assert learned.customdata is None


def test_a_run_has_the_figures_that_its_newest_pictures_have(tmp_path):
    simulated = known_difference()
    with open_store(tmp_path / "gradlab.db") as store:
        run = store.start_run("mine")
        run.record(1000, "field", Measurement(arrays=simulated))
        run.record(2000, "field", Measurement(arrays={name: simulated[name] for name in ("q", "actor")}))
        found = of_run(store)
        assert found.names()[:3] == ["field", "field-critics", "field-simulated"]
        absent = found.absent()
        assert "too few states were seen" in absent["field-over-states"]
        assert "do not say in which states" in absent["state-look"]
        less = found.figure("field-simulated").data[-7]
        np.testing.assert_array_equal(less.z, difference_panel(simulated).values.astype(np.float32))
        assert found.said_of_picture("field-simulated").startswith("Of the first state, at step 1,000. The simulated")
        assert found.said_of_picture("field-critics") == "Of the first state, at step 2,000."
        page = report_html(store)
        assert all(f'id="run-1-{name}"' in page for name in ("field", "field-critics", "field-simulated"))
        assert "told from zero on 80 % of the plane" in page
