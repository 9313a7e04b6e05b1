"""What a notebook reads: the store's own numbers, as data frames and datasets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store
from gradlab.store.frames import dataset, measurements_frame, runs_frame, scalars_frame


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "gradlab.db") as opened:
        for number, seed in enumerate((2**63 + 1, None)):
            run = opened.start_run(f"run {number}", seed=seed, config={"lr": 0.1})
            for step in (2000, 1000):
                q = xr.DataArray(
                    np.arange(6.0).reshape(2, 3) + step, dims=("state", "action"), coords={"state": [4, 5]}
                )
                arrays = {"q": q, **({"extra": q + 1} if step == 2000 else {})}
                run.record(step, "field", Measurement({"norm": Estimate(step / 7, 0.1, 8)}, arrays))
            run.record(2000, "field", status="skipped", message="over budget")
            run.finish()
        yield opened


def test_frames_hold_what_the_store_does(store):
    runs = runs_frame(store)
    assert runs.index.tolist() == [1, 2]
    assert runs["seed"].tolist() == [2**63 + 1, None]
    assert runs.loc[1, "config"] == {"lr": 0.1}
    assert runs["started"].dt.tz is not None
    measured = measurements_frame(store)
    assert measured.index.tolist() == [one.id for one in store.measurements()]
    assert measured["arrays"].tolist() == [True, True, False] * 2
    assert measured["message"].tolist()[2] == "over budget"
    table, frame = store.scalars(), scalars_frame(store)
    for name, column in table.columns().items():
        if name != "time":
            np.testing.assert_array_equal(frame[name].to_numpy(), column)
    assert frame["time"].iloc[0] == pd.Timestamp(table.time[0], unit="s", tz="UTC")
    assert set(scalars_frame(store, ["run 1"])["run"]) == {2}
    assert len(scalars_frame(store, probe="another")) == 0
    assert len(measurements_frame(store, [2, "run 1"])) == 3


def test_an_empty_store_gives_empty_frames(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        for frame in (runs_frame(store), measurements_frame(store), scalars_frame(store)):
            assert len(frame) == 0
            assert len(frame.columns) > 8


def test_arrays_stand_beside_each_other_in_the_order_of_steps(store):
    found = dataset(store, 1, "field")
    assert list(found) == ["q"]
    assert found["step"].values.tolist() == [1000, 2000]
    assert found["state"].values.tolist() == [4, 5]
    np.testing.assert_array_equal(found["q"].sel(step=2000), np.arange(6.0).reshape(2, 3) + 2000)
    assert dataset(store, 1, "field", ["extra"])["step"].values.tolist() == [2000]


def test_what_is_not_there_is_named(store):
    with pytest.raises(GradlabError, match=r"run 1 \(run 0\): probe field has no nothing; look at"):
        dataset(store, 1, "field", ["nothing"])
    with pytest.raises(GradlabError, match="probe gradient has no arrays"):
        dataset(store, 1, "gradient")
    with pytest.raises(GradlabError, match="another"):
        scalars_frame(store, ["another"])
    run = store.attach_run(1)
    run.record(3000, "field", Measurement(arrays={"q": xr.DataArray(np.zeros((3, 3)), dims=("state", "action"))}))
    with pytest.raises(GradlabError, match="arrays of field change their shape over training: "):
        dataset(store, 1, "field")
