"""What the documents show is what the code does: their Python runs, and their commands are the command line's."""

import re
import shlex
from pathlib import Path

import pytest
import typer

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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_take_their_options(document):
    """Each line that calls the command is parsed by it, and not run."""
    group = typer.main.get_command(app)
    lines = [line for block in blocks(document, "sh") for line in block.splitlines() if line.startswith("gradlab ")]
    for line in lines:
        _, name, *arguments = shlex.split(line, comments=True)
        group.commands[name].make_context(name, list(arguments), resilient_parsing=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target
