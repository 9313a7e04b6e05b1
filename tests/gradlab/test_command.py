"""The command that is kept with a run: it can be typed again, and holds no secret."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from gradlab.command import command_line


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/venv/bin/python -u train.py --lr 1e-3", "python train.py --lr 1e-3"),
        ("python -X dev -m lab.train --seed 1", "python -m lab.train --seed 1"),
        ("/venv/bin/python /venv/bin/gradlab demo --steps 9", "gradlab demo --steps 9"),
        ("python t.py --wandb-api-key=abc --token abc -s 2", "python t.py '--wandb-api-key=***' --token '***' -s 2"),
        ("python t.py --db_password abc -v", "python t.py --db_password '***' -v"),
        ("python t.py postgresql://me:p@w:1@host/lab", "python t.py 'postgresql://me:***@host/lab'"),
        ("python t.py --url=https://x:pw@host", "python t.py '--url=https://x:***@host'"),
        ("python -c pass", ""),
        ("python", ""),
        ("python -m ipykernel_launcher -f /home/me/kernel.json", ""),
        ("python /venv/lib/ipykernel_launcher.py -f kernel.json", ""),
    ],
    ids=[
        "script", "module", "program", "keys", "password", "url", "url in an option", "code", "interactive", "notebook",
        "another notebook",
    ],
)  # fmt: skip
def test_what_is_kept(given, kept):
    assert command_line(shlex.split(given)) == kept
    assert "abc" not in kept


def test_of_a_process_that_runs(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("from gradlab.command import command_line\nprint(command_line())\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "train.py", "two words"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "python train.py 'two words'\n"
