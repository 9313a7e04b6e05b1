"""What is shown of a run whose arrays were pruned, and what a page does when its store is pruned under it."""

from __future__ import annotations

import time

import pytest
from conftest import Recorder, later, visiting
from sqlalchemy import update

from dashboards.known_run import PRUNED
from dashboards.reports import report_html
from dashboards.run_figures import of_run
from gradlab.errors import GradlabError
from gradlab.store import open_store, schema
from gradlab.store.upkeep import prune_arrays, prune_runs

OF_ARRAYS = {"field", "calibration", "bound-and-observed"}


@pytest.fixture
def store(store_path):
    """Two runs that have ended, with something of everything."""
    with open_store(store_path) as opened:
        for seed in (1, 2):
            run = opened.start_run(algorithm="TD3", environment="Reacher-v5", seed=seed)
            written = Recorder(run, seed=seed)
            for step in (1000, 2000):
                written.record(step)
                later(written, step, promise=step / 1000)
            run.finish()
        yield opened


def test_figures_of_arrays_are_absent_and_those_of_numbers_as_they_were(store):
    before = of_run(store, 1)
    assert set(before.names()) >= OF_ARRAYS
    prune_arrays(store, [1])
    found = of_run(store, 1)
    gone = set(before.names()) - set(found.names())
    assert gone >= OF_ARRAYS
    assert {found.absent()[name] for name in gone} == {PRUNED}
    for name in OF_ARRAYS:
        with pytest.raises(GradlabError, match=f"has nothing to draw: {PRUNED}"):
            found.figure(name)
    assert PRUNED in report_html(store, [1])


def test_pictures_before_a_step_can_go_alone(store):
    prune_arrays(store, [1], probe="field", before=2000)
    found = of_run(store, 1)
    assert [step for step, _ in found.run.fields] == [2000]
    assert len(found.field().data) > 1
    assert len(found.calibration(1000).data) > 1
    with pytest.raises(GradlabError, match="no picture at or before step 1,500; the first is at 2,000"):
        found.field(1500)


@pytest.mark.browser
def test_a_page_that_is_open_follows_what_is_pruned(store, browser):
    from dashboards import Server

    with Server(store.address, port=0, refresh=0.5) as running, visiting(browser, running) as visit:
        page = visit("field?run=1")
        page.drawn()
        prune_arrays(store, [1])
        page.locator("#field").get_by_text(PRUNED).wait_for()
        page.goto(f"{running.url}/critic?run=1")
        page.locator("#calibration").get_by_text(PRUNED).wait_for()
        page.drawn("improvement")
        silent = update(schema.runs).values(last_seen=time.time() - 7200)
        store.backend.write(lambda connection: connection.execute(silent))
        prune_runs(store, [1])
        page.locator("#runs").get_by_text("TD3 Reacher-v5 #1").wait_for(state="detached")
        page.locator("#runs").get_by_text("TD3 Reacher-v5 #2").first.wait_for()
