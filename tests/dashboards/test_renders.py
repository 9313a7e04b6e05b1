"""Rendering beside the server: nobody waits for it, nothing of it can end the server, and little of it is kept."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from dashboards import renders as module
from dashboards.renders import Rendered, Renders

#: A process that counts in a file how often it was started, and answers with the first number of what it is asked.
SCRIPT = """
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text(path.read_text() + "x" if path.exists() else "x")
print(json.dumps({READY}), flush=True)
for line in sys.stdin:
    number = json.loads(line)["obs"][0]
    if number < 0:
        sys.exit(9)
    if number > 100:
        import time; time.sleep(60)
    print(json.dumps({"png": str(number)} if number else {"why": "no state"}), flush=True)
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes one whose processes leave a mark each."""
    monkeypatch.setenv("MUJOCO_GL", "egl")

    def made(ready: str = "{}") -> tuple[Renders, object]:
        count = tmp_path / "started"
        script = SCRIPT.replace("{READY}", ready)
        return Renders([sys.executable, "-c", script, str(count)]), count

    return made


def until(renders: Renders, number: float) -> Rendered:
    end = time.monotonic() + 60
    while (found := renders.of("Reacher-v5", np.array([number]))) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_one_process_makes_all_and_each_picture_once(make):
    renders, count = make()
    assert renders.of("Reacher-v5", np.array([1.0])) is None
    assert [until(renders, number) for number in (1.0, 2.0, 0.0)] == [
        Rendered("1.0"), Rendered("2.0"), Rendered(why="no state"),
    ]  # fmt: skip
    assert renders.of("Reacher-v5", np.array([1.0])) == Rendered("1.0")
    assert count.read_text() == "x"


def test_a_process_that_dies_is_a_reason_and_the_next_state_has_another(make):
    renders, count = make()
    assert until(renders, 1.0).png
    assert "ended without a word" in until(renders, -1.0).why
    assert until(renders, 2.0) == Rendered("2.0")
    assert count.read_text() == "xx"


def test_a_process_that_hangs_is_ended(make, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 1.0)
    renders, _ = make()
    assert "ended without a word" in until(renders, 1000.0).why


def test_where_nothing_can_be_rendered_it_is_tried_once(make):
    renders, count = make('{"why": "no driver"}')
    assert until(renders, 1.0).why == "MuJoCo cannot render here (egl: no driver)"
    assert renders.of("Reacher-v5", np.array([5.0])).why == "MuJoCo cannot render here (egl: no driver)"
    assert count.read_text() == "x"


def test_a_program_that_there_is_not_is_a_reason(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert "No such file" in until(Renders(["/no/such/program"]), 1.0).why


def test_few_pictures_are_kept_and_an_idle_process_goes(make, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    monkeypatch.setattr(module, "_IDLE", 0.2)
    renders, count = make()
    for number in (1.0, 2.0, 3.0):
        until(renders, number)
    assert len(renders._done) == 2
    thread = renders._thread
    if thread is not None:
        thread.join(30)
    assert renders._thread is None
    # It comes again when it is asked for.
    assert until(renders, 1.0) == Rendered("1.0")
    assert count.read_text() == "xx"
