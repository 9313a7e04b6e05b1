"""The figures of a run from its store: which run, the same figures as from series, and why one is not there."""

from __future__ import annotations

import json

import numpy as np
import plotly.io as pio
import pytest

import dashboards
from dashboards import figures
from dashboards.kinds import KINDS
from dashboards.run_figures import of_run
from dashboards.series import collect
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


def same(one, other) -> bool:
    return json.loads(pio.to_json(one, validate=False, engine="json")) == json.loads(
        pio.to_json(other, validate=False, engine="json")
    )


@pytest.fixture
def known(store_path, recorder):
    for step in (1000, 2000):
        recorder.record(step)
    return store_path


def test_a_path_a_url_and_an_open_store_give_the_same_figure(known):
    with open_store(known, readonly=True) as store:
        from_store = of_run(store, 1).gradient_error()
        # It stays open.
        assert len(store.runs()) == 1
    from_path = of_run(known).gradient_error()
    from_url = dashboards.of_run(f"sqlite:///{known}", "TD3 Reacher-v5 #1").gradient_error()
    assert same(from_store, from_path)
    assert same(from_store, from_url)


def test_figures_are_those_of_the_functions(known):
    found = of_run(str(known))
    with open_store(known, readonly=True) as store:
        series = collect(store.scalars(run=1))
        newest = store.latest(1, "field")
        arrays = store.arrays(newest.id)
        first = store.arrays(store.measurements(run=1, probe="field")[0].id)
    assert same(
        found.gradient_error(["cosine"], probe="simulator"), figures.gradient_error(series, ["cosine"], "simulator")
    )
    assert same(found.wrong_direction("dark"), figures.wrong_direction(series, "dark"))
    assert same(found.landscape(), figures.landscape(series))
    assert same(found.curvature(), figures.curvature(series))
    assert same(found.field(state=2, critic=1), figures.field(arrays, 2, 1))
    assert same(found.field(1500), figures.field(first))
    assert len(found.fields("critics").data) == 3 * len(figures.field(arrays).data)
    assert same(found.state_look(state=1), figures.state_look(arrays, 1))
    assert not same(found.field(1500), found.field())


def test_known_numbers_are_where_they_belong(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        run = store.start_run("mine")
        for step, share in ((100, 0.25), (200, 0.5)):
            numbers = {"deterministic/wrong_direction": Estimate(share, 0.125, 16, "simulator, H=5")}
            run.record(step, "simulator", Measurement(numbers))
        run.record(100, "mine", Measurement({"depth": Estimate(3.0, 0.5, 9)}))
        band, curve = of_run(store).wrong_direction().data
        assert curve.x.tolist() == [100, 200]
        assert curve.y.tolist() == [0.25, 0.5]
        assert curve.customdata[:, 3].tolist() == [16, 16]
        table = store.scalars(probe="simulator")
        np.testing.assert_array_equal(curve.customdata[:, 1], table.low.astype(np.float32))
        assert of_run(store).figure("mine").data[1].y.tolist() == [3.0]
    assert band.fill == "toself"


def test_absent_figures_say_why(store_path):
    config = {"probes": {"landscape": {}}, "left_out": {"on-policy": "the policy is deterministic"}}
    with open_store(store_path) as store:
        run = store.start_run("mine", config=config)
        run.record(5, "curvature", None, cost=0.2, status="skipped", message="no state passed its gate")
        run.record(9, "curvature", None, cost=0.0, status="failed", message="ValueError: no")
        run.record(9, "gradient", Measurement({"strange": Estimate(1.0, 0.1, 8)}))
        run.record(9, "cost", Measurement({"depth": Estimate(1.0, 0.1, 8)}))
        found = of_run(store)
        absent = found.absent()
        assert absent["rollout-value"] == "the probe on-policy was left out: the policy is deterministic"
        assert absent["landscape"] == "the probe landscape has not measured yet"
        assert absent["field"] == "this run has no probe field"
        assert absent["gradient-error"] == "the probe gradient measured other numbers"
        assert absent["curvature"].startswith("the probe curvature was due and skipped once and failed once")
        # A probe of one's own may be called like a figure, or like one of gradlab's probes.
        assert found.names() == ["cost", "probe:cost", "gradient"]
        assert found.figure("probe:cost").data[1].y.tolist() == [1.0]
        for name in ("landscape", "curvature", "rollout-gradient", "wrong-direction", "field", "gradient-error"):
            with pytest.raises(GradlabError, match="has nothing to draw") as error:
                found.figure(name)
            assert "\n" not in str(error.value)


def test_every_kind_can_be_asked_for_by_name(known):
    found = of_run(known)
    assert set(found.names()) | set(found.absent()) == set(KINDS)
    for name in found.names():
        figure = found.figure(name.replace("-", "_"))
        assert len(figure.data) > 0, name
        assert found.height(name) > 200


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda found: found.figure("feild"), "there is none of this name; this run has wrong-direction, field"),
        (lambda found: found.field(999), "no picture at or before step 999; the first is at 1,000"),
        (lambda found: found.field(state=4), "state 4 is none of its 4; give 0 to 3"),
        (lambda found: found.field(critic=-1), "critic -1 is none of its 3"),
        (lambda found: found.field(plane=1), "plane 1 is none of its 1"),
        (lambda found: found.fields("simulated"), "state 0 is not simulated"),
        (lambda found: found.field_over_states(), "was not measured"),
        (lambda found: found.gradient_error(["bias"]), "'bias' is none of bias_squared, variance"),
        (lambda found: found.gradient_error(probe="sim"), "'sim' is none of gradient, simulator"),
        (lambda found: found.any_probe("mine"), "this run has no probe mine"),
    ],
    ids=["figure", "step", "state", "critic", "plane", "panels", "over-states", "metric", "reference", "probe"],
)
def test_wrong_questions_are_one_line(known, ask, said):
    with pytest.raises(GradlabError) as error:
        ask(of_run(known))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_places_are_one_line(tmp_path, known):
    for where, said in ((tmp_path / "none.db", "no such file"), (None, "NoneType"), ("mysql://h/x", "not supported")):
        with pytest.raises(GradlabError, match=said):
            of_run(where)
    with pytest.raises(GradlabError, match="is not in store"):
        of_run(known, "other")
