"""``gradlab demo`` as a person runs it: training, store and dashboard together, watched in a browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gradlab.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def start(tmp_path, *options):
    command = [sys.executable, "-m", "gradlab", "demo", "--no-browser", "--port", "0", "--store", "demo.db", *options]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        if found:
            return process, found.group()
    raise AssertionError(f"no address printed; exit code {process.wait()}")


@pytest.fixture
def page():
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "chromium is not installed"
        if os.environ.get("GRADLAB_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()


def test_the_field_updates_while_training_runs(tmp_path, page):
    process, url = start(tmp_path, "--steps", "4000", "--exit")
    try:
        page.goto(url)
        field = page.locator("#field .js-plotly-plot, #field-graph .js-plotly-plot").first
        field.wait_for(timeout=120_000)
        read = "plot => JSON.stringify(plot.data.find(trace => trace.type === 'heatmap')?.z ?? '')"
        seen = set()
        deadline = time.monotonic() + 180
        while len(seen) < 3 and time.monotonic() < deadline:
            drawn = field.evaluate(read)
            if drawn:
                seen.add(drawn)
            assert len(seen) >= 2 or process.poll() is None, "training ended before the page had changed"
            page.wait_for_timeout(250)
        assert len(seen) >= 3, "the page did not follow the run"
        assert process.wait(timeout=240) == 0
    finally:
        process.kill()
    with open_store(tmp_path / "demo.db", readonly=True) as store:
        (run,) = store.runs()
        measured = {m.probe for m in store.measurements() if m.status == "ok"}
    assert (run.status, run.step, run.environment, run.algorithm) == ("finished", 4000, "Reacher-v5", "TD3")
    assert measured == {"field", "gradient", "curvature", "landscape", "simulator"}


def test_an_interrupt_leaves_a_complete_store(tmp_path):
    process, _ = start(tmp_path, "--steps", "100000")
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not measured(tmp_path / "demo.db"):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in output
    assert "complete" in output
    with open_store(tmp_path / "demo.db", readonly=True) as store:
        assert store.runs()[0].status == "stopped"
        assert store.measurements()


def measured(path):
    if not path.exists():
        return False
    with open_store(path, readonly=True) as store:
        return any(m.probe == "field" for m in store.measurements())
