"""``gradlab landscape``: the optima of checkpoints' critics, and where their actors stand among them."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradlab.adapters.checkpoint import Checkpoint
    from gradlab.cli.landscape_document import Surveyed
    from gradlab.landscape.truth.phantom_means import PhantomMeans
    from gradlab.simulation import Simulator


def landscape(
    checkpoints: Annotated[list[Path], typer.Argument(help="Zips written by Stable-Baselines3's model.save().")],
    env: Annotated[
        list[str],
        typer.Option(
            help="Gymnasium environment of the checkpoints: one for all, or one for each in turn. Checkpoints do not "
            "tell their task, only its sizes and its box of actions: give the one they were trained on."
        ),
    ],
    states: Annotated[int, typer.Option(help="States looked at, of each checkpoint.", min=3)] = 64,
    episodes: Annotated[
        int, typer.Option(help="Episodes they are visited in: the independent samples of every interval.", min=3)
    ] = 32,
    starts: Annotated[int, typer.Option(help="Starts of the search at each state.", min=1)] = 64,
    threshold: Annotated[
        float, typer.Option(help="Persistence from which an optimum counts, as a share of Q's range.", min=0.0, max=1.0)
    ] = 0.01,
    radius: Annotated[
        float,
        typer.Option(
            help="How far an optimum may move between checkpoints and be the same, as a share of the box's diagonal."
        ),
    ] = 0.1,
    truth: Annotated[
        bool, typer.Option("--truth/--no-truth", help="Follow the optima in the simulator too, to find phantoms.")
    ] = True,
    horizon: Annotated[int, typer.Option(help="Rewards that the simulator counts.", min=2)] = 100,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables here, as Markdown.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder to draw pictures into, as PNG; needs Chromium or Chrome.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the states and of the starts.", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Count the local optima of critics, and say what their actors leave on the table, with 95 % intervals.

    Each checkpoint's policy visits states of its own. Its critic's optima are searched there; the gap from the actor's
    action to the best one is split into the actor's own fit and its choice of a basin; the simulator says which optima
    are the critic's inventions; and optima are followed from one checkpoint of a task and algorithm to the next.
    Checkpoints are read without running any code from them.
    """
    from gradlab.cli.bias_document import TASK_IS_TOLD
    from gradlab.cli.landscape_document import document, print_surveyed
    from gradlab.cli.opened import opened
    from gradlab.cli.stages import link, stages

    console = screen()
    for option, folder in (("--markdown", markdown and markdown.parent), ("--pictures", pictures)):
        if folder is not None and not folder.is_dir():
            raise GradlabError(f"{option}: there is no folder {folder}; make it first")
    if markdown is not None and markdown.is_dir():
        raise GradlabError(f"--markdown: {markdown} is a folder; name a file in it")
    if not 0 < radius <= 1:
        raise GradlabError(f"--radius: {radius:g}; a share of the box's diagonal, above 0 and at most 1")
    if pictures is not None:
        from gradlab.cli.landscape_pictures import draw
        from gradlab.cli.pictures import require_browser

        require_browser()
    saved = opened(checkpoints, env)
    console.print(TASK_IS_TOLD, markup=False, soft_wrap=True)
    settings = Settings(states, episodes, starts, threshold, radius, horizon, truth, seed)
    with stages(console, len(saved) * (3 + truth)) as step:
        found = survey(saved, settings, step)
    print_surveyed(console, found)
    drawn: list[tuple[str, Path]] = []
    if pictures is not None:
        with stages(console, 2 * len(saved) + 2) as step:
            drawn = draw(saved, found, settings, pictures, step)
    if markdown is not None:
        command = f"gradlab {shlex.join(sys.argv[1:])}"
        links = [(caption, link(path, markdown.parent)) for caption, path in drawn]
        text = document(found, command, threshold=threshold, radius=radius, starts=starts, pictures=links)
        markdown.write_text(text, encoding="utf-8")
        console.print(f"Written to {markdown}", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Settings:
    """The command's numbers, of the same names."""

    states: int
    episodes: int
    starts: int
    threshold: float
    radius: float
    horizon: int
    truth: bool
    seed: int


def survey(
    saved: list[tuple[Checkpoint, str, Simulator]], settings: Settings, step: Callable[[str], None]
) -> list[Surveyed]:
    """Measure every checkpoint; ``step`` is told of what comes next."""
    from gradlab.cli.landscape_document import Surveyed
    from gradlab.landscape.training.report import follow_since, measure_landscape
    from gradlab.landscape.truth.phantoms import phantom_optima
    from gradlab.references import SimulatorReference

    found: list[Surveyed] = []
    for checkpoint, task, simulator in saved:
        agent, name = checkpoint.agent, checkpoint.path.name
        step(f"{name}: visiting states")
        visited = simulator.visit(agent, settings.states, seed=settings.seed, episodes=settings.episodes)
        step(f"{name}: searching optima")
        report = measure_landscape(
            agent,
            visited,
            starts=settings.starts,
            threshold=settings.threshold,
            radius=settings.radius,
            seed=settings.seed,
        )
        truth: PhantomMeans | None = None
        level = report.numbers["level_share"].value
        notes = (f"the critic is level over the box of actions at {level:.0%} of the states",) if level else ()
        objective = ""
        if settings.truth:
            step(f"{name}: following optima in the simulator")
            reference = SimulatorReference(simulator, settings.horizon, seed=settings.seed)
            held = phantom_optima(agent, visited, reference, report.optima, threshold=settings.threshold)
            truth, notes, objective = held.means(), (*notes, *held.notes), str(held.objective)
        step(f"{name}: following optima over training")
        before = _before(saved, checkpoint, task)
        followed = {}
        if before is not None:
            changed = follow_since(before.agent, agent, report, starts=settings.starts, seed=settings.seed)
            followed = changed.estimates(visited.episode, report.objective)
        found.append(
            Surveyed(
                name,
                checkpoint.algorithm,
                task,
                checkpoint.step,
                report,
                truth,
                objective,
                followed,
                "" if before is None else f"{before.step:,}",
                notes,
            )
        )
    return found


def _before(saved: list[tuple[Checkpoint, str, Simulator]], checkpoint: Checkpoint, task: str) -> Checkpoint | None:
    """The latest checkpoint of the same task and algorithm at an earlier step: taken for the same run."""
    earlier = [
        other
        for other, its, _ in saved
        if its == task and other.algorithm == checkpoint.algorithm and other.step < checkpoint.step
    ]
    return max(earlier, key=lambda other: other.step, default=None)
