"""``gradlab calibrate`` as a person runs it: exit codes, tables that fit, JSON, wrong input, an interrupt."""

import json
import sys

import pytest
import torch

from gradlab.calibration import compare, run
from gradlab.cli import main
from gradlab.worlds import QuadraticBandit

QUICK = ("--draws", "16", "--repeats", "8")


@pytest.fixture
def gradlab(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["gradlab", "calibrate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return call


class OffByATenth(QuadraticBandit):
    name = "off-by-a-tenth"

    def admitted(self):
        return [one._replace(mean=1.1 * one.mean, truth=1.1 * one.truth) for one in super().admitted()]


def test_a_right_world_exits_with_0_and_a_wrong_one_with_1(gradlab, monkeypatch):
    code, printed, error = gradlab("--world", "quadratic-bandit", "--estimator", "zeroth-order-antithetic")
    assert code == 0, printed
    assert error == ""
    assert printed.rstrip().splitlines()[-2].startswith("Calibrated:")
    wrong = OffByATenth([1.0, -2.0], torch.eye(2).double())
    monkeypatch.setattr(run, "calibrated_worlds", lambda: (("p=2", wrong),))
    code, printed, _ = gradlab()
    assert code == 1
    assert "NOT calibrated" in printed
    assert "WRONG" in printed
    assert "OUT" in printed


def test_the_control_must_fail(gradlab):
    names = [part for name in ("zeroth-order-2", "score-function") for part in ("--estimator", name)]
    code, printed, _ = gradlab("--control", "--world", "quadratic-bandit", *names, columns=200)
    assert code == 1
    assert "as it must be without the U-statistic's correction" in printed


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("full", [(), ("--full",)])
def test_tables_fit_the_screen(gradlab, columns, full):
    code, printed, _ = gradlab("--world", "quadratic-bandit", "--world", "step", *QUICK, *full, columns=columns)
    assert code in (0, 1)
    lines = printed.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in printed
    assert "\x1b" not in printed
    whole = "".join(line.split(" ")[0] for line in lines)
    assert "zeroth-order-antithetic-coordinate-6-directions" in whole
    assert "truth" in printed
    assert "verdict" in printed
    assert "of 5 %" not in printed


def test_json_to_standard_output_is_all_there_is(gradlab):
    code, printed, error = gradlab("--json", "-", "--world", "step", *QUICK, "--seed", 3)
    record = json.loads(printed)
    assert code == (0 if record["passed"] else 1)
    assert error == ""
    assert (record["seed"], record["draws"], record["repeats"]) == (3, 16, 8)
    assert {row["world"] for row in record["rows"]} == {"step"}


def test_json_to_a_file_beside_the_tables(gradlab, tmp_path):
    _, printed, _ = gradlab("--json", "kept.json", "--world", "step", *QUICK)
    record = json.loads((tmp_path / "kept.json").read_text())
    assert f"{record['cases']} cases" in " ".join(printed.split())
    _, again, _ = gradlab("--json", "-", "--world", "step", *QUICK)
    assert json.loads(again)["rows"] == record["rows"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--world", "stpe"), ("stpe", "step", "tabular")),
        (("--world", "step", "--estimator", "zeroth"), ("zeroth", "score-function")),
        (("--json", "nowhere/kept.json"), ("nowhere/kept.json", "no directory")),
        (("--json", "."), ("is a directory",)),
    ],
)
def test_wrong_input_is_one_line(gradlab, arguments, words):
    code, printed, error = gradlab(*arguments)
    assert code == 2
    assert printed == ""
    assert error.count("\n") == 1
    assert error.startswith("gradlab: ")
    assert all(word in error for word in words), error


def test_an_interrupt_leaves_in_one_line(gradlab, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure", interrupted)
    threads = torch.get_num_threads()
    code, _, error = gradlab("--world", "step", *QUICK)
    assert code == 130
    assert error == "gradlab: interrupted after 0 cases; there is no verdict\n"
    assert torch.get_num_threads() == threads


def test_help_has_the_rule(gradlab):
    code, printed, _ = gradlab("--help", columns=100)
    words = " ".join(printed.split())
    assert code == 0
    for word in ("binomial", "Bonferroni", "family-wise", "--json", "--world", "--estimator", "--seed", "--draws"):
        assert word in words
    assert run.RULE
    assert compare.SHIFT == 0.1


def test_answers_without_noise_alone_are_a_calibration_too(gradlab):
    # Nothing is left there to which chance could do anything: no table of what it allows.
    code, output, _ = gradlab("--world", "step", "--estimator", "deterministic", "--repeats", "4")
    assert code == 0
    assert "exact" in output
    assert "what chance allows" not in output
    assert "Answers without noise that are not the truth: 0 of" in output
