"""Stores written through the public API, with arrays and numbers as the probes store them."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import xarray as xr

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, open_store
from gradlab.store.entry import Entry

# What several tests write into stores is a module beside them.
sys.path.insert(0, str(Path(__file__).parent))

ESTIMATORS = ("deterministic", "zeroth-order-2", "zeroth-order-antithetic", "score-function", "score-function-baseline")
CRITICS = ["critic 1", "critic 2", "followed"]


class Recorder:
    """Writes what the default probes of a TD3 run write, at one step after another."""

    def __init__(self, run: RunWriter, seed: int = 0, actions: int = 2) -> None:
        self.run = run
        self.actions = actions
        self._rng = np.random.default_rng(seed)

    def record(self, step: int, simulator: bool = True) -> None:
        self.run.record(step, "gradient", self.gradient(step), cost=0.05)
        self.run.record(step, "landscape", self.landscape(step), cost=0.12)
        self.run.record(step, "curvature", self.curvature(step), cost=0.08)
        self.run.record(step, "field", self.field(step), cost=0.04)
        if simulator:
            self.run.record(step, "simulator", self.simulator(step), cost=2.1, where="background")

    def _noisy(self, value: float, spread: float, samples: int = 32, **more: Any) -> Estimate:
        return Estimate(value + spread * self._rng.normal(), spread, samples, **more)

    def gradient(self, step: int) -> Measurement:
        scalars = {}
        for i, name in enumerate(ESTIMATORS):
            # The deterministic estimator is the critic's own gradient: no error, no variance.
            noise = 0.0 if i == 0 else 0.004 * 4**i * (1 + np.exp(-step / 8000))
            scalars |= {
                f"{name}/bias_squared": self._noisy(0.0004 * i, 0.0006 * i, reference="critic"),
                f"{name}/variance": Estimate(
                    noise * np.exp(0.2 * self._rng.normal()), noise / 6, 32, "critic", scale="log"
                ),
                f"{name}/mse": self._noisy(noise, noise / 6 + 1e-9, reference="critic"),
                f"{name}/cosine": Estimate(
                    min(0.9999, 1 - 0.02 * i**2 - abs(0.01 * i * self._rng.normal())),
                    0.01 * i,
                    32,
                    "critic",
                    scale="fisher",
                ),
                f"{name}/norm_ratio": self._noisy(1 - 0.01 * i, 0.02, reference="critic"),
                f"{name}/snr": self._noisy(8 / 3**i, 0.4, reference="critic"),
            }
        return Measurement(scalars)

    def simulator(self, step: int) -> Measurement:
        wrong = 0.2 + 0.25 * np.exp(-step / 15_000)
        scalars = {"deterministic/wrong_direction": self._noisy(wrong, 0.05, reference="simulator, H=50")}
        for i, name in enumerate(ESTIMATORS):
            scalars |= {
                f"{name}/bias_squared": self._noisy(0.05 + 0.01 * i, 0.01, reference="simulator, H=50"),
                f"{name}/variance": self._noisy(0.02 * 3**i, 0.004 * 3**i, reference="simulator, H=50", scale="log"),
                f"{name}/cosine": self._noisy(0.62 - 0.05 * i, 0.05, reference="simulator, H=50", scale="fisher"),
            }
        return Measurement(scalars, notes=("2 of 32 states left out: no plateau",))

    def landscape(self, step: int) -> Measurement:
        return Measurement(
            {
                "optima": self._noisy(2.4 + step / 40_000, 0.2, 16),
                "births": self._noisy(0.4, 0.1, 16),
                "deaths": self._noisy(0.3, 0.1, 16),
                "gap": self._noisy(0.3 * np.exp(-step / 12_000), 0.03, 16),
                "own_fit": self._noisy(0.2 * np.exp(-step / 12_000), 0.03, 16),
                "basin_choice": self._noisy(0.1 * np.exp(-step / 12_000), 0.03, 16),
                "relative_gap": self._noisy(0.2 * np.exp(-step / 12_000) + 0.04, 0.02, 16),
                "best_basin_share": self._noisy(0.7, 0.1, 16),
                "boundary_share": self._noisy(0.3, 0.1, 16),
                "level_share": self._noisy(0.1, 0.05, 16),
                "actor_changed": self._noisy(0.2, 0.1, 16),
            }
        )

    def curvature(self, step: int) -> Measurement:
        return Measurement(
            {
                "mixed_partial": self._noisy(3.0, 0.3, 64),
                "curvature": self._noisy(0.8, 0.2, 64),
                "ratio": self._noisy(4.1, 0.5, 64, scale="log"),
                "policy_jacobian": self._noisy(2.2, 0.2, 64),
                "valid_share": self._noisy(0.6, 0.05, 64),
                "interior_share": self._noisy(0.8, 0.05, 64),
            }
        )

    def field(self, step: int, resolution: int = 33, arrows: int = 17, states: int = 4) -> Measurement:
        axes = np.linspace(-1, 1, resolution)
        coarse = np.linspace(-1, 1, arrows + 2)[1:-1]
        turn = step / 6000
        labels = CRITICS

        def q(actions: np.ndarray, critic: int, state: int) -> np.ndarray:
            x = actions[..., 0]
            y = actions[..., 1] if self.actions > 1 else 0.0 * x
            centre = 0.5 * np.array([np.cos(turn + state), np.sin(turn + state)])
            hill = 2 * np.exp(-4 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2))
            other = 1.2 * np.exp(-6 * ((x + centre[0]) ** 2 + (y + centre[1]) ** 2))
            return hill + other + 0.15 * np.sin(4 * x + critic) * np.cos(3 * y) - 10 + critic * 0.2

        def slope(actions: np.ndarray, critic: int, state: int) -> np.ndarray:
            parts = []
            for i in range(self.actions):
                shift = np.zeros(self.actions)
                shift[i] = 1e-4
                parts.append((q(actions + shift, critic, state) - q(actions - shift, critic, state)) / 2e-4)
            return np.stack(parts, axis=-1)

        def grid(points: np.ndarray) -> np.ndarray:
            if self.actions == 1:
                return points[:, None]
            return np.stack(np.meshgrid(points, points), axis=-1)

        pairs = [(c, s) for c in range(3) for s in range(states)]
        shape = (3, states)
        height = np.stack([q(grid(axes), c, s) for c, s in pairs])
        arrow = np.stack([slope(grid(coarse), c, s) for c, s in pairs])
        actor = np.tile(np.array([[-0.35, 0.1]])[:, : self.actions], (states, 1)) + 0.02 * turn
        ascent = np.empty((*shape, 30, self.actions))
        optima = np.full((*shape, 3, self.actions), np.nan)
        values = np.full((*shape, 3), np.nan)
        for c, s in pairs:
            at = actor[s].copy()
            for k in range(30):
                ascent[c, s, k] = at
                at = np.clip(at + 0.05 * slope(at, c, s), -1, 1)
            for k, start in enumerate(([0.5, 0.0], [-0.5, 0.0])):
                angle = np.array([[np.cos(turn + s), -np.sin(turn + s)], [np.sin(turn + s), np.cos(turn + s)]])
                at = (angle @ np.array(start))[: self.actions]
                for _ in range(60):
                    at = np.clip(at + 0.03 * slope(at, c, s), -1, 1)
                optima[c, s, k], values[c, s, k] = at, q(at, c, s)
        flat = self.actions == 1
        place = ("critic", "state")
        arrays = {
            "q": xr.DataArray(
                height.reshape(*shape, *height.shape[1:]).astype("f4"),
                dims=(*place, "x") if flat else (*place, "y", "x"),
                coords={"critic": labels, "x": axes} | ({} if flat else {"y": axes}),
                attrs={"plane": [0] if flat else [0, 1]},
            ),
            "gradient": xr.DataArray(
                arrow.reshape(*shape, *arrow.shape[1:]).astype("f4"),
                dims=(*place, "arrow_x", "component") if flat else (*place, "arrow_y", "arrow_x", "component"),
                coords={"critic": labels, "arrow_x": coarse} | ({} if flat else {"arrow_y": coarse}),
            ),
            "actor": xr.DataArray(actor.astype("f4"), dims=("state", "action")),
            "optima": xr.DataArray(optima.astype("f4"), dims=(*place, "optimum", "action")),
            "optima_value": xr.DataArray(values.astype("f4"), dims=(*place, "optimum")),
            "ascent": xr.DataArray(ascent.astype("f4"), dims=(*place, "ascent_step", "action")),
            "obs": xr.DataArray(self._rng.normal(size=(states, 11)).astype("f4"), dims=("state", "feature")),
        }
        return Measurement(arrays=arrays)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "gradlab.db"


@pytest.fixture
def recorder(store_path: Path) -> Iterator[Recorder]:
    """A run that goes on, in a new store; nothing measured yet."""
    with open_store(store_path) as store:
        run = store.start_run(algorithm="TD3", environment="Reacher-v5", library="stable-baselines3", seed=1)
        yield Recorder(run)


@pytest.fixture
def one_action_recorder(store_path: Path) -> Iterator[Recorder]:
    """A run with one action."""
    with open_store(store_path) as store:
        yield Recorder(store.start_run(algorithm="DDPG", environment="Pendulum-v1"), actions=1)


_PATIENCE = 60_000  # ms: a laptop that does other things as well


class Tab:
    """A page in Chromium with what the tests look at: pixels, and what plotly holds."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def pixels(self, x: float, y: float, width: float, height: float) -> np.ndarray:
        """Part of the page as [height, width, 3] bytes."""
        image = pytest.importorskip("PIL.Image")
        shot = self.page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})
        return np.asarray(image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def plane(self) -> np.ndarray:
        """The pixels of the field's plane that is in view, without its axes."""
        box = self.page.locator("#field .nsewdrag").first.bounding_box()
        # The slider lies over what is further down.
        bottom = min(box["y"] + box["height"], self.page.viewport_size["height"] - 50)
        return self.pixels(box["x"] + 4, box["y"] + 4, box["width"] - 8, bottom - box["y"] - 8)

    def until(self, script: str) -> None:
        """Waits until a script is true; ``page.wait_for_function`` uses eval, which the page's policy forbids.

        Of an element that is not there yet it is not true.
        """
        end = time.monotonic() + _PATIENCE / 1000
        asked = (
            f"() => {{ try {{ return {script} }} catch (e) {{ if (e instanceof TypeError) return false; throw e }} }}"
        )
        while not self.page.evaluate(asked):
            assert time.monotonic() < end, f"never true: {script}"
            self.page.wait_for_timeout(50)

    def drawn(self, what: str = "field") -> None:
        self.until(f"document.querySelector('#{what} .js-plotly-plot')?.data?.length > 1")
        self.page.wait_for_timeout(500)

    def data(self, what: str, trace: int, name: str) -> list[float]:
        """Numbers as plotly holds them, decoded."""
        plot = f"document.querySelector('#{what} .js-plotly-plot')"
        return self.page.evaluate(f"Array.from({plot}._fullData[{trace}]['{name}']).flat()")

    def said(self, text: str) -> None:
        """Waits until the slider says a step."""
        self.page.locator("#slider-text").get_by_text(text).first.wait_for()


@contextmanager
def visiting(browser: Any, server: Any) -> Iterator[Callable[..., Tab]]:
    """Opens pages; at the end nothing may have been complained about or asked of another machine."""
    pages, complaints, asked, away = [], [], [], []

    def visit(where: str = "", scheme: str = "light", width: int = 1440, height: int = 900) -> Tab:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.set_default_timeout(_PATIENCE)
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" and not away else None)
        page.on("pageerror", lambda error: complaints.append(str(error)) if not away else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/{where}")
        pages.append(page)
        return Tab(page)

    # While a server is away on purpose the browser says of every question that nobody answers.
    visit.away = away
    yield visit
    for page in pages:
        page.close()
    assert complaints == []
    outside = {url for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")}
    assert {urlsplit(url).netloc for url in outside} == {f"127.0.0.1:{server.port}"}


@pytest.fixture
def server(store_path):
    from dashboards import Server

    with Server(str(store_path), port=0, refresh=0.5) as running:
        yield running


@pytest.fixture
def open_page(browser, server):
    """Opens pages over the test's own store."""
    with visiting(browser, server) as visit:
        yield visit


@pytest.fixture(scope="module")
def runs_server(tmp_path_factory):
    """A dashboard over a store that does not change: three runs, the newest of them failed, another on policy."""
    from dashboards import Server

    path = tmp_path_factory.mktemp("runs") / "gradlab.db"
    budget = {"budget": 0.03, "learning_rate": 3e-4}
    with open_store(path) as store:
        for seed, algorithm in ((1, "TD3"), (2, "SAC")):
            run = store.start_run(algorithm=algorithm, environment="Reacher-v5", seed=seed, config=budget)
            for step in range(1000, 6000, 1000):
                Recorder(run, seed=seed).record(step)
            run.finish()
        config = {**budget, "probes": {"on-policy": {"every": 2048}}, "left_out": {"field": "no critic of (obs, act)"}}
        run = store.start_run(algorithm="PPO", environment="Pendulum-v1", config=config)
        for step, snr in ((2048, 0.5), (4096, 0.25)):
            scalars = {"score-function/snr": Estimate(snr, 0.1, 24), "policy/entropy": Estimate(1.4, 0.01, 24)}
            run.record(step, "on-policy", Measurement(scalars), cost=0.25)
        run.finish("failed", "out of memory")
    with Server(str(path), port=0, refresh=0.5) as running:
        yield running


@pytest.fixture
def open_runs(browser, runs_server):
    """Opens pages over the store of three runs."""
    with visiting(browser, runs_server) as visit:
        yield visit


def later(recorder: Recorder, step: int, promise: float) -> None:
    """What the probes store since they know of surrogates, the spectrum, returns and flips."""
    run = recorder.run
    landscape = {**recorder.landscape(step).scalars}
    landscape |= {f"persistence/{x:.4g}": Estimate(3 - x * 2, 0.1, 16) for x in (0.001, 0.01, 0.1, 1.0)}
    for i in range(4):
        landscape |= {
            f"surrogate/{i}/optima": Estimate(3.0 - i / 2, 0.2, 16),
            f"surrogate/{i}/vanishing_share": Estimate(i / 4, 0.05, 16, scale="share"),
            f"surrogate/{i}/best_share": Estimate(1 - i / 4, 0.05, 16, scale="share"),
        }
    run.record(step, "landscape", Measurement(landscape))
    curvature = {**recorder.curvature(step).scalars, "eigenvalue/1": Estimate(-1.0, 0.1, 64)}
    run.record(step, "curvature", Measurement({**curvature, "eigenvalue/2": Estimate(-4.0, 0.1, 64)}))
    flips = {"flip_rate": Estimate(0.2, 0.02, 16, scale="share"), "observed": Estimate(0.5, 0.05, 16)}
    states = np.stack([np.geomspace(0.1, 10, 24), np.full(24, 0.5), np.geomspace(0.05, 1, 24)], -1)
    table = xr.DataArray(states, dims=("state", "part"), coords={"part": ["bound", "actor", "observed"]})
    run.record(step, "smoothness", Measurement(flips, {"states": table}))
    against = {"reference": "simulator"}
    returns = {"value/bias": Estimate(2.0, 0.1, 12, **against), "value/rmse": Estimate(2.5, 0.1, 12, **against)}
    for length in (0.01, 0.03, 0.1, 0.3):
        returns |= {
            f"step/{length:g}/predicted": Estimate(promise * length, 0.01, 12, **against),
            f"step/{length:g}/realised": Estimate(-0.5 * length, 0.02, 12, **against),
            f"step/{length:g}/ratio": Estimate(-0.5 / promise, 0.1, 12, **against),
            f"step/{length:g}/worse": Estimate(0.75, 0.1, 12, scale="share", **against),
        }
    returns["phantom/value_phantom"] = Estimate(0.25, 0.1, 12, scale="share", **against)
    q = np.linspace(-5, 5, 24)
    values = xr.DataArray(
        np.stack([q, q / 2 - 2, 0 * q], -1), dims=("state", "part"), coords={"part": ["critic", "true", "stderr"]}
    )
    run.record(step, "returns", Measurement(returns, {"value": values}))
    run.record(step, "simulator", recorder.simulator(step))


@pytest.fixture(scope="module")
def truth_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "gradlab.db"
    with open_store(path) as written:
        for seed in (1, 2):
            run = written.start_run(algorithm="TD3", environment="Reacher-v5", seed=seed)
            for step in (1000, 2000, 3000):
                later(Recorder(run, seed=seed), step, promise=step / 1000)
            run.finish()
        run = written.start_run("old", algorithm="TD3", environment="Reacher-v5")
        Recorder(run).record(1000)
        run.finish()
    return path


@pytest.fixture
def open_truth(browser, truth_store):
    from dashboards import Server

    with Server(str(truth_store), port=0, refresh=0.5) as running, visiting(browser, running) as visit:
        yield visit


@pytest.fixture(scope="module")
def whole_server(tmp_path_factory):
    """A dashboard over a store that does not change: a run with something of everything, and one that failed."""
    from dashboards import Server

    path = tmp_path_factory.mktemp("whole") / "gradlab.db"
    with open_store(path) as store:
        run = store.start_run(algorithm="TD3", environment="Reacher-v5", seed=1, config={"budget": 0.03})
        written = Recorder(run, seed=1)
        for step in (1000, 2000, 3000):
            written.record(step)
            later(written, step, promise=step / 1000)
            run.record(step, "my own", Measurement({"share": Estimate(0.5, 0.1, 40, "an oracle")}), cost=0.01)
        failure = Entry("health", status="failed", message="ValueError: no room")
        run.record_once(
            "a token", 3000, failure, when=time.time(), traceback="Traceback:\n  in a file\nValueError: no room"
        )
        run.finish()
        store.start_run(algorithm="SAC", environment="Reacher-v5", seed=2).finish("failed", "out of memory")
    with Server(str(path), port=0, refresh=0.5) as running:
        yield running


@pytest.fixture
def open_whole(browser, whole_server):
    """Opens pages over the store that has something of everything."""
    with visiting(browser, whole_server) as visit:
        yield visit
