"""Writes a small store of real TD3 numbers' shape with whatever gradlab is imported; what lies beside this came so.

    git worktree add old COMMIT; cd old; python ../tests/gradlab/store/older/make.py schema_1.sqlite

``schema_1_first.sqlite`` is by ec85943, from before receipts and tracebacks; ``schema_1.sqlite`` by f686c76, the last
with that schema.
"""

import sys

import numpy as np
import xarray as xr

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

STEPS = (1000, 2000, 3000)


def measured(step: int) -> Measurement:
    """What a probe of the field might have found."""
    grid = np.linspace(-1, 1, 9)
    field = xr.DataArray(
        np.sin(grid[:, None] * step) * grid[None, :],
        dims=("y", "x"),
        coords={"x": grid, "y": grid},
        attrs={"critic": "min"},
    )
    return Measurement(
        {"cosine": Estimate(1 / step, 0.1, 64, "critic"), "gap": Estimate(float("nan"), float("nan"), 0)},
        {"q": field},
        ("a note",),
    )


def main(path: str) -> None:
    """Two runs, one ended and one that still runs."""
    with open_store(path) as store:
        for seed, name in ((1, "first"), (2**70, "<b>second</b>")):
            run = store.start_run(name, algorithm="TD3", environment="Reacher-v5", seed=seed, config={"γ": 0.99})
            for step in STEPS:
                run.record(step, "field", measured(step), cost=0.25)
            run.record(4000, "field", status="skipped", message="over budget")
            if hasattr(run, "record_once"):
                from gradlab.store import Entry

                failed = Entry("field", status="failed", message="no critic")
                run.record_once(f"token {seed}", 5000, failed, when=run_time(store), traceback="Traceback\n  line")
            if seed == 1:
                run.finish()


def run_time(store) -> float:
    """The moment of the last measurement."""
    return store.measurements()[-1].time


if __name__ == "__main__":
    main(sys.argv[1])
