"""``gradlab bias``: how far the gradients of checkpoints are from the simulator's truth, as a table."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.adapters.checkpoint import Checkpoint
    from gradlab.cli.bias_document import Measured
    from gradlab.simulation import Simulator
    from gradlab.simulation.states import States

#: Kinds of references that ``--against`` knows, as KIND:HORIZON.
_KINDS = ("simulator", "smoothed")


def bias(
    checkpoints: Annotated[list[Path], typer.Argument(help="Zips written by Stable-Baselines3's model.save().")],
    env: Annotated[
        list[str], typer.Option(help="Gymnasium environment of the checkpoints: one for all, or one for each in turn.")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Reference and its horizon, as KIND:HORIZON with KIND simulator or smoothed (at --radius); may be "
            "given more than once. By default simulator:50."
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
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables here, as Markdown.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the states and of the draws.", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Measure bias, variance and direction of policy gradients against the simulator, with 95 % intervals.

    Each checkpoint's policy visits states of its own; deterministic, two-point and score-function gradients (or those
    of a stochastic policy) are compared with derivatives of the return taken through the physics. The critic's error in
    value and in gradient comes with them. Checkpoints are read without running any code from them.
    """
    from gradlab.adapters.checkpoint import read_checkpoint
    from gradlab.cli.bias_document import document, print_measured
    from gradlab.cli.tasks import require_box_task
    from gradlab.simulation import Simulator

    console = screen()
    wanted = [_kind_and_horizon(text) for text in against or ["simulator:50"]]
    if len(env) not in (1, len(checkpoints)):
        raise GradlabError(
            f"--env: {len(env)} for {len(checkpoints)} checkpoints; give one for all, or one for each in their order"
        )
    tasks = env * len(checkpoints) if len(env) == 1 else env
    if markdown is not None and not markdown.parent.is_dir():
        raise GradlabError(f"--markdown {markdown}: there is no folder {markdown.parent}; make it first")
    simulators: dict[str, Simulator] = {}
    saved = []
    for path, task in zip(checkpoints, tasks, strict=True):
        checkpoint = read_checkpoint(path)
        if task not in simulators:
            require_box_task(task).close()
            simulators[task] = Simulator(task)
        # Refuses an agent of another task, before anything slow is done.
        simulators[task].pilot(checkpoint.agent)
        saved.append((checkpoint, task))
    found: list[Measured] = []
    for checkpoint, task in saved:
        simulator = simulators[task]
        with console.status(f"{checkpoint.path.name}: visiting states"):
            visited = simulator.visit(checkpoint.agent, states, seed=seed, episodes=episodes)
        for kind, horizon in wanted:
            reference = _reference(kind, simulator, horizon, radius, smoothing_draws, seconds, seed)
            with console.status(f"{checkpoint.path.name}: {reference.name}, H={horizon}, at {states} states"):
                measured = _measure(checkpoint, task, reference, visited, draws, radius, batch, seed)
            print_measured(console, measured)
            found.append(measured)
    if markdown is not None:
        command = f"gradlab {shlex.join(sys.argv[1:])}"
        markdown.write_text(document(found, command, radius=radius, batch=batch), encoding="utf-8")
        console.print(f"Written to {markdown}", markup=False, soft_wrap=True)
    if not any(measured.report.at_states for measured in found):
        raise typer.Exit(1)


def _kind_and_horizon(text: str) -> tuple[str, int]:
    kind, _, horizon = text.partition(":")
    if kind not in _KINDS or not horizon.isdecimal() or int(horizon) < 1:
        raise GradlabError(
            f"--against {text}: not a reference and its horizon; write KIND:HORIZON with KIND one of "
            f"{', '.join(_KINDS)}, e.g. simulator:50"
        )
    return kind, int(horizon)


def _reference(
    kind: str, simulator: Simulator, horizon: int, radius: float, draws: int, seconds: float | None, seed: int
) -> Any:
    if kind == "smoothed":
        from gradlab.references.smoothed import SmoothedSimulatorReference

        return SmoothedSimulatorReference(simulator, radius, horizon, draws=draws, seconds=seconds, seed=seed)
    from gradlab.references import SimulatorReference

    return SimulatorReference(simulator, horizon, seconds=seconds, seed=seed)


def _measure(
    checkpoint: Checkpoint, task: str, reference: Any, visited: States, draws: int, radius: float, batch: int, seed: int
) -> Measured:
    import torch

    from gradlab.bias import long_horizon, measure_bias, usual_estimators
    from gradlab.cli.bias_document import Measured
    from gradlab.references import SimulatorReference

    agent, begun = checkpoint.agent, time.perf_counter()
    report = measure_bias(
        agent,
        reference,
        visited,
        estimators=usual_estimators(agent, radius),
        draws=draws,
        batch=batch,
        values=SimulatorReference(reference.simulator, long_horizon(agent.discount), seed=seed),
        generator=torch.Generator().manual_seed(seed),
    )
    seconds = time.perf_counter() - begun
    return Measured(checkpoint.path.name, checkpoint.algorithm, task, checkpoint.step, report, seconds)
