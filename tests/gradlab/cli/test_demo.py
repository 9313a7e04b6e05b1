"""``gradlab demo`` as a person runs it: training, store and dashboard together, watched in a browser."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradlab.store import open_store

pytestmark = pytest.mark.slow


def listen():
    """As in a terminal: tests that run behind nohup or in the background inherit deaf ears."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def start(tmp_path, *options):
    command = [sys.executable, "-m", "gradlab", "demo", "--no-browser", "--port", "0", "--store", "demo.db", *options]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=listen,
    )
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        if found:
            return process, found.group()
    raise AssertionError(f"no address printed; exit code {process.wait()}")


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    yield opened
    opened.close()


@pytest.mark.browser
def test_the_field_follows_training_and_an_interrupt_leaves_a_complete_store(tmp_path, page):
    process, url = start(tmp_path, "--steps", "100000")
    try:
        page.goto(url.rstrip("/") + "/field")
        field = page.locator("#field .js-plotly-plot, #field-graph .js-plotly-plot").first
        field.wait_for(timeout=120_000)
        read = "plot => { const heat = plot.data.find(t => t.type === 'heatmap'); return heat ? heat.z.bdata : null }"
        seen = set()
        deadline = time.monotonic() + 240
        while len(seen) < 3 and time.monotonic() < deadline:
            drawn = field.evaluate(read)
            if drawn:
                seen.add(drawn)
            assert process.poll() is None, "training ended before the page had changed"
            page.wait_for_timeout(250)
        assert len(seen) >= 3, "the page did not follow the run"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in output
    assert "complete" in output
    with open_store(tmp_path / "demo.db", readonly=True) as store:
        (run,) = store.runs()
        assert run.status == "stopped"
        assert len([m for m in store.measurements(probe="field") if m.status == "ok"]) >= 3


def test_a_whole_run_measures_everything(tmp_path):
    process, _ = start(tmp_path, "--steps", "1500", "--exit")
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, output
    with open_store(tmp_path / "demo.db", readonly=True) as store:
        (run,) = store.runs()
        done = {m.probe for m in store.measurements() if m.status == "ok"}
    assert (run.status, run.step, run.environment, run.algorithm) == ("finished", 1500, "Reacher-v5", "TD3")
    assert {"field", "gradient", "curvature", "simulator"} <= done


def children(process):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    # Nobody may be there to collect what has ended.
    return state != "Z"


def until(true, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def until_measuring(tmp_path):
    def measuring():
        with open_store(tmp_path / "demo.db", readonly=True) as store:
            return bool(store.measurements())

    until(measuring, "nothing was measured", 120.0)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("ending", ["hang-up", "impatience", "kill"])
def test_however_the_demo_ends_nothing_stays_behind(tmp_path, ending):
    process, _ = start(tmp_path, "--steps", "100000", "--stay")
    try:
        until_measuring(tmp_path)
        left = children(process)
        assert len(left) == 2, "the dashboard and the worker"
        if ending == "kill":
            process.kill()
        else:
            process.send_signal(signal.SIGHUP if ending == "hang-up" else signal.SIGINT)
            time.sleep(0.3)
            process.send_signal(signal.SIGHUP if ending == "hang-up" else signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    until(lambda: not any(map(alive, left)), "a process stays behind")
    assert "Traceback" not in output
    with open_store(tmp_path / "demo.db", readonly=True) as store:
        (run,) = store.runs()
    if ending != "kill":
        assert process.returncode == 130
        assert (run.status, run.message) == ("stopped", "interrupted by the user")
