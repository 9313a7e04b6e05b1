"""Exports read back: every number bit for bit, columns in their order, text as it was."""

from __future__ import annotations

import builtins
import csv
import json
import math

import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store
from gradlab.store.export import MEASUREMENTS, SCALARS, export_configuration, export_measurements, export_scalars

ODD = 'cosine, "odd"\nname ‖g‖ <b>'
NUMBERS = ("value", "stderr", "low", "high")


@pytest.fixture
def store(tmp_path):
    """Two runs: numbers that are hard to print, and a measurement that failed."""
    rng = np.random.default_rng(0)
    with open_store(tmp_path / "gradlab.db") as opened:
        other = opened.start_run("other", algorithm="PPO")
        other.record(1, "mine", Measurement({"a": Estimate(1.0, 0.1, 8)}))
        run = opened.start_run(
            "mine, <b>", algorithm="TD3", environment="Reacher-v5", seed=2**100, config={"lr": 0.1, "worst": math.inf}
        )
        for step in (1000, 3000, 2000):
            scalars = {
                ODD: Estimate(rng.normal() / 3, abs(rng.normal()) / 7, 64, "critic, H=50", "γ=0.99"),
                "tiny": Estimate(5e-324, 1e-300, 2**40),
                "unknown": Estimate(math.nan, math.nan, 1),
                "share": Estimate(0.3, 0.1, 16, scale="share"),
            }
            run.record(step, "gradient", Measurement(scalars, notes=("a, b", "c")), cost=0.1 + 0.2)
        run.record(4000, "simulator", None, cost=0.0, where="background", status="failed", message='no "state"\nat all')
        yield opened


def columns(store):
    return store.scalars(run=2).columns()


def same(found, expected):
    """Bit for bit, but that one NaN is as good as another."""
    assert len(found) == len(expected) > 0
    assert [math.isnan(one) for one in found] == [math.isnan(one) for one in expected]
    assert [one.hex() for one in found] == [float(one).hex() for one in expected]


def test_csv_reads_back_equal(store, tmp_path):
    assert export_scalars(store, tmp_path / "n.csv", ["mine, <b>"]) == 12
    with (tmp_path / "n.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames) == SCALARS
    known = columns(store)
    for name in (*NUMBERS, "time"):
        same([float(row[name]) for row in rows], known[name].tolist())
    for name in ("step", "samples"):
        assert [int(row[name]) for row in rows] == known[name].tolist()
    for name in ("name", "probe", "reference", "objective", "scale"):
        assert [row[name] for row in rows] == known[name].tolist()
    assert {row["run_name"] for row in rows} == {"mine, <b>"}
    assert ODD in {row["name"] for row in rows}


def test_pandas_reads_the_csv_equal(store, tmp_path):
    pandas = pytest.importorskip("pandas")
    export_scalars(store, tmp_path / "n.csv", [2])
    frame = pandas.read_csv(tmp_path / "n.csv", float_precision="round_trip")
    for name in NUMBERS:
        np.testing.assert_array_equal(frame[name].to_numpy(), columns(store)[name])


def test_json_lines_read_back_equal(store, tmp_path):
    assert export_scalars(store, tmp_path / "n.jsonl", [2]) == 12
    lines = (tmp_path / "n.jsonl").read_text(encoding="utf-8").split("\n")[:-1]

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [tuple(row) for row in rows] == [SCALARS] * 12
    for name in NUMBERS:
        same([math.nan if row[name] is None else float(row[name]) for row in rows], columns(store)[name].tolist())
    assert [row["name"] for row in rows] == columns(store)["name"].tolist()


def test_infinite_ends_have_a_word_in_both(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        run = store.start_run("mine")
        run.record(1, "mine", Measurement({"open": Estimate(1.0, 9.0, 4, ends=(-math.inf, math.inf))}))
        (low,), (high,) = store.scalars().low.tolist(), store.scalars().high.tolist()
        assert (low, high) == (-math.inf, math.inf)
        export_scalars(store, tmp_path / "n.jsonl")
        export_scalars(store, tmp_path / "n.csv")
    row = json.loads((tmp_path / "n.jsonl").read_text(encoding="utf-8"))
    assert (row["low"], row["high"]) == ("-inf", "inf")
    with (tmp_path / "n.csv").open(encoding="utf-8", newline="") as file:
        (listed,) = csv.DictReader(file)
    assert (float(listed["low"]), float(listed["high"])) == (-math.inf, math.inf)


def test_parquet_reads_back_equal(store, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export_scalars(store, tmp_path / "n.parquet", [2, 1]) == 13
    table = parquet.read_table(tmp_path / "n.parquet")
    assert tuple(table.column_names) == SCALARS
    for name in NUMBERS:
        same(table[name].to_pylist()[:12], columns(store)[name].tolist())
    export_measurements(store, tmp_path / "m.parquet", [2])
    assert parquet.read_table(tmp_path / "m.parquet")["notes"].to_pylist()[0] == ["a, b", "c"]


def test_parquet_without_pyarrow_says_what_to_install(store, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GradlabError, match=r"pip install pyarrow, or name the file \.csv"):
        export_scalars(store, tmp_path / "n.parquet")
    assert not (tmp_path / "n.parquet").exists()


def test_measurements_are_all_there_failed_ones_too(store, tmp_path):
    assert export_measurements(store, tmp_path / "m.csv", [2]) == 4
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == MEASUREMENTS
    known = store.measurements(run=2)
    assert [float(row["cost"]).hex() for row in rows] == [one.cost.hex() for one in known]
    assert [row["message"] for row in rows] == [one.message for one in known]
    assert [tuple(json.loads(row["notes"])) for row in rows] == [one.notes for one in known]
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "failed"]


def test_a_configuration_is_plain_json(store, tmp_path):
    assert export_configuration(store, tmp_path / "c.json", [1, "mine, <b>"]) == 2
    other, mine = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert (other["algorithm"], mine["name"], mine["seed"]) == ("PPO", "mine, <b>", 2**100)
    assert mine["config"] == {"lr": 0.1, "worst": "inf"}


def test_the_same_store_gives_the_same_bytes(store, tmp_path):
    for name in ("a.csv", "b.csv"):
        export_scalars(store, tmp_path / name, [1, 2, 1])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("n.xlsx", ".xlsx is no form"),
        ("n", "no suffix is no form"),
        ("none/n.csv", "there is no directory"),
        ("gradlab.db", ".db is no form"),
    ],
)
def test_a_file_that_cannot_be_is_one_line(store, tmp_path, name, said):
    with pytest.raises(GradlabError) as error:
        export_scalars(store, tmp_path / name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_is_never_written_over(store, tmp_path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes((tmp_path / "gradlab.db").read_bytes())
    with pytest.raises(GradlabError, match="is a store, and would be lost"):
        export_scalars(store, copy)


def test_what_fails_half_way_leaves_the_file_that_was_there(store, tmp_path, monkeypatch):
    target = tmp_path / "n.jsonl"
    target.write_text("before", encoding="utf-8")
    monkeypatch.setattr(
        "gradlab.store.export._plain", lambda value: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(GradlabError, match="cannot be written \\(No space left\\)"):
        export_scalars(store, target)
    assert target.read_text(encoding="utf-8") == "before"
    assert not list(tmp_path.glob(".*part"))
