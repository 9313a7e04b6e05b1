"""The pictures of ``gradlab landscape``: counts over persistence, parts of the gap, and the critic beside the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.cli.pictures import write_picture
from gradlab.landscape.training.report import search
from gradlab.landscape.truth.true_slices import true_slice
from gradlab.references import SimulatorReference

if TYPE_CHECKING:
    import xarray as xr

    from gradlab.adapters.checkpoint import Checkpoint
    from gradlab.cli.landscape import Settings
    from gradlab.cli.landscape_document import Surveyed
    from gradlab.landscape.training.report import LandscapeReport
    from gradlab.simulation import Simulator
    from gradlab.simulation.states import States

#: Points along the side of a slice: a line costs no more than one row of a plane.
_LINE, _PLANE = 121, 21
_WIDTH = 1000


def draw(
    saved: list[tuple[Checkpoint, str, Simulator]],
    found: list[Surveyed],
    settings: Settings,
    folder: Path,
    step: Callable[[str], None],
) -> list[tuple[str, Path]]:
    """Write the pictures into a folder: caption and file of each, in the order to show them."""
    from dashboards.figures.beside_truth import beside_truth
    from dashboards.figures.gap_parts import gap_parts
    from dashboards.figures.persistence import persistence

    runs: dict[tuple[str, str], list[int]] = {}
    for index, one in enumerate(found):
        runs.setdefault((one.task, one.algorithm), []).append(index)
    drawn: list[tuple[str, Path]] = []

    def write(figure: object, name: str, caption: str, height: int) -> None:
        path = folder / f"{name}.png"
        write_picture(figure, path, width=_WIDTH, height=height)
        drawn.append((caption, path))

    step("drawing the counts")
    several = len({algorithm for _, algorithm in runs}) > 1

    def title(task: str, algorithm: str) -> str:
        return f"{algorithm}, {task}" if several else task

    curves = {
        title(*run): {f"{found[index].step:,} steps": found[index].report.curve for index in indices}
        for run, indices in runs.items()
    }
    write(
        persistence(curves, settings.threshold),
        "landscape_optima",
        "How many local optima a critic has at the states its policy visits, over how persistent they must be to "
        "count; bands are 95 % intervals.",
        320,
    )
    step("drawing the gaps")
    parts = {(title(one.task, one.algorithm), f"{one.step:,}"): one.report.numbers for one in found}
    write(
        gap_parts(parts),
        "landscape_gap",
        "What actors leave on the table by their own critics, as a share of Q's range: what climbing on from π(s) "
        "would gain (own fit), and what being in the basin of a lower optimum costs (basin choice). Whiskers are the "
        "gap's 95 % interval.",
        340,
    )
    for (task, algorithm), indices in runs.items():
        order = sorted(indices, key=lambda index: found[index].step)
        last = found[order[-1]].report
        for word, at in _chosen(last):
            slices: dict[str, xr.Dataset] = {}
            for index in order:
                checkpoint, _, simulator = saved[index]
                step(f"{checkpoint.path.name}: drawing it beside the truth")
                slices[f"{checkpoint.step:,} steps"] = _slice(checkpoint, simulator, last.states[[at]], settings)
            size = saved[order[0]][0].agent.action_size
            plane = (
                "on a plane through the actor's action and the critic's best optimum (half of the actions move from "
                "the one to the other along x, the others along y, so that it fills a rectangle of the box)"
            )
            write(
                beside_truth(slices),
                f"landscape_{algorithm.lower()}_{task.split('-')[0].lower()}_{word}",
                f"{algorithm} on {task}: the critic's Q(s, ·) and the simulator's ({settings.horizon} rewards) "
                f"{plane if size > 2 else 'over the box of actions'}, at that of {len(last.states)} states where the "
                f"gap of the last checkpoint is {_WORDS[word]}, as a share of Q's range. Both are relative to the "
                "actor's action, and each picture is dark at its own lowest values and light at its highest.",
                380 if size == 1 else 620,
            )
    return drawn


#: States that are shown, by the gap at the last checkpoint.
_WORDS = {"typical": "the median", "largest": "the largest"}


def _chosen(report: LandscapeReport) -> list[tuple[str, int]]:
    """The states where the actor leaves the median on the table, and most."""
    order = report.standing.relative.argsort()
    return [("typical", int(order[(len(order) - 1) // 2])), ("largest", int(order[-1]))]


def _slice(checkpoint: Checkpoint, simulator: Simulator, state: States, settings: Settings) -> xr.Dataset:
    agent = checkpoint.agent
    reference = SimulatorReference(simulator, settings.horizon, seed=settings.seed)
    optima = search(agent, state.obs, settings.starts, settings.seed)
    resolution = _LINE if agent.action_size == 1 else _PLANE
    cut = true_slice(agent, state, reference, optima, resolution=resolution, threshold=settings.threshold)
    return cut.isel(state=0)
