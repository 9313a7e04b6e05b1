"""What the dashboard costs, and how soon it shows what was written: a real store, a writer, a server and Chromium.

The store holds 20 runs with a million scalars, written by ``stored_runs.py`` through the store's own code; one run goes
on, written to by a process of its own. Server, writer and browser are processes of this machine, so that times include
that they share it: run this where nothing else runs.

    cold     command → address; page → first figure, of a server that has read nothing yet
    live     write → painted at one refresh a second, and processor time of the server for each update, on three pages
    idle     a page that is open while nothing is written
    slider   key → picture on the field page
    tabs     write → painted with ten tabs, and how long the writer waits: without tabs, with ten, and with ten that
             look at a copy of the store, who take as much of the processor and nothing of the store
    memory   of server and page over 2,000 updates
    ways     tail against reading all, a Patch against a whole figure

    python benchmarks/bench_dashboard.py [--parts cold live ...] [--quick] [--store PATH]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import stored_runs
import watched

PAGES = {"overview": "", "gradient": "gradient", "field": "field"}


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile; infinite where nothing was seen at all."""
    return float(np.quantile(values, share)) if len(values) else float("inf")


class Bench:
    """One store and what was measured of it.

    Attributes:
        rows: name, number, unit and target of everything that was measured.
        comparisons: of ways, as ``harness.compare`` gives them.
    """

    def __init__(self, store: Path, browser: Any, *, quick: bool) -> None:
        self.store = store
        self.browser = browser
        self.quick = quick
        self.rows: list[dict[str, Any]] = []
        self.comparisons: list[dict[str, Any]] = []
        with stored_runs.open_store(store, readonly=True) as found:
            self.live = max(run.id for run in found.runs())

    def note(self, name: str, value: float, unit: str, target: float | None = None, **more: Any) -> None:
        """Keeps and prints a number; a target is the most it may be."""
        self.rows.append({"name": name, "value": value, "unit": unit, "target": target, **more})
        verdict = "" if target is None else f"   asked ≤ {target:g}: {'yes' if value <= target else 'NO'}"
        print(f"{name:58} {value:9.4g} {unit}{verdict}", flush=True)

    def span(self, seconds: float) -> float:
        """A time to measure for, a quarter of it where it is to be quick."""
        return seconds / 4 if self.quick else seconds

    def cold(self) -> None:
        """A server that has read nothing, and a browser that has cached nothing."""
        for name, path in PAGES.items():
            firsts, starts, used = [], [], []
            for _ in range(1 if self.quick else 2):
                with watched.serving(self.store) as server:
                    before = server.cpu()
                    page = watched.opened(self.browser, f"{server.url}/{path}")
                    firsts.append(page.evaluate("window.bench.first") / 1000)
                    starts.append(server.started)
                    used.append(server.cpu() - before)
                    page.context.close()
            self.note(f"page → first figure, cold, {name}", max(firsts), "s", 3.0, all=firsts)
            self.note("  processor time of the server for it", max(used), "s")
            self.note("  command → address", max(starts), "s")

    def live_pages(self) -> None:
        """Write → painted, and what each update costs the server beyond what an idle page does."""
        delays: list[float] = []
        with watched.serving(self.store) as server:
            for name, path in PAGES.items():
                page = watched.opened(self.browser, f"{server.url}/{path}")
                page.wait_for_timeout(4000)
                rest = self._spent(server, self.span(6))
                seconds = self.span(24)
                before = server.cpu()
                writer = watched.Writer(self.store, self.live, 1.1, seconds)
                written = self._during(page, writer, seconds)
                page.wait_for_timeout(1500)
                used = server.cpu() - before
                found = watched.seen(page, written)
                delays += found
                each = (used - rest * (seconds + 1.5)) / max(1, len(written))
                self.note(f"processor time of the server for an update, {name}", 1e3 * each, "ms", 10.0)
                self.note("  and with its questions whether there is one", 1e3 * used / max(1, len(written)), "ms")
                self.note("  write → painted, median", quantile(found, 0.5), "s", shown=len(found))
                page.context.close()
        self.note("write → painted, 95 %", quantile(delays, 0.95), "s", 1.0, delays=delays)
        self.note("write → painted, median", quantile(delays, 0.5), "s")

    def idle(self) -> None:
        """A page that is open while nothing is written."""
        with watched.serving(self.store) as server:
            page = watched.opened(self.browser, f"{server.url}/gradient")
            page.wait_for_timeout(4000)
            self.note("idle page, of a core of the server", 100 * self._spent(server, self.span(15)), "%", 1.0)
            page.context.close()

    def slider(self) -> None:
        """Key → picture: back through the pictures, each one asked for when the one before is painted."""
        with watched.serving(self.store) as server:
            page = watched.opened(self.browser, f"{server.url}/field")
            page.wait_for_timeout(3000)
            for wanted in range(1, (10 if self.quick else 36) + 1):
                page.keyboard.press("ArrowLeft")
                end = time.monotonic() + 5
                while page.evaluate("window.bench.taken.length") < wanted and time.monotonic() < end:
                    page.wait_for_timeout(10)
                page.wait_for_timeout(120)
            taken = page.evaluate("window.bench.taken")
            page.context.close()
        self.note("slider → pixels, 95 %", quantile(taken, 0.95), "ms", 150.0, all=taken)
        self.note("slider → pixels, median", quantile(taken, 0.5), "ms")

    def tabs(self) -> None:
        """Ten tabs at once, and the writer beside them."""
        alone = self._waits(self.store, self.span(20))
        with watched.serving(self.store) as server:
            pages = [watched.opened(self.browser, f"{server.url}/gradient") for _ in range(10)]
            pages[0].wait_for_timeout(3000)
            seconds = self.span(25)
            written = self._during(pages[0], watched.Writer(self.store, self.live, 1.1, seconds), seconds)
            pages[0].wait_for_timeout(2000)
            delays = [delay for page in pages for delay in watched.seen(page, written)]
            self.note("write → painted in ten tabs, 95 %", quantile(delays, 0.95), "s", 2.0, shown=len(delays))
            beside = self._waits(self.store, self.span(20), pages[0])
            for page in pages:
                page.context.close()
        copy = self.store.with_name("copy.db")
        with stored_runs.open_store(self.store):
            # Opened to write and closed again, it has no log that would have to be copied, too.
            pass
        shutil.copy(self.store, copy)
        with watched.serving(copy) as server:
            pages = [watched.opened(self.browser, f"{server.url}/gradient") for _ in range(10)]
            seconds = self.span(20)
            # The copy changes as often as the store, or its tabs would rest.
            other = watched.Writer(copy, self.live, 0.04, seconds + 1, pictures=False)
            elsewhere = self._waits(self.store, seconds, pages[0])
            other.wait()
            for page in pages:
                page.context.close()
        copy.unlink()
        one, ten, away = (1e3 * quantile(waits, 0.99) for waits in (alone, beside, elsewhere))
        self.note("writer waits for a step without tabs, 99 %", one, "ms", n=len(alone))
        self.note("writer waits for a step with ten tabs, 99 %", ten, "ms", n=len(beside))
        self.note("writer waits for a step with ten tabs elsewhere, 99 %", away, "ms", n=len(elsewhere))
        self.note("writer, ten tabs over none, 99 %", ten / one, "×", 1.2)
        self.note("writer, ten tabs over ten elsewhere, 99 %", ten / away, "×", 1.2)

    def memory(self) -> None:
        """Server and page over many quick updates."""
        updates, period = (200 if self.quick else 2000), 0.08
        with watched.serving(self.store, refresh=0.1) as server:
            page = watched.opened(self.browser, f"{server.url}/field")
            page.wait_for_timeout(2000)
            sizes = []
            for part in (updates // 4, updates - updates // 4):
                seconds = part * period
                self._during(page, watched.Writer(self.store, self.live, period, seconds), seconds)
                page.wait_for_timeout(3000)
                sizes.append((server.memory(), watched.heap(page)))
            shown = len(page.evaluate("Object.keys(window.bench.painted)"))
            page.context.close()
        (server_before, page_before), (server_after, page_after) = sizes
        later = updates - updates // 4
        kept = later * stored_runs.PER_STEP * 6 * 8 / 2**20
        self.note("updates that were painted", shown, "", of=updates)
        self.note(f"server, growth over {later} updates", server_after - server_before, "MB", all=sizes)
        self.note("  of which numbers that were added", kept, "MB")
        self.note("  beyond them", server_after - server_before - kept, "MB", 5.0)
        self.note(f"page, growth over {later} updates", page_after - page_before, "MB", 5.0)

    def ways(self) -> None:
        """The server's two main savings against what one would write first."""
        import plotly.graph_objects as go
        from dash._utils import to_json

        from dashboards import figures
        from dashboards.increment import increment
        from dashboards.records import Records
        from dashboards.series import collect

        records = Records(str(self.store), patience=0.0)
        with stored_runs.open_store(self.store) as store:
            series = records.looking_at([self.live]) and records.series(self.live)
            _, form = increment(figures.gradient_error(series), None)
            run, rng, step = store.attach_run(self.live), np.random.default_rng(), 10**7

            def tail() -> None:
                nonlocal step
                step += 500
                run.record_all(step, stored_runs.entries(rng, step, picture=False))
                records.view()

            def everything() -> None:
                store.measurements(), collect(store.scalars(run=self.live)), store.scalars()

            def first() -> None:
                Records(str(self.store)).looking_at([self.live])

            def patch() -> None:
                to_json(increment(figures.gradient_error(series), form)[0])

            def whole() -> None:
                figure = figures.gradient_error(series)
                to_json(go.Figure(figure.data, figure.layout).to_dict())

            repeats = 1 if self.quick else 3
            self.comparisons += [
                harness.compare("an update of the numbers, with its write", tail, everything, repeats=repeats),
                harness.compare("the first look at a store", first, everything, repeats=repeats),
                harness.compare("the gradient figure, sent", patch, whole, repeats=repeats),
            ]
        records.close()

    def _spent(self, server: watched.Server, seconds: float) -> float:
        """Share of a core while nothing is asked of it but by open pages."""
        before, began = server.cpu(), time.monotonic()
        self.browser.contexts[-1].pages[0].wait_for_timeout(1e3 * seconds)
        return (server.cpu() - before) / (time.monotonic() - began)

    def _during(self, page: Any, writer: watched.Writer, seconds: float) -> list[dict[str, float]]:
        # What the browser says is taken in meanwhile.
        page.wait_for_timeout(1e3 * seconds)
        return writer.wait()

    def _waits(self, store: Path, seconds: float, page: Any = None) -> list[float]:
        """How long a writer of another run waits for each step, 25 a second."""
        writer = watched.Writer(store, self.live - 1, 0.04, seconds, pictures=False)
        written = self._during(page, writer, seconds) if page is not None else writer.wait()
        return [one["waited"] for one in written[5:]]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["ways", "cold", "live", "idle", "slider", "tabs", "memory"]
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="a tenth of the store and a quarter of the time")
    parser.add_argument("--store", type=Path, help="keep the store here, and take it from here where it is there")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, watched.browsing() as browser:
        store = given.store or Path(folder) / "gradlab.db"
        scalars = 100_000 if given.quick else 1_000_000
        if not store.exists():
            print(f"writing a store of 20 runs and {scalars:,} scalars", flush=True)
            scalars = stored_runs.build(store, 20, scalars, 40)
        bench = Bench(store, browser, quick=given.quick)
        parts: dict[str, Callable[[], None]] = {
            "ways": bench.ways, "cold": bench.cold, "live": bench.live_pages, "idle": bench.idle,
            "slider": bench.slider, "tabs": bench.tabs, "memory": bench.memory,
        }  # fmt: skip
        for name in given.parts:
            print(f"— {name}, after {time.monotonic() - began:.0f} s", flush=True)
            parts[name]()
    took = time.monotonic() - began
    if given.quick or given.parts != names:
        print(f"took {took:.0f} s; only a whole run is kept")
        return
    missed = [row["name"] for row in bench.rows if row["target"] is not None and row["value"] > row["target"]]
    harness.write("dashboard", bench.comparisons, seconds=took, scalars=scalars, missed=missed, numbers=bench.rows)


if __name__ == "__main__":
    main()
