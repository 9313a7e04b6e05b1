"""Probes of one's own: functions, and those that other packages bring."""

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.store import open_store


class Critic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


@pytest.fixture
def agent():
    return gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])


def gap_to_zero(agent, obs, generator):
    return {"distance": agent.action(obs).norm(dim=-1), "always": Estimate(1.0, 0.5, 4)}


def test_a_function_is_a_probe(agent, tmp_path):
    obs = torch.randn(200, 3)
    with probes.attach(agent, tmp_path / "run.db", probes=[gap_to_zero], budget=None) as monitor:
        monitor.step(0, obs=obs)
    assert monitor.status.measured == {"gap-to-zero": 1}
    with open_store(tmp_path / "run.db") as store:
        table = store.scalars(probe="gap-to-zero")
    found = dict(zip(table.name, zip(table.value, table.stderr, table.samples, strict=True), strict=True))
    expected = agent.action(obs[:128]).norm(dim=-1).double()
    assert found["distance"] == pytest.approx((expected.mean().item(), expected.std().item() / 128**0.5, 128))
    assert found["always"] == (1.0, 0.5, 4)


def test_a_function_in_a_process_of_its_own(agent, tmp_path):
    probe = probes.FunctionProbe(gap_to_zero, name="far", every=5, states=8, background=True)
    with probes.attach(agent, tmp_path / "run.db", probes=[probe], budget=None) as monitor:
        while not monitor.status.measured.get("far") and not monitor.status.failed:
            monitor.step(0, obs=torch.randn(8, 3))
    assert monitor.status.measured == {"far": 1}


@pytest.mark.parametrize("returned", [0.5, {"a": 0.5}, {"a": torch.tensor(0.5)}, {"a": torch.ones(1)}, None], ids=str)
def test_a_number_without_an_uncertainty_is_refused(agent, tmp_path, returned):
    def careless(agent, obs, generator):
        return returned

    with probes.attach(agent, tmp_path / "run.db", probes=[careless], budget=None) as monitor:
        monitor.step(0, obs=torch.randn(8, 3))
    with open_store(tmp_path / "run.db") as store:
        (row,) = store.measurements(probe="careless")
    assert row.status == "failed"
    assert "Measurement" in row.message or "give an Estimate" in row.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, "give a Probe or a function"),
        (lambda agent, obs, generator: {}, "the function has no name"),
        (probes.Gradient, r"Gradient is a class; write Gradient\(\)"),
    ],
    ids=["number", "lambda", "class"],
)
def test_what_is_no_probe_is_refused(agent, tmp_path, wrong, words):
    with pytest.raises(GradlabError, match=words):
        probes.attach(agent, tmp_path / "run.db", probes=[wrong])


def test_what_cannot_travel_is_measured_here_and_says_so(agent, tmp_path, caplog):
    stream = (tmp_path / "open file").open("w")

    def holds_a_file(agent, obs, generator):
        assert not stream.closed
        return {"norm": obs.norm(dim=-1)}

    probe = probes.FunctionProbe(holds_a_file, every=2, states=8, background=True)
    with (
        caplog.at_level(logging.WARNING, "gradlab"),
        probes.attach(agent, tmp_path / "run.db", probes=[probe], budget=None) as monitor,
    ):
        steps = 0
        while monitor.status.measured.get("holds-a-file", 0) < 2 and not monitor.status.failed:
            monitor.step(steps, obs=torch.randn(8, 3))
            steps += 1
    assert caplog.text.count("is measured in the training process") == 1
    assert monitor.status.failed == {}
    with open_store(tmp_path / "run.db") as store:
        rows = [row for row in store.measurements(probe="holds-a-file") if row.status == "ok"]
    assert {row.where for row in rows} == {"inline"}
    assert "cannot be sent to the background process" in rows[0].notes[-1]


def installed(folder, name, entry, code):
    """A package as pip leaves it: a module and its metadata."""
    (folder / f"{name}.py").write_text(code)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[gradlab.probes]\n{name} = {entry}\n")


def test_installed_probes_are_found_and_broken_ones_named(tmp_path):
    installed(
        tmp_path,
        "probe_of_a_class",
        "probe_of_a_class:Mine",
        "import probes\n"
        "from gradlab.measurement import Measurement\n"
        "class Mine(probes.Probe):\n"
        "    name = 'mine'\n"
        "    def __init__(self):\n"
        "        super().__init__(every=10, states=4)\n"
        "    def measure(self, agent, obs, generator):\n"
        "        return Measurement()\n",
    )
    installed(
        tmp_path, "probe_of_a_function", "probe_of_a_function:f", "def f(agent, obs, generator):\n    return {}\n"
    )
    installed(tmp_path, "probe_that_breaks", "probe_that_breaks:f", "raise RuntimeError('no such sensor')\n")
    code = (
        f"import sys, logging; sys.path.insert(0, {str(tmp_path)!r}); logging.basicConfig()\n"
        "import probes; print([probe.name for probe in probes.default_probes(preset='light')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['gradient', 'curvature', 'on-policy', 'mine', 'probe_of_a_function']"
    assert "probe_that_breaks" in done.stderr
    assert "RuntimeError: no such sensor" in done.stderr
