"""States as a task's camera sees them: pictures that decode, tasks that are refused, and the process that renders."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.simulation import rendering


def test_a_picture_decodes_to_its_pixels():
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = np.asarray(image.open(io.BytesIO(rendering.png(pixels))).convert("RGB"))
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("name", ["evil_module:Task-v0", "Pendulum-v1", "none", "", "../Reacher-v5"])
def test_no_other_task_is_made_and_no_module_imported(tmp_path, monkeypatch, name):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GradlabError, match="is none of gymnasium's own MuJoCo tasks"):
        rendering.render(name, [0.0])
    assert "evil_module" not in sys.modules


def test_a_line_is_answered_by_a_line(monkeypatch):
    monkeypatch.setattr(rendering, "_able", lambda: "")
    monkeypatch.setattr(rendering, "render", lambda name, *_: np.full((2, 2, 3), len(name), dtype=np.uint8))
    asked = [{"environment": "ab", "obs": [0.0], "width": 2, "height": 2}, {"environment": "ab"}]
    said = io.BytesIO()
    rendering.main(io.BytesIO(b"".join(json.dumps(one).encode() + b"\n" for one in asked) + b"no\n"), said)
    ready, picture, short, broken = map(json.loads, said.getvalue().splitlines())
    assert ready == {}
    assert base64.b64decode(picture["png"]) == rendering.png(np.full((2, 2, 3), 2, dtype=np.uint8))
    assert "KeyError" in short["why"]
    assert "JSONDecodeError" in broken["why"]
    monkeypatch.setattr(rendering, "_able", lambda: "no driver")
    said = io.BytesIO()
    rendering.main(io.BytesIO(b"{}\n"), said)
    assert said.getvalue() == b'{"why": "no driver"}\n'


@pytest.mark.slow
def test_the_process_renders_the_state_that_is_asked_for():
    image = pytest.importorskip("PIL.Image")
    states = [(1.0, 0.0, 0.1), (-1.0, 0.0, 0.1), (1.0, 0.0, 0.1)]
    asked = [
        {"environment": "Reacher-v5", "obs": [c, 1, s, 0, t, t, 0, 0, 0.0, 0.0], "width": 120, "height": 90}
        for c, s, t in states
    ]
    asked.append({"environment": "Reacher-v5", "obs": [0.0], "width": 120, "height": 90})
    process = subprocess.run(
        [sys.executable, "-m", "gradlab.simulation.rendering"],
        input=b"".join(json.dumps(one).encode() + b"\n" for one in asked),
        env={"MUJOCO_GL": "egl", **os.environ},
        capture_output=True,
        timeout=300,
        check=False,
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    if not lines or lines[0]:
        pytest.skip(f"nothing can be rendered here: {lines or process.returncode}")
    first, other, again = (
        np.asarray(image.open(io.BytesIO(base64.b64decode(one["png"]))).convert("RGB")).astype(int)
        for one in lines[1:4]
    )
    assert first.shape == (90, 120, 3)
    assert first.std() > 5
    assert np.abs(first - other).max() > 50
    assert np.abs(first - again).max() < 3
    assert "obs: shape (1, 1)" in lines[4]["why"]
