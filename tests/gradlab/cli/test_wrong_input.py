"""Wrong input: one line that says what, where and what to do; exit code 2; nothing written half."""

import socket
import sqlite3
import sys
import zipfile
from pathlib import Path

import pytest

from gradlab.cli import main

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return run


def check(outcome, *words):
    code, printed = outcome
    assert code == 2, printed
    assert "Traceback" not in printed
    # MuJoCo says what it thinks of gymnasium's model files when it compiles them; that is not ours.
    lines = [line for line in printed.splitlines() if line and not line.startswith("WARNING: compiler attribute")]
    message = "\n".join([*lines, ""])
    assert message.count("\n") == 1, message
    assert message.startswith("gradlab: ")
    for word in words:
        assert word in message, message


def test_unknown_environment(gradlab, tmp_path):
    check(gradlab("demo", "--env", "Reachr-v5", "--no-browser"), "Reachr-v5", "Reacher-v5")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_port_leaves_nothing(gradlab, tmp_path):
    for port in (99999, -1):
        check(gradlab("demo", "--port", port, "--no-browser"), str(port), "--port 0")
    assert list(tmp_path.iterdir()) == []


def test_a_dashboard_over_what_is_no_store(gradlab, tmp_path):
    check(gradlab("dashboard", tmp_path, "--port", 0, "--no-open"), "is a directory")
    text = tmp_path / "notes.db"
    text.write_text("these are notes\n" * 100)
    check(gradlab("dashboard", text, "--port", 0, "--no-open"), "not a SQLite file")


def test_discrete_actions(gradlab, tmp_path):
    check(gradlab("demo", "--env", "CartPole-v1", "--no-browser"), "CartPole-v1", "discrete", "Reacher-v5")
    assert list(tmp_path.iterdir()) == []


def test_busy_port(gradlab):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check(gradlab("demo", "--port", port, "--no-browser"), str(port), "--port 0")
        check(gradlab("dashboard", "--port", port, "--no-open"), str(port), "--port 0")


@pytest.mark.parametrize("command", ["demo", "analyze"])
def test_a_store_that_is_not_ours(gradlab, tmp_path, command):
    text = tmp_path / "notes.db"
    text.write_text("these are notes\n" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("create table birds (name text)")
    for path in (text, other):
        before = path.read_bytes()
        arguments = {
            "demo": ("demo", "--no-browser"),
            "analyze": ("analyze", a_checkpoint(), "--env", "Reacher-v5"),
        }[command]
        check(gradlab(*arguments, "--store", path), path.name)
        assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.db", "other.db"]


def test_a_store_that_cannot_be_written(gradlab):
    check(gradlab("demo", "--no-browser", "--store", "/proc/gradlab.db"), "/proc")
    check(gradlab("demo", "--no-browser", "--store", "missing/folder/gradlab.db"), "missing/folder")


def test_broken_and_foreign_checkpoints(gradlab, tmp_path):
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(a_checkpoint().read_bytes()[:2000])
    foreign = tmp_path / "foreign.zip"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hello.txt", "not a model")
    for path in (empty, cut, foreign, tmp_path / "missing.zip"):
        check(gradlab("analyze", path, "--env", "Reacher-v5", "--store", "kept.db"), path.name)
    check(gradlab("analyze", tmp_path, "--env", "Reacher-v5", "--store", "kept.db"), "empty.zip", "cut.zip", "foreign")
    assert not (tmp_path / "kept.db").exists()


def test_observations_that_do_not_fit(gradlab, tmp_path):
    check(gradlab("analyze", a_checkpoint(), "--env", "HalfCheetah-v5", "--store", "kept.db"), "17", "10")
    assert not (tmp_path / "kept.db").exists()


def test_usage_errors_exit_with_2(gradlab):
    code, message = gradlab("demo", "--steps", "0")
    assert code == 2
    assert "--steps" in message
    code, message = gradlab("demo", "--seed", 2**32)
    assert code == 2
    assert "--seed" in message
    code, message = gradlab("demo", "--algo", "ppo")
    assert code == 2
    assert "td3" in message


def a_checkpoint():
    return next(path for path in sorted(CHECKPOINTS.glob("*.zip")) if "td3_reacher" in path.name)


@pytest.mark.parametrize("command", ["bias", "landscape", "curvature"])
def test_a_folder_is_no_document(gradlab, command, tmp_path):
    checkpoint = CHECKPOINTS / "td3_pendulum_1000.zip"
    check(gradlab(command, checkpoint, "--env", "Pendulum-v1", "--markdown", tmp_path), "--markdown", "is a folder")
