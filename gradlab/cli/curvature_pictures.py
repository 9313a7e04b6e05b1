"""The pictures of ``gradlab curvature``: numbers over training, and what curvature predicts beside what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.cli.curvature_document import runs_of
from gradlab.cli.pictures import write_picture

if TYPE_CHECKING:
    from gradlab.cli.curvature_document import Curved

_WIDTH = 1000
_TRAINING = (
    "Over training: M/μ of the critic, the actor's own ‖∂π/∂s‖, how fast its actions were seen to move with the state, "
    "and the share of their power at high frequencies; bands are 95 % intervals."
)
_PREDICTIONS = (
    "Of each run's last checkpoint, state by state: the critic's M/μ at scale {scale} and the actor's ‖∂π/∂s‖. Below "
    "the line the bound holds for the actor, too; above it the actor moves its action faster than any maximum of its "
    "critic would."
)


def draw(found: Sequence[Curved], folder: Path, scale: float, step: Callable[[str], None]) -> list[tuple[str, Path]]:
    """Write the pictures into a folder: caption and file of each, in the order to show them."""
    from dashboards.figures.over_training import over_training
    from dashboards.figures.predicted_and_seen import predicted_and_seen

    drawn: list[tuple[str, Path]] = []
    runs = runs_of(found)
    step("drawing numbers over training")
    # Two runs of a kind, such as two seeds, are told apart by their files' name.
    kinds = Counter(those[0].title for those in runs.values())
    names = {run: those[0].title + f" ({run})" * (kinds[those[0].title] > 1) for run, those in runs.items()}
    series = {names[run]: {one.step: one.numbers for one in those} for run, those in runs.items() if len(those) > 1}
    if series:
        path = folder / "curvature_over_training.png"
        rows = len({label.partition(", ")[0] for label in series})
        write_picture(over_training(series), path, width=_WIDTH, height=250 * rows + 80)
        drawn.append((_TRAINING, path))
    step("drawing predictions")
    path = folder / "curvature_predictions.png"
    last = {f"{names[run]}, {those[-1].step:,}": those[-1].report.along.predictions for run, those in runs.items()}
    write_picture(predicted_and_seen(last), path, width=_WIDTH, height=300 * ((len(last) + 2) // 3) + 40)
    drawn.append((_PREDICTIONS.format(scale=f"{scale:g}"), path))
    return drawn
