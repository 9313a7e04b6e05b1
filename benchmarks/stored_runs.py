"""A store as twenty long runs leave it, for the benchmark of the dashboard: written through the store's own code.

A process of its own goes on writing into it where a run is to be live:

    python benchmarks/stored_runs.py STORE RUN PERIOD SECONDS PICTURES

writes one measurement of each probe every PERIOD seconds, give or take a third, with a picture of the field where
PICTURES is 1, and prints, as JSON, when each was stored and how long the writer waited for it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, open_store
from gradlab.store.entry import Entry

ESTIMATORS = ("deterministic", "zeroth-order-2", "zeroth-order-antithetic", "score-function", "score-function-baseline")
#: Of each: name → mean, spread.
_GRADIENT = {
    f"{name}/{metric}": (mean * 2**place, 0.1 * mean * 2**place)
    for place, name in enumerate(ESTIMATORS)
    for metric, mean in {"bias_squared": 4e-4, "variance": 4e-3, "mse": 5e-3, "cosine": 0.05, "norm_ratio": 1 / 16,
                         "snr": 0.4}.items()
}  # fmt: skip
_SIMULATOR = {name: one for name, one in _GRADIENT.items() if not name.endswith(("mse", "snr", "norm_ratio"))}
_NUMBERS = {
    "gradient": _GRADIENT,
    "simulator": {**_SIMULATOR, "deterministic/wrong_direction": (0.3, 0.05)},
    "landscape": dict.fromkeys(
        ("optima", "births", "deaths", "gap", "own_fit", "basin_choice", "relative_gap", "best_basin_share",
         "boundary_share", "level_share", "actor_changed"), (0.5, 0.05),
    ),
    "curvature": dict.fromkeys(
        ("mixed_partial", "curvature", "ratio", "policy_jacobian", "valid_share", "interior_share"), (2.0, 0.2)
    ),
}  # fmt: skip
#: Scalars of one step.
PER_STEP = sum(map(len, _NUMBERS.values()))
#: Training steps between two measurements.
EVERY = 500


def entries(rng: np.random.Generator, step: int, *, picture: bool) -> list[Entry]:
    """What the standard probes of a TD3 run write at one step."""
    found = [
        Entry(
            probe,
            Measurement(
                {
                    name: Estimate(mean + spread * float(rng.normal()), spread, 32, "critic")
                    for name, (mean, spread) in numbers.items()
                }
            ),
            cost=0.05,
            where="background" if probe == "simulator" else "inline",
        )
        for probe, numbers in _NUMBERS.items()
    ]
    return [*found, Entry("field", field(rng, step), cost=0.04)] if picture else found


def field(rng: np.random.Generator, step: int) -> Measurement:
    """A picture of three critics' fields at four states, as large as the probe's."""
    x, coarse, labels = np.linspace(-1, 1, 33), np.linspace(-1, 1, 19)[1:-1], ["critic 1", "critic 2", "followed"]
    turn, place = step / 6000, ("critic", "state")
    shift = turn + np.arange(3)[:, None, None, None] / 5 + np.arange(4)[:, None, None]
    height = np.sin(3 * x[:, None] + shift) * np.cos(2 * x + shift)
    slope = np.stack(
        [
            -2 * np.sin(3 * coarse[:, None] + shift) * np.sin(2 * coarse + shift),
            3 * np.cos(3 * coarse[:, None] + shift) * np.cos(2 * coarse + shift),
        ],
        axis=-1,
    )
    ascent = np.linspace(-0.3, 0.4, 30)[:, None] * np.array([np.cos(turn), np.sin(turn)])
    arrays = {
        "q": xr.DataArray(
            height.astype("f4"),
            dims=(*place, "y", "x"),
            coords={"critic": labels, "x": x, "y": x},
            attrs={"plane": [0, 1]},
        ),
        "gradient": xr.DataArray(
            slope.astype("f4"),
            dims=(*place, "arrow_y", "arrow_x", "component"),
            coords={"critic": labels, "arrow_x": coarse, "arrow_y": coarse},
        ),
        "actor": xr.DataArray(np.tile(ascent[:1], (4, 1)).astype("f4"), dims=("state", "action")),
        "optima": xr.DataArray(rng.uniform(-1, 1, (3, 4, 3, 2)).astype("f4"), dims=(*place, "optimum", "action")),
        "optima_value": xr.DataArray(rng.normal(size=(3, 4, 3)).astype("f4"), dims=(*place, "optimum")),
        "ascent": xr.DataArray(np.tile(ascent, (3, 4, 1, 1)).astype("f4"), dims=(*place, "ascent_step", "action")),
        "obs": xr.DataArray(rng.normal(size=(4, 11)).astype("f4"), dims=("state", "feature")),
    }
    return Measurement(arrays=arrays)


def build(path: Path, runs: int, scalars: int, pictures: int) -> int:
    """Writes the runs one after another, the last of which goes on; returns how many scalars there are.

    Args:
        path: of the store, which is made.
        runs: how many.
        scalars: of all runs together, at least.
        pictures: of the field, a run.
    """
    steps = -(-scalars // (runs * PER_STEP))
    with open_store(path) as store:
        for number in range(runs):
            rng = np.random.default_rng(number)
            config = {"budget": 0.03, "probes": {name: {"every": EVERY} for name in (*_NUMBERS, "field")}}
            run = store.start_run(algorithm="TD3", environment="Reacher-v5", seed=number, config=config)
            for place in range(1, steps + 1):
                picture = place % max(1, steps // pictures) == 0
                run.record_all(place * EVERY, entries(rng, place * EVERY, picture=picture))
            if number < runs - 1:
                run.finish()
    return runs * steps * PER_STEP


def go_on(path: str, number: int, period: float, duration: float, *, pictures: bool) -> None:
    """Writes into a run until the time is over."""
    rng = np.random.default_rng(1000 + number)
    stored: list[dict[str, float]] = []
    with open_store(path) as store:
        run: RunWriter = store.attach_run(number)
        step = next(one.step for one in store.runs() if one.id == number)
        due = began = time.time()
        while due - began < duration:
            step += EVERY
            made = entries(rng, step, picture=pictures)
            started = time.perf_counter()
            run.record_all(step, made)
            waited = time.perf_counter() - started
            stored.append({"step": step, "stored": time.time(), "waited": waited})
            # Not in step with the pages that look.
            due += period * rng.uniform(0.67, 1.33)
            time.sleep(max(0.0, due - time.time()))
    print(json.dumps(stored))


if __name__ == "__main__":
    where, run, every, seconds, with_pictures = sys.argv[1:]
    go_on(where, int(run), float(every), float(seconds), pictures=with_pictures == "1")
