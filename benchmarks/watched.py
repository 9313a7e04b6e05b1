"""What the benchmark of the dashboard needs of processes and pages: a server, a writer, a browser, and their costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_TICKS = os.sysconf("SC_CLK_TCK")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-precise-memory-info",
]  # fmt: skip
#: Runs in every page before its own scripts: notes when what was first painted.
_NOTES = """
window.bench = { first: null, painted: {}, asked: null, taken: [] };
(function () {
  let last = 0, answered = null;
  const graphs = function () {
    return Array.from(document.querySelectorAll(".js-plotly-plot")).filter(function (one) {
      return one._fullData && one._fullData.length > 1;
    });
  };
  const numbers = function (text) {
    return (text.match(/step [0-9,]+/g) || []).map(function (one) { return Number(one.slice(5).replaceAll(",", "")); });
  };
  const newest = function () {
    const tiles = document.getElementById("tiles"), field = document.getElementById("field");
    if (tiles) return Math.max.apply(null, [0].concat(numbers(tiles.textContent)));
    if (field) {
      // The words come before the picture: what they say when it has been drawn is its step.
      const plot = field.querySelector(".js-plotly-plot");
      if (plot && plot.on && !plot.noted) {
        plot.noted = true;
        plot.on("plotly_afterplot", function () {
          answered = performance.now();
          field.step = Math.max.apply(null, [0].concat(numbers(document.getElementById("slider-text").textContent)));
        });
      }
      return field.step || 0;
    }
    const ends = [0];
    // On others x may be anything, such as the size of a batch.
    graphs().filter(function (plot) { return plot.closest(".over-training"); }).forEach(function (plot) {
      plot._fullData.forEach(function (trace) {
        if (trace.x && trace.x.length && String(trace.mode).includes("markers")) {
          ends.push(Number(trace.x[trace.x.length - 1]) || 0);
        }
      });
    });
    return Math.max.apply(null, ends);
  };
  const frame = function () {
    if (window.bench.first === null && graphs().length) {
      window.bench.first = -1;
      requestAnimationFrame(function () { window.bench.first = performance.now(); });
    }
    const now = newest();
    if (now > last) {
      last = now;
      requestAnimationFrame(function () { window.bench.painted[now] = Date.now() / 1000; });
    }
    if (window.bench.asked !== null && answered !== null && answered > window.bench.asked) {
      const since = window.bench.asked;
      window.bench.asked = null;
      requestAnimationFrame(function () { window.bench.taken.push(performance.now() - since); });
    }
    requestAnimationFrame(frame);
  };
  document.addEventListener("keydown", function () { window.bench.asked = performance.now(); }, true);
  requestAnimationFrame(frame);
})();
"""


class Server:
    """A dashboard in a process of its own.

    Attributes:
        url: where it is.
        started: seconds from the command to the address that it prints.
    """

    def __init__(self, store: Path, refresh: float = 1.0) -> None:
        call = f"from dashboards import serve; serve({str(store)!r}, port=0, refresh={refresh})"
        began = time.perf_counter()
        self._process = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[2]
        self.started = time.perf_counter() - began

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> float:
        """Resident megabytes."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


@contextmanager
def serving(store: Path, refresh: float = 1.0) -> Iterator[Server]:
    """A server that is stopped afterwards."""
    server = Server(store, refresh)
    try:
        yield server
    finally:
        server.stop()


class Writer:
    """A process that writes into a run; see ``stored_runs.py``."""

    def __init__(self, store: Path, run: int, period: float, seconds: float, *, pictures: bool = True) -> None:
        script = str(Path(__file__).with_name("stored_runs.py"))
        command = [sys.executable, script, str(store), str(run), str(period), str(seconds), str(int(pictures))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def wait(self) -> list[dict[str, float]]:
        """What it wrote."""
        said, _ = self._process.communicate()
        found: list[dict[str, float]] = json.loads(said)
        return found


@contextmanager
def browsing() -> Iterator[Any]:
    """Chromium."""
    from playwright.sync_api import sync_playwright

    where = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if where is None:
        raise SystemExit("benchmark: no Chromium on PATH; install Debian's chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=where, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Any, url: str) -> Any:
    """A page with its first figure painted, in a context that has cached nothing."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light").new_page()
    page.add_init_script(_NOTES)
    page.goto(url)
    end = time.monotonic() + 60
    while not (page.evaluate("window.bench.first") or -1) > 0:
        if time.monotonic() > end:
            raise SystemExit(f"benchmark: {url} shows no figure within a minute")
        page.wait_for_timeout(20)
    return page


def seen(page: Any, written: list[dict[str, float]]) -> list[float]:
    """Seconds from each write to the frame that shows it or a later one."""
    painted = {int(step): at for step, at in page.evaluate("window.bench.painted").items()}
    steps = np.array(sorted(painted))
    found = []
    for one in written:
        place = np.searchsorted(steps, one["step"])
        if place < len(steps):
            found.append(painted[int(steps[place])] - one["stored"])
    return found


def heap(page: Any) -> float:
    """Megabytes that the page's scripts hold after a collection of garbage."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    size: float = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    session.detach()
    return size
