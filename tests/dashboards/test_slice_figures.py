"""Figures of slices and of fields over states, from datasets of the library itself."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from torch import nn

from dashboards.figures import action_slice, field_over_states
from gradlab.agent import Agent
from gradlab.landscape import (
    gradient_field_over_states,
    local_optima,
    random_plane,
    slice_plane,
    state_plane,
)


class Waves(nn.Module):
    def __init__(self, seed, size):
        super().__init__()
        self.weight = torch.randn(size, 3, generator=torch.Generator().manual_seed(seed))

    def forward(self, obs, act):
        return (3 * act @ self.weight + obs).sin().sum(-1)


def agent_of(size):
    actor = nn.Sequential(nn.Linear(3, size), nn.Tanh())
    nn.init.normal_(actor[0].weight, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(actor[0].bias)
    return Agent(actor, [Waves(i, size) for i in range(2)], [-1.0] * size, [1.0] * size, reduction="min")


def accepted(figure):
    """The figure, which plotly checks in every part."""
    go.Figure(figure.to_dict())
    return figure


OBS = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_slice_shows_what_was_measured_blank_outside_the_box(theme):
    agent = agent_of(4)
    picture = slice_plane(agent, OBS, random_plane(agent, OBS), resolution=41)
    figure = accepted(action_slice(picture, state=2, critic=1, theme=theme))
    heat, quiver, actor = figure.data
    np.testing.assert_array_equal(heat.z, picture.q.values[1, 2])
    assert np.isnan(np.asarray(heat.z, dtype=float)).any()
    assert heat.zsmooth is False
    # Every second arrow is drawn, along the stored slopes; none outside of the box.
    slopes = picture.gradient.values[1, 2, ::2, ::2].reshape(-1, 2)
    drawn = np.column_stack([quiver.u, quiver.v])
    blank = np.isnan(slopes[:, 0])
    assert blank.any()
    assert not drawn[blank].any()
    cosine = (
        (slopes * drawn)[~blank].sum(1) / np.linalg.norm(slopes[~blank], axis=1) / np.linalg.norm(drawn[~blank], axis=1)
    )
    np.testing.assert_allclose(cosine, 1.0, atol=1e-5)
    assert (actor.x[0], actor.y[0]) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert figure.layout.yaxis2.overlaying == "y"
    assert figure.layout.xaxis.title.text == "first random direction"
    known = picture.x.values[picture.inside.values[2].any(0)]
    cell = float(picture.x[1] - picture.x[0])
    assert figure.layout.xaxis.range[0] == pytest.approx(max(known[0] - cell, float(picture.x[0])), abs=1e-5)
    assert figure.layout.xaxis.range[1] == pytest.approx(min(known[-1] + cell, float(picture.x[-1])), abs=1e-5)
    for shown in ("spread", "gradient_norm"):
        (other, *_) = accepted(action_slice(picture, shown=shown, theme=theme)).data
        expected = picture[shown].isel(state=0)
        np.testing.assert_array_equal(other.z, expected.isel(critic=0) if "critic" in expected.dims else expected)


def test_marks_are_named_and_the_actor_is_on_top():
    agent = agent_of(3)
    picture = slice_plane(agent, OBS, local_optima(agent, OBS, starts=8), resolution=9)
    figure = action_slice(picture, critic=2)
    assert [trace.name for trace in figure.data[2:]] == ["best optimum", "second best", "actor"]
    star = figure.data[2]
    assert star.marker.symbol == "star"
    assert (star.x[0], star.y[0]) == pytest.approx(tuple(picture.mark_place.sel(mark="best optimum").values[0]))


def test_an_axis_that_nothing_determines_is_called_random():
    actor = nn.Linear(3, 3)
    nn.init.zeros_(actor.weight)
    nn.init.constant_(actor.bias, 0.25)
    agent = Agent(actor, [lambda obs, act: -(act + 0.5).square().sum(-1)], [-1.0] * 3, [1.0] * 3)
    picture = slice_plane(agent, OBS, local_optima(agent, OBS, starts=8), resolution=9)
    figure = accepted(action_slice(picture))
    titles = (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text)
    assert titles == ("towards the best optimum", "random direction (none towards the second best)")
    assert [(trace.name, len(trace.x)) for trace in figure.data[2:]] == [
        ("best optimum", 1),
        ("second best", 0),
        ("actor", 1),
    ]


def test_one_action_is_a_line_with_the_marks_on_it():
    agent = agent_of(1)
    picture = slice_plane(agent, OBS, local_optima(agent, OBS, starts=16), resolution=65)
    figure = accepted(action_slice(picture, state=1, critic=2))
    curve, slope, *marks = figure.data
    np.testing.assert_array_equal(curve.y, picture.q.values[2, 1].astype(float))
    assert slope.yaxis == "y2"
    assert [mark.name for mark in marks] == ["actor", "best optimum", "second best"]
    assert all(mark.yaxis == "y" for mark in marks)
    assert marks[1].y[0] == pytest.approx(float(picture.q[2, 1].max()), abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_field_over_a_plane_of_states(theme):
    plane = state_plane(OBS[0], (0, 2), x=(-1.0, 1.0), y=(-2.0, 2.0), resolution=7)
    found = gradient_field_over_states(agent_of(2), plane)
    for shown, expected in [
        ("norm", found.norm.values[1]),
        ("volatility", found.volatility.values[1]),
        ("action 2", found.gradient.values[1, ..., 1]),
    ]:
        figure = accepted(field_over_states(found, critic=1, shown=shown, theme=theme))
        heat, state = figure.data
        np.testing.assert_array_equal(heat.z, expected)
        assert (state.x[0], state.y[0]) == pytest.approx((float(OBS[0, 0]), float(OBS[0, 2])))
        assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("observation 1", "observation 3")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_field_along_a_trajectory(theme):
    walk = torch.randn(30, 3, generator=torch.Generator().manual_seed(5))
    found = gradient_field_over_states(agent_of(2), walk, steps=range(60, 90), episodes=[0] * 10 + [1] * 20)
    figure = accepted(field_over_states(found, theme=theme))
    assert [trace.name for trace in figure.data] == ["action 1", "action 2", "‖g‖", "angle", "volatility"]
    assert [trace.yaxis for trace in figure.data] == ["y", "y", "y2", "y3", "y4"]
    assert figure.data[0].x.tolist() == list(range(60, 90))
    np.testing.assert_allclose(figure.data[1].y, found.gradient.values[0, :, 1])
    np.testing.assert_allclose(figure.data[3].y, np.degrees(found.angle.values[0]), rtol=1e-5)
    assert np.isnan(figure.data[4].y[9])  # episodes are not joined
    assert figure.layout.yaxis3.range == (0, 180)
