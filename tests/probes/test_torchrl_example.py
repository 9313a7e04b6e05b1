"""The example of TorchRL runs and measures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradlab.store import open_store

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    command = [sys.executable, "examples/torchrl_td3.py", "600", str(tmp_path / "run.db")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert re.search(r"^measured \{.*'gradient': [1-9]", found.stdout, flags=re.MULTILINE), found.stdout
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.algorithm, run.library, run.environment, run.status) == ("TD3", "torchrl", "Reacher-v5", "finished")
        assert len(store.scalars()) > 0


def test_what_it_takes_is_marked():
    """Two imports and two lines, besides the end."""
    lines = (ROOT / "examples" / "torchrl_td3.py").read_text(encoding="utf-8").splitlines()
    marked = [line for line in lines if line.endswith("# gradlab")]
    assert len(marked) == 4
    named = ("probes", "monitor.status", "monitor.close", "sampler_of")
    assert {line for line in lines if any(f"{name}" in line for name in named)} - set(marked) == {
        "    monitor.close()",
        '    print(f"measured {monitor.status.measured}, {monitor.status.cost:.1%} of the time, in {store}")',
    }
