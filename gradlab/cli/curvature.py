"""``gradlab curvature``: the curvature of checkpoints' critics, and what it predicts of their policies."""

from __future__ import annotations

import re
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
    from gradlab.cli.curvature_document import Curved
    from gradlab.simulation import Simulator


def curvature(
    checkpoints: Annotated[list[Path], typer.Argument(help="Zips written by Stable-Baselines3's model.save().")],
    env: Annotated[
        list[str],
        typer.Option(
            help="Gymnasium environment of the checkpoints: one for all, or one for each in turn. Checkpoints do not "
            "tell their task, only its sizes and its box of actions: give the one they were trained on."
        ),
    ],
    scale: Annotated[
        float,
        typer.Option(
            help="Length over which second derivatives are taken, in the critic's action units; smooth critics are "
            "measured exactly, too."
        ),
    ] = 0.1,
    states: Annotated[int, typer.Option(help="Steps at which curvature is measured, of each checkpoint.", min=8)] = 256,
    episodes: Annotated[
        int, typer.Option(help="Episodes they are of: the independent samples of every interval.", min=8)
    ] = 32,
    steps: Annotated[int, typer.Option(help="Where an episode is cut, if it does not end before.", min=16)] = 200,
    time_step: Annotated[
        float | None, typer.Option(help="Seconds between two steps, where the environment does not say.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables here, as Markdown.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder to draw pictures into, as PNG; needs Chromium or Chrome.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the episodes and of the steps.", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Measure the curvature of critics, and hold what it predicts of the policy's sensitivity against what it does.

    Each checkpoint's policy acts without exploration. At some of the steps M, μ and M/μ of its critic are measured;
    M/μ bounds how fast the best action moves with the state, which is compared with the actor's own Jacobian and with
    how the actions were seen to move. Checkpoints of one folder and one name but for the step are taken for one run.
    They are read without running any code from them.
    """
    from gradlab.cli.bias_document import TASK_IS_TOLD
    from gradlab.cli.curvature_document import document, print_curved
    from gradlab.cli.opened import opened
    from gradlab.cli.stages import link, stages

    console = screen()
    for option, folder in (("--markdown", markdown and markdown.parent), ("--pictures", pictures)):
        if folder is not None and not folder.is_dir():
            raise GradlabError(f"{option}: there is no folder {folder}; make it first")
    if markdown is not None and markdown.is_dir():
        raise GradlabError(f"--markdown: {markdown} is a folder; name a file in it")
    for option, value in (("--scale", scale), ("--time-step", time_step)):
        if value is not None and not 0 < value < float("inf"):
            raise GradlabError(f"{option}: {value:g}; a length above zero")
    if pictures is not None:
        from gradlab.cli.curvature_pictures import draw
        from gradlab.cli.pictures import require_browser

        require_browser()
    saved = opened(checkpoints, env)
    _refuse_repeated(checkpoints)
    settings = Settings(scale, states, episodes, steps, time_step, seed)
    for _, task, simulator in saved:
        seconds_a_step(settings, task, simulator)
    console.print(TASK_IS_TOLD, markup=False, soft_wrap=True)
    with stages(console, 2 * len(saved)) as step:
        found = survey(saved, settings, step)
    print_curved(console, found, scale)
    drawn: list[tuple[str, Path]] = []
    if pictures is not None:
        with stages(console, 2) as step:
            drawn = draw(found, pictures, scale, step)
    if markdown is not None:
        command = f"gradlab {shlex.join(sys.argv[1:])}"
        links = [(caption, link(path, markdown.parent)) for caption, path in drawn]
        markdown.write_text(document(found, command, scale=scale, pictures=links), encoding="utf-8")
        console.print(f"Written to {markdown}", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Settings:
    """The command's numbers, of the same names."""

    scale: float
    states: int
    episodes: int
    steps: int
    time_step: float | None
    seed: int


def survey(
    saved: list[tuple[Checkpoint, str, Simulator]], settings: Settings, step: Callable[[str], None]
) -> list[Curved]:
    """Measure every checkpoint; ``step`` is told of what comes next."""
    from gradlab.cli.curvature_document import Curved, told_apart
    from gradlab.curvature.report import measure_curvature

    found: list[Curved] = []
    for checkpoint, task, simulator in saved:
        agent, name = checkpoint.agent, checkpoint.path.name
        step(f"{name}: running episodes")
        runs = simulator.episodes(
            agent, settings.episodes, seed=settings.seed, stochastic=False, max_steps=settings.steps
        )
        step(f"{name}: measuring curvature")
        report = measure_curvature(
            agent,
            runs,
            time_step=seconds_a_step(settings, task, simulator),
            states=settings.states,
            scale=settings.scale,
            seed=settings.seed,
        )
        found.append(Curved(run_of(checkpoint.path), checkpoint.algorithm, task, checkpoint.step, report))
    return told_apart(found)


def seconds_a_step(settings: Settings, task: str, simulator: Simulator) -> float:
    """Seconds between two steps, as given or as the environment says.

    Raises:
        GradlabError: neither says.
    """
    found = settings.time_step or simulator.time_step
    if found is None:
        raise GradlabError(f"environment {task!r}: does not say how long a step takes; give --time-step, in seconds")
    return found


def _refuse_repeated(checkpoints: list[Path]) -> None:
    """A checkpoint that is given twice would count twice where numbers are correlated over a run."""
    known: set[Path] = set()
    for path in checkpoints:
        if path.resolve() in known:
            raise GradlabError(f"checkpoint {path}: given twice; give each once")
        known.add(path.resolve())


def run_of(path: Path) -> str:
    """What a run's checkpoints have in common: the folder, and the file's name without the step.

    Example:
        >>> run_of(Path("td3_silu_reacher_1000.zip")), run_of(Path("first/rl_model_5000_steps.zip"))
        ('td3_silu_reacher', 'first/rl_model')
    """
    name = re.sub(r"[-_.]?\d+([-_]?steps)?$", "", path.stem) or path.stem
    return path.with_name(name).as_posix()
