"""Comparing groups of runs: steps that agree, seeds, references that do not, and the command."""

import numpy as np
import pytest
from typer.testing import CliRunner

import gradlab
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.interquartile import difference, over_runs
from gradlab.measurement import Measurement
from gradlab.store import open_store
from gradlab.store.across import across_runs, grouped


@pytest.fixture
def store(tmp_path):
    """Four seeds of TD3 and three of SAC; SAC is measured half as often and a little late."""
    rng = np.random.default_rng(0)
    with open_store(tmp_path / "gradlab.db") as opened:
        for algorithm, seeds, steps, late in (
            ("TD3", 4, range(0, 5000, 1000), 0),
            ("SAC", 3, range(0, 5000, 2000), 30),
        ):
            for seed in range(seeds):
                run = opened.start_run(f"{algorithm}-{seed}", algorithm=algorithm, environment="Reacher-v5", seed=seed)
                for step in steps:
                    gap = (2.0 if algorithm == "TD3" else 1.0) + 0.1 * rng.normal() + step / 1000
                    scalars = {"gap": Estimate(gap, 0.5, 16, "critic"), "step": Estimate(float(step), 0.0, 1)}
                    run.record(step + late, "landscape", Measurement(scalars))
        yield opened


def groups(store):
    return grouped(store.runs())


def test_groups_are_compared_at_the_steps_of_the_rarest(store):
    found = across_runs(store, groups(store), "landscape/gap")
    assert found.steps == (30, 2030, 4030)
    assert found.reference == "critic"
    table = store.scalars()
    table = table[table.name == "gap"]

    def values(algorithm, step):
        ids = [run.id for run in store.runs() if run.algorithm == algorithm]
        return table.value[np.isin(table.run, ids) & (table.step == step)]

    for place, step in enumerate((0, 2000, 4000)):
        td3, sac = values("TD3", step), values("SAC", step + 30)
        assert found.groups["TD3"][place].value == pytest.approx(over_runs([td3]).value)
        assert found.groups["SAC"][place].samples == 3
        one = found.differences["TD3", "SAC"][place]
        assert one.value == pytest.approx(difference([td3], [sac]).value)
        assert one.resolved


def test_nearest_records_count_and_far_ones_do_not(store):
    found = across_runs(store, groups(store), "landscape/step", steps=[1000, 3040])
    at = dict(zip(found.steps, found.groups["TD3"], strict=True))
    assert at[1000].value == 1000.0
    assert at[3040].value == 3000.0
    with pytest.raises(GradlabError, match="no training step in common"):
        across_runs(store, groups(store), "landscape/step", steps=[100_000, 100_010])


def test_a_run_that_ended_early_is_left_out_where_it_has_nothing(store):
    run = store.start_run("TD3-9", algorithm="TD3", environment="Reacher-v5", seed=9)
    for step in (0, 1000, 2000):
        run.record(step, "landscape", Measurement({"gap": Estimate(2.0, 0.1, 16, "critic")}))
    found = across_runs(store, groups(store), "landscape/gap", steps=[0, 2000, 4000])
    assert [one.samples for one in found.groups["TD3"]] == [5, 5, 4]


def test_environments_are_strata_and_said(store):
    for algorithm in ("TD3", "SAC"):
        for seed in range(2):
            run = store.start_run("far", algorithm=algorithm, environment="Hopper-v5", seed=seed)
            for step in (0, 2000, 4000):
                run.record(step, "landscape", Measurement({"gap": Estimate(100.0 + seed, 0.1, 16, "critic")}))
    found = across_runs(store, groups(store), "landscape/gap")
    assert "over 2 environments" in found.notes[0]
    # What lies between the tasks is no scatter of seeds.
    assert all(one.stderr < 2.0 for one in found.groups["TD3"])


def test_another_reference_is_another_number(store):
    run = store.start_run("TD3-8", algorithm="TD3", environment="Reacher-v5", seed=8)
    run.record(0, "landscape", Measurement({"gap": Estimate(1.0, 0.1, 16, "simulator")}))
    with pytest.raises(GradlabError, match="not the same number in all runs"):
        across_runs(store, groups(store), "landscape/gap")


@pytest.mark.parametrize(
    ("wanted", "scalar", "said"),
    [
        ({"a": [1]}, "landscape/nothing", "they have landscape/gap, landscape/step"),
        ({"a": [1]}, "nothing/gap", "nothing of a probe 'nothing'"),
        ({"a": []}, "landscape/gap", "group a: has no run"),
        ({"a": [99]}, "landscape/gap", "there is no run 99; the store has 7 runs"),
        ({"a": [1], "b": [1]}, "landscape/gap", "run 1 is there twice"),
        ({}, "landscape/gap", "there are none"),
    ],
)
def test_what_cannot_be_compared_is_named(store, wanted, scalar, said):
    with pytest.raises(GradlabError, match=said):
        across_runs(store, wanted, scalar)


def test_groups_must_have_the_same_environments(store):
    run = store.start_run("x", algorithm="TQC", environment="Hopper-v5")
    run.record(0, "landscape", Measurement({"gap": Estimate(1.0, 0.1, 16, "critic")}))
    with pytest.raises(GradlabError, match="not of the same environments"):
        across_runs(store, groups(store), "landscape/gap")


def test_the_table_has_a_row_for_each_step_and_group(store):
    table = across_runs(store, groups(store), "landscape/gap").table()
    assert list(table.columns) == ["step", "group", "value", "stderr", "low", "high", "runs", "resolved"]
    assert len(table) == 3 * 3


def test_the_command_prints_what_differs_and_writes_the_rows(store, tmp_path):
    from gradlab.cli import app

    path = str(tmp_path / "gradlab.db")
    printed = CliRunner().invoke(app, ["compare", "landscape/gap", "--store", path, "--to", str(tmp_path / "a.csv")])
    assert printed.exit_code == 0, printed.output
    assert "landscape/gap against critic" in printed.output
    assert "4,030" in printed.output
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 9
    listed = CliRunner().invoke(app, ["compare", "--store", path])
    assert "landscape/gap  (7 runs)" in listed.output


def test_it_is_found_by_its_public_name():
    assert gradlab.across_runs is across_runs
