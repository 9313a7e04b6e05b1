"""Alarms on the curvature figure: where they are, what they say, and that only what was added is judged."""

import math

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards import alarms, figures
from dashboards.alarms import MEANING, marks
from dashboards.increment import increment
from dashboards.series import Key, Series
from gradlab.curvature import volatility_alarms
from gradlab.estimate import Estimate

WATCHED = ("ratio", "policy_jacobian", "mixed_partial", "curvature")


def series(values, spread=0.05, start=1000):
    numbers = np.asarray(values, dtype=np.float64)
    error = spread * np.abs(numbers)
    at = start * np.arange(1, len(numbers) + 1)
    return Series(at, numbers, error, numbers - 2 * error, numbers + 2 * error, np.full(len(numbers), 64))


def quiet(seed=0, count=60, level=3.0):
    """Numbers that scatter evenly, without one far out."""
    return level * np.exp(0.1 * np.random.default_rng(seed).uniform(-1, 1, count))


def of(**known):
    return {Key("curvature", name, ""): one for name, one in known.items()}


def drawn(figure):
    """The traces of marks, by axis."""
    return {trace.yaxis: trace for trace in figure.data if trace.mode == "markers" and trace.hoverinfo == "skip"}


def said(figure):
    """What is said of them, step → text; after all lines of their panel, which would be told of otherwise."""
    found = {}
    for index, trace in enumerate(figure.data):
        if trace.mode == "markers" and trace.hoverinfo != "skip":
            shown = drawn(figure)[trace.yaxis]
            assert (list(trace.x), list(trace.y)) == (list(shown.x), list(shown.y))
            assert not any(other.name and other.yaxis == trace.yaxis for other in figure.data[index:])
            # No larger than a line's own, or plotly prefers these; and not seen.
            assert (trace.marker.size, trace.marker.opacity) == (6, 0)
            found[trace.yaxis] = dict(zip(trace.x, trace.text, strict=True))
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_planted_jump_is_marked_where_it_is_and_says_how_far_and_how_long(theme):
    values = quiet()
    values[40:43] = 90.0
    figure = figures.curvature(of(ratio=series(values), mixed_partial=series(quiet(1))), theme=theme)
    go.Figure(figure.to_dict())
    upper, lower = drawn(figure)["y"], drawn(figure)["y2"]
    assert list(upper.x) == [41_000]
    assert upper.y[0] == values[40]
    assert list(upper.marker.symbol) == ["triangle-up-open"]
    (text,) = said(figure)["y"].values()
    usual = np.median(values[20:40])
    assert text.split("<br>")[:2] == [
        "M/μ jumps up, step 41,000", f"90, {90 / usual:.3g} times the {usual:.3g} that was usual before"
    ]  # fmt: skip
    assert text.endswith("for 3 measurements, to step 43,000")
    assert list(lower.x) == []
    # Text on hover has the page's colour: without one of its own it would have the border's.
    assert figure.layout.hoverlabel.font.color == figure.layout.font.color
    # What an alarm is can be read over the captions of the panels that have them.
    captions = [note for note in figure.layout.annotations if note.hovertext]
    assert [MEANING in note.hovertext.replace("<br>", " ") for note in captions] == [True, True, False]
    assert max(len(line) for note in captions for line in note.hovertext.split("<br>")) < 70
    assert ["alarms" in note.text for note in captions] == [True, True, False]


def test_nothing_is_marked_where_nothing_happens_or_little_is_known():
    for values in (quiet(), np.full(60, 2.0), np.linspace(1, 5, 60), [], [1.0], [1.0, 80.0] * 3, [math.nan] * 60):
        known = of(**{name: series(values) for name in WATCHED})
        assert all(len(trace.x) == 0 for trace in drawn(figures.curvature(known)).values())
    # Nor what is not known well.
    values = quiet()
    values[40] = 12.0
    assert marks(series(values), "M")
    imprecise = series(values)
    imprecise.stderr[40] = 12.0
    assert not marks(imprecise, "M")


def test_each_watched_number_has_its_marks_at_the_height_of_its_line():
    for name in WATCHED:
        values = quiet(2)
        values[50] = 0.02
        figure = figures.curvature(of(**{name: series(values)}))
        (trace,) = [one for one in drawn(figure).values() if len(one.x)]
        (line,) = [one for one in figure.data if one.name]
        assert trace.yaxis == line.yaxis
        assert trace.y[0] == pytest.approx(line.y[50])
        assert list(trace.marker.symbol) == ["triangle-down-open"]
    shares = of(valid_share=series(quiet(level=0.5)), interior_share=series([0.5] * 40 + [0.01] * 3))
    assert not drawn(figures.curvature(shares))
    # Of numbers that may be negative the difference is said, on the axis's own height.
    values = quiet(3) - 3.0
    values[50] = -40.0
    figure = figures.curvature(of(curvature=series(values)))
    (line,) = [one for one in figure.data if one.name]
    (trace,) = [one for one in drawn(figure).values() if len(one.x)]
    assert trace.y[0] == pytest.approx(line.y[50])
    assert f"-40, {-40 - np.median(values[30:50]):+.3g} from the" in said(figure)[trace.yaxis][51_000]


