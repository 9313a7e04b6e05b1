"""The example runs, and its three lines measure."""

import importlib.util
from pathlib import Path

from gradlab.store import open_store

EXAMPLE = Path(__file__).parents[3] / "examples" / "tianshou_td3.py"


def test_the_example_measures(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("tianshou_td3", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--steps", "320", "--store", str(tmp_path / "run.db")])
    assert "measured={" in capsys.readouterr().out
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.algorithm, run.environment, run.library) == ("TD3", "Pendulum-v1", "tianshou")
        assert run.status == "finished"
        assert any(row.status == "ok" for row in store.measurements(run=run.id))


def test_gradlab_takes_three_lines():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in lines if "# gradlab" in line] == [
        "import probes  # gradlab 1 of 3",
        "monitor = probes.attach(trainer, options.store)  # gradlab 2 of 3",
        "monitor.close()  # gradlab 3 of 3",
    ]
