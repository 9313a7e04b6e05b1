"""``gradlab bias``: how far the gradients of checkpoints are from the simulator's truth, as a table."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from rich.console import Console

    from gradlab.references.simulator import TrueValue
    from gradlab.simulation import Simulator

#: Kinds of references that ``--against`` knows, as KIND:HORIZON.
_KINDS = ("simulator", "smoothed", "bootstrapped")


def bias(
    checkpoints: Annotated[list[Path], typer.Argument(help="Zips written by Stable-Baselines3's model.save().")],
    env: Annotated[
        list[str],
        typer.Option(
            help="Gymnasium environment of the checkpoints: one for all, or one for each in turn. Checkpoints do not "
            "tell their task, only its sizes and its box of actions: give the one they were trained on."
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Reference and its horizon, as KIND:HORIZON with KIND simulator, smoothed (at --radius) or "
            "bootstrapped (the critic follows); may be given more than once. By default simulator:50."
        ),
    ] = None,
    states: Annotated[int, typer.Option(help="States looked at, of each checkpoint.", min=3)] = 128,
    episodes: Annotated[
        int, typer.Option(help="Episodes they are visited in: the independent samples of every interval.", min=3)
    ] = 32,
    draws: Annotated[int, typer.Option(help="Draws of each estimator at each state.", min=2)] = 512,
    radius: Annotated[
        float, typer.Option(help="Of zeroth-order and score-function estimators and of smoothing, in action units.")
    ] = 0.1,
    smoothing_draws: Annotated[
        int, typer.Option(help="Independent draws of the smoothed reference at each state.", min=2)
    ] = 16,
    batch: Annotated[int, typer.Option(help="States of the minibatch that variances are stated for.", min=1)] = 256,
    seconds: Annotated[
        float | None, typer.Option(help="Time each reference may take; states it does not get to are left out.")
    ] = None,
    second_way: Annotated[
        bool,
        typer.Option(
            "--second-way/--one-way",
            help="Hold the simulator's differences against the chain rule too, at each state; doubles the cost.",
        ),
    ] = True,
    resume: Annotated[
        Path | None,
        typer.Option(help="Folder for finished rollouts of the simulator reference: an interrupted run goes on there."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables here, as Markdown.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the states and of the draws.", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Measure bias, variance and direction of policy gradients against the simulator, with 95 % intervals.

    Each checkpoint's policy visits states of its own; deterministic, two-point and score-function gradients (or those
    of a stochastic policy) are compared with derivatives of the return taken through the physics. The critic's error in
    value and in gradient comes with them. Checkpoints are read without running any code from them.
    """
    import torch
    from rich.text import Text

    from gradlab.bias import long_horizon, measure_bias, usual_estimators
    from gradlab.cli.bias_document import TASK_IS_TOLD, Measured, document, print_measured
    from gradlab.cli.opened import opened
    from gradlab.references import SimulatorReference

    console = screen()
    wanted = [_kind_and_horizon(text) for text in against or ["simulator:50"]]
    for option, folder in (("--markdown", markdown and markdown.parent), ("--resume", resume)):
        if folder is not None and not folder.is_dir():
            raise GradlabError(f"{option}: there is no folder {folder}; make it first")
    if markdown is not None and markdown.is_dir():
        raise GradlabError(f"--markdown: {markdown} is a folder; name a file in it")
    saved = opened(checkpoints, env)
    console.print(TASK_IS_TOLD, markup=False, soft_wrap=True)
    found: list[Measured] = []
    for checkpoint, task, simulator in saved:
        agent, file = checkpoint.agent, checkpoint.path
        with console.status(Text(f"{file.name}: visiting states, and what they are worth")):
            visited = simulator.visit(agent, states, seed=seed, episodes=episodes)
            longest = SimulatorReference(simulator, long_horizon(agent.discount), seed=seed)
            values = _Known(longest.values(agent, visited))
        for kind, horizon in wanted:
            reference = _reference(kind, simulator, horizon, radius, smoothing_draws, seconds, second_way, seed)
            what = f"{file.name}: {reference.name}, H={horizon}"
            begun = time.perf_counter()
            with _shown(console, what, kind) as listening:
                kept = {"resume": resume / f"{file.stem}-{kind}-{horizon}.rollouts"} if resume and listening else {}
                truth = reference.cotangent(agent, visited, **listening, **kept)
            if kind == "bootstrapped":
                truth = replace(truth, name=f"{truth.name} after {horizon} rewards")
            cost = time.perf_counter() - begun
            with console.status(Text(f"{what}: estimators")):
                report = measure_bias(
                    agent,
                    truth,
                    visited,
                    estimators=usual_estimators(agent, radius),
                    draws=draws,
                    batch=batch,
                    values=values,
                    generator=torch.Generator().manual_seed(seed),
                )
            measured = Measured(file.name, checkpoint.algorithm, task, checkpoint.step, report, cost)
            print_measured(console, measured)
            found.append(measured)
    if markdown is not None:
        command = f"gradlab {shlex.join(sys.argv[1:])}"
        markdown.write_text(document(found, command, radius=radius, batch=batch), encoding="utf-8")
        console.print(f"Written to {markdown}", markup=False, soft_wrap=True)
    if not any(measured.report.at_states for measured in found):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Known:
    """True values, for every reference that is compared at the same states."""

    found: TrueValue

    def values(self, agent: object, states: object, actions: object = None) -> TrueValue:
        """Those that were found."""
        return self.found


@contextmanager
def _shown(console: Console, what: str, kind: str) -> Iterator[dict[str, Any]]:
    """A progress bar, as an argument for the references that tell of theirs; a spinner for the others."""
    from rich.text import Text

    from gradlab.cli.reference_progress import reference_progress

    if kind != "smoothed":
        with reference_progress(console, what) as listener:
            yield {"progress": listener}
    else:
        with console.status(Text(what)):
            yield {}


def _kind_and_horizon(text: str) -> tuple[str, int]:
    kind, _, horizon = text.partition(":")
    if kind not in _KINDS or not horizon.isdecimal() or int(horizon) < 1:
        raise GradlabError(
            f"--against {text}: not a reference and its horizon; write KIND:HORIZON with KIND one of "
            f"{', '.join(_KINDS)}, e.g. simulator:50"
        )
    return kind, int(horizon)


def _reference(
    kind: str,
    simulator: Simulator,
    horizon: int,
    radius: float,
    draws: int,
    seconds: float | None,
    second_way: bool,
    seed: int,
) -> Any:
    if kind == "smoothed":
        from gradlab.references import SmoothedSimulatorReference

        return SmoothedSimulatorReference(simulator, radius, horizon, draws=draws, seconds=seconds, seed=seed)
    if kind == "bootstrapped":
        from gradlab.references import BootstrappedReference

        return BootstrappedReference(simulator, horizon, seconds=seconds, seed=seed)
    from gradlab.references import SimulatorReference

    return SimulatorReference(simulator, horizon, seconds=seconds, second_way=second_way, seed=seed)
