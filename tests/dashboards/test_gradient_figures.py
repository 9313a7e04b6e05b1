"""The gradient taken apart: what figures of one measurement draw, against the numbers that were stored."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gradient_numbers import CONTRIBUTIONS, RADII, apart, simulated

import dashboards
from dashboards import figures
from dashboards.at_step import snapshot
from dashboards.known_run import RunRecords
from dashboards.pages import Seen
from dashboards.pages.gradient import answer
from dashboards.series import collect, until
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

STEPS = (1000, 2000, 3000)


@pytest.fixture
def path(store_path, recorder):
    for step in STEPS:
        recorder.record(step)
        recorder.run.record(step, "estimators", apart(step), cost=0.9, where="background")
        recorder.run.record(step + 1, "simulator", simulated(step), cost=9.0, where="background")
    return store_path


@pytest.fixture
def series(path):
    with open_store(path, readonly=True) as store:
        return collect(store.scalars(run=1))


def bars(figure):
    return [trace for trace in figure.data if trace.type == "bar"]


def ends(trace):
    return trace.base[0], trace.base[0] + trace.x[0]


def texts(figure):
    return " | ".join(note.text for note in figure.layout.annotations)


def errors(**mse):
    """Bias², variance → what is stored of an estimator of that name."""
    numbers = {}
    for name, (bias, variance) in mse.items():
        numbers[f"{name}/bias_squared"] = Estimate(bias, 0.2, 32, "critic")
        numbers[f"{name}/variance"] = Estimate(variance, 0.1 * variance, 32, "critic")
        numbers[f"{name}/mse"] = Estimate(bias + variance, 0.1, 32, "critic")
    return numbers


def stored(tmp_path, probe, numbers):
    with open_store(tmp_path / "other.db") as store:
        store.start_run().record(10, probe, Measurement(numbers))
        return collect(store.scalars(run=1))


def test_a_negative_bias_is_drawn_below_zero_and_the_variance_beyond_the_whole(tmp_path):
    figure = figures.error_parts(stored(tmp_path, "gradient", errors(low=(-0.5, 2.5), high=(3.0, 1.0))))
    drawn = [ends(bar) for bar in bars(figure)]
    assert drawn[0] == pytest.approx((0.0, -0.25))
    assert drawn[1] == pytest.approx((0.0, 1.25))
    assert drawn[2:] == [pytest.approx((0.0, 0.75)), pytest.approx((0.75, 1.0))]
    low, high = figure.layout.xaxis.range
    assert low < -0.25
    assert high > 1.25


def test_an_error_that_is_not_above_zero_and_one_that_is_rounding_have_no_shares(tmp_path):
    numbers = errors(below=(-3.0, 1.0), fine=(1.0, 1.0))
    numbers["exact/mse"] = Estimate(1e-14, 0.0, 32, ends=(1e-14, 1e-14))
    figure = figures.error_parts(stored(tmp_path, "gradient", numbers))
    assert len(bars(figure)) == 2
    assert "not above zero" in texts(figure)
    assert "no error but rounding" in texts(figure)


def test_the_ranking_is_that_of_the_errors_and_unresolved_pairs_are_hollow(series):
    figure = figures.ranking(series)
    marks = figure.data[0]
    # Of 1, 2, 2.05, 9 that the numbers are made of: the second and the third are not told apart.
    assert list(marks.y) == [1, 2, 3]
    assert list(marks.marker.symbol) == ["circle", "circle", "circle"]
    cells = {(note.y, note.x): note.text for note in figure.layout.annotations if note.xref == "x2"}  # row, column
    assert cells[0, 1] == "<b>&lt;</b>"
    assert cells[1, 0] == "<b>&gt;</b>"
    assert cells[1, 2] == cells[2, 1] == "<b>?</b>"
    assert [cells[i, i] for i in range(4)] == ["<b>·</b>"] * 4


def test_the_waterfall_goes_from_nothing_to_the_total(series):
    figure = figures.error_ledger(series)
    drawn = [ends(bar) for bar in bars(figure)]
    at = 0.0
    for (start, end), value in zip(drawn[:-1], CONTRIBUTIONS.values(), strict=True):
        assert start == pytest.approx(at)
        at += value
        assert end == pytest.approx(at)
    assert drawn[-1] == pytest.approx((0.0, at))
    hatched = [bool(bar.marker.pattern.shape) for bar in bars(figure)]
    assert hatched == [False, True, False, False, False]
    assert "truncation: not measured" in texts(figure)
    assert "entropy</b>  none" in texts(figure)


def test_an_old_run_is_told_what_a_ledger_takes(recorder, store_path):
    recorder.record(1000)
    with open_store(store_path, readonly=True) as store:
        known = collect(store.scalars(run=1))
    assert "no error ledger has been measured" in texts(figures.error_ledger(known))
    found = dashboards.of_run(store_path)
    assert {"error-ledger", "ranking", "layers"} <= set(found.absent())
    with pytest.raises(GradlabError, match="measured other numbers"):
        found.error_ledger()
    with pytest.raises(GradlabError, match="'critic' is none of estimators, simulator"):
        found.ranking(probe="critic")


def test_noise_over_signal_crosses_one_at_the_critical_batch_size(series):
    figure = figures.batch_size(series)
    scale = snapshot(series, "estimators").value("zeroth-order-2/noise_scale")
    line = next(trace for trace in figure.data if trace.mode == "lines" and trace.name and "two-point" in trace.name)
    assert np.allclose(np.array(line.x) * np.array(line.y), scale)
    mark = next(trace for trace in figure.data if trace.mode == "markers" and "two-point" in trace.name)
    assert (mark.x[0], mark.y[0]) == (scale, 1.0)
    assert line.line.dash == "dot"  # the interval has no upper end
    assert "no signal above its noise:<br>score function" in texts(figure)


def test_the_radius_with_the_smallest_error_has_the_star(series):
    figure = figures.radius(series)
    star = next(trace for trace in figure.data if trace.mode == "markers")
    assert star.x[0] == RADII[1]
    mse = next(trace for trace in figure.data if trace.name == "MSE")
    assert [float(x) for x in mse.x] == list(RADII)
    assert min(mse.y) == pytest.approx(star.y[0], rel=1e-5)


def test_layers_share_the_signal_and_the_noise(series):
    figure = figures.layers(series)
    rows: dict[float, list[float]] = {}
    for bar in bars(figure):
        rows.setdefault(bar.y[0], []).append(bar.x[0])
    assert all(math.fsum(shares) == pytest.approx(1.0) for shares in rows.values())
    assert rows[0] == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(("at", "shown"), [(None, 3000), (2999, 2000), (1000, 1000), (1, 1000)])
def test_figures_are_of_the_newest_measurement_at_the_step_and_of_the_first_before_it(series, at, shown):
    assert snapshot(series, "estimators", at).step == shown
    assert f"step {shown:,}" in texts(figures.variance_split(series, at))


def test_the_answer_is_of_the_step_that_is_looked_at(series):
    newest, early = (answer(Seen(None, until(series, at), RunRecords(), at)).text for at in (None, 1500))
    assert "Step 3,001: the largest known term of the applied gradient's error is critic error" in newest
    assert "Step 1,001: the largest known term" in early
    assert "as much noise as signal at 40 or more states (zeroth order, two-point)" in newest


def test_every_figure_of_the_run_is_a_plotly_figure_in_either_theme(path):
    found = dashboards.of_run(path)
    of_moment = ("error-parts", "ranking", "error-ledger", "variance-split", "batch-size", "radius", "layers")
    for name in (*of_moment, "ledger-terms"):
        for theme in ("light", "dark"):
            figure = found.figure(name, theme)
            figure.to_plotly_json()
            assert len(figure.data) > 0
        assert name in found.names()
    assert len(found.error_parts(probe="simulator").data) > 0
    assert len(found.ranking(probe="simulator").data) > 0