def test_growing_scatter_is_marked_as_such():
    values = quiet(4, 90)
    values[60:] = 3 * (values[60:] / 3) ** 25
    found = marks(series(values, spread=0.0), "M")
    assert "growing scatter" in {mark.kind for mark in found}
    text = next(mark.text for mark in found if mark.kind == "growing scatter")
    assert text[0].startswith("M scatters more, step ")
    assert "times what it was before" in text[1]


def test_alarms_are_those_of_the_library():
    values = quiet(5, 200)
    values[[60, 61, 120]] = 70.0
    values[150:] *= np.exp(np.random.default_rng(0).standard_normal(50))
    one = series(values)
    estimates = [Estimate(float(v), float(e), 64) for v, e in zip(one.value, one.stderr, strict=True)]
    expected = volatility_alarms(estimates, steps=one.step).alarms
    assert [(mark.index, mark.kind) for mark in marks(one, "M")] == [(a.index, a.kind) for a in expected]
    assert len(expected) > 3


def test_only_what_was_added_is_judged(monkeypatch):
    values = quiet(6, 120)
    values[100:103] = 50.0
    judged = []
    original = alarms.alarms_along

    def counted(*arguments, before=None, **rest):
        judged.append(len(arguments[0]) - (0 if before is None else len(before.centre)))
        return original(*arguments, before=before, **rest)

    monkeypatch.setattr(alarms, "alarms_along", counted)
    monkeypatch.setattr(alarms, "_known", type(alarms._known)())
    whole = series(values)
    for count in (90, 100, 101, 102, 103, 103, 120):
        found = marks(whole.pick(slice(0, count)), "M")
    assert judged == [90, 10, 1, 1, 1, 17]
    monkeypatch.setattr(alarms, "_known", type(alarms._known)())
    assert found == marks(whole, "M")
    assert judged.pop() == 120
    # A result that arrives late, before others, is another series; so is another run's.
    late = whole.pick(np.delete(np.arange(120), 50))
    marks(late, "M")
    marks(whole, "M")
    marks(series(quiet(7, 120)), "M")
    assert judged[6:] == [119, 120]
    # As many as may be asked about are remembered, and no more.
    for seed in range(200):
        marks(series(quiet(seed, 12)), "M")
    assert len(alarms._known) == alarms._KEPT


def test_a_first_alarm_travels_as_data():
    values = quiet()
    values[-1] = 90.0
    whole = series(values)
    _, form = increment(figures.curvature(of(ratio=whole.pick(slice(0, 58)))), None)
    change, same = increment(figures.curvature(of(ratio=whole.pick(slice(0, 59)))), form)
    assert type(change).__name__ == "Patch"
    assert same == form
    assert said(figures.curvature(of(ratio=whole)))["y"][60_000].endswith("at one measurement so far")
    # The axis's range changes with the jump; the traces are the same ones.
    before, after = (figures.curvature(of(ratio=one)) for one in (whole.pick(slice(0, 59)), whole))
    assert [trace.mode for trace in before.data] == [trace.mode for trace in after.data]


def test_two_alarms_at_one_point_are_one_mark_that_says_both():
    values = np.concatenate([quiet(1, 60), 3 * np.exp(1.5 * np.random.default_rng(1).standard_normal(30))])
    one = series(values, spread=0.0)
    at = [mark.index for mark in marks(one, "M/μ")]
    both = {index for index in at if at.count(index) > 1}
    assert both
    texts = said(figures.curvature(of(ratio=one)))["y"]
    assert len(texts) == len(set(at))
    for index in both:
        text = texts[one.step[index]]
        assert "jumps" in text
        assert "scatters more" in text


def test_the_exact_ratio_is_a_line_of_its_own_where_there_is_one():
    known = of(ratio=series(quiet()), policy_jacobian=series(quiet(1)))
    names = [trace.name for trace in figures.curvature(known).data if trace.name]
    assert names == ["M/μ", "‖∂π/∂s‖"]
    assert "exact" not in figures.curvature(known).layout.annotations[0].text
    exact = of(exact_ratio=series(quiet(2, level=2.9)))
    figure = figures.curvature({**known, **exact})
    go.Figure(figure.to_dict())
    drawn_exact = next(trace for trace in figure.data if trace.name == "exact M/μ")
    np.testing.assert_allclose(drawn_exact.y, exact[Key("curvature", "exact_ratio", "")].value, rtol=1e-6)
    ratio = next(trace for trace in figure.data if trace.name == "M/μ")
    assert (drawn_exact.yaxis, drawn_exact.line.dash) == ("y", "dot")
    assert drawn_exact.line.color != ratio.line.color
    assert "exact M/μ" in figure.layout.annotations[0].text
