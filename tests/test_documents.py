"""What the documents show is what the code does: their Python runs, and their commands are the command line's."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
import xarray as xr
from typer.core import TyperGroup

import gradlab
from gradlab.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_example_of_references_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (code,) = blocks(ROOT / "docs" / "references.md", "python")
    exec(compile(code, "docs/references.md", "exec"), {})
    assert "gate open at" in capsys.readouterr().out


def test_the_example_of_analysing_runs(monkeypatch, capsys, tmp_path):
    (code,) = blocks(ROOT / "docs" / "analyzing.md", "python")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    exec(compile(code, "docs/analyzing.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 checkpoints, 3 measurements")
    assert lines[1] == "6 0 True {}"


def test_the_example_of_notebooks_runs(monkeypatch, capsys, tmp_path):
    (code,) = blocks(ROOT / "docs" / "stores.md", "python")
    monkeypatch.chdir(tmp_path)
    with gradlab.open_store("gradlab.db") as store:
        run = store.start_run("mine", algorithm="TD3")
        for step in (1000, 2000):
            run.record(step, "gradient", gradlab.Measurement({"cosine": gradlab.Estimate(0.5, 0.1, 64)}))
            q = xr.DataArray(np.full(4, float(step)), dims="state")
            run.record(step, "field", gradlab.Measurement(arrays={"q": q}))
        run.record(2000, "curvature", status="skipped", message="over budget")
        run.finish()
    names = {}
    exec(compile(code, "docs/stores.md", "exec"), names)
    assert "mine" in capsys.readouterr().out
    assert names["missing"]["message"].tolist() == ["over budget"]
    assert names["q"].sizes == {"step": 2, "state": 4}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_take_their_options(document):
    """Each line that calls the command is parsed by it, and not run."""
    group = typer.main.get_command(app)
    lines = [line for block in blocks(document, "sh") for line in block.splitlines() if line.startswith("gradlab ")]
    for line in lines:
        _, name, *arguments = shlex.split(line, comments=True)
        command = group.commands[name]
        while isinstance(command, TyperGroup):
            name, *arguments = arguments
            command = command.commands[name]
        command.make_context(name, list(arguments), resilient_parsing=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target
