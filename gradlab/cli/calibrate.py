"""``gradlab calibrate``: the instrument on problems with known answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.calibration import Calibration, Row

#: What a shell gives a command that an interrupt has ended.
_INTERRUPTED = 130


def calibrate(
    world: Annotated[list[str] | None, typer.Option(help="Only this world; repeat for more.")] = None,
    estimator: Annotated[list[str] | None, typer.Option(help="Only this estimator; repeat for more.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.", min=0, max=LARGEST_SEED)] = 0,
    draws: Annotated[int, typer.Option(help="Draws of one measurement.", min=4)] = 128,
    repeats: Annotated[int, typer.Option(help="Independent measurements of each case.", min=4)] = 24,
    full: Annotated[bool, typer.Option("--full", help="Print every quantity: truth, measured, error, z.")] = False,
    control: Annotated[
        bool,
        typer.Option("--control", help="Leave the U-statistic's correction out on purpose: this must exit with 1."),
    ] = False,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write everything here too; - is standard output, without tables."),
    ] = None,
) -> None:
    """Check gradlab itself on problems with known answers.

    Every world runs with every estimator it admits. A case is measured again and again, as users measure, and mean
    gradient, bias², variance, MSE, cosine, norm ratio and signal-to-noise ratio are compared with their exact values.
    An estimator that is biased must show just that bias.

    z is how far a measurement is from the truth, in units in which 5 % lie outside ±1.96 by chance. Every case has a
    generator of its own, so the numbers of one do not depend on which others run.

    Exits with 0 when chance explains everything, and with 1 when it does not. That is when, for some quantity, more
    cases lie outside ±1.96 than a binomial of 5 % allows, or more 95 % intervals miss the truth than one of 10 %;
    when the largest |z| of gradients, bias², variances and MSEs is beyond the Bonferroni bound; or when an answer
    without noise is not the truth itself. All these checks share a family-wise level of 1 %, by Bonferroni, which no
    dependence between them upsets: a sound instrument fails one seed in a hundred at most.
    """
    from gradlab.calibration import calibrate as run
    from gradlab.cli.calibration_tables import closing, world_table

    target = _target(json_to)
    console = Console(quiet=True) if json_to == "-" else screen()
    status = console.status("starting") if console.is_terminal and not console.quiet else nullcontext()
    waiting: list[Row] = []

    def show() -> None:
        if waiting:
            console.print(world_table(waiting, console.width, full=full))
            console.print()
            waiting.clear()

    done = 0
    try:
        with status as spinner, _one_thread():

            def progress(finished: int, cases: int, rows: Sequence[Row]) -> None:
                nonlocal done
                done = finished
                if waiting and waiting[0].case[:2] != rows[0].case[:2]:
                    show()
                waiting.extend(rows)
                if spinner is not None:
                    spinner.update(f"{finished} of {cases}: {rows[0].world} ({rows[0].setting}), {rows[0].estimator}")

            result = run(
                world=world or (),
                estimator=estimator or (),
                seed=seed,
                draws=draws,
                repeats=repeats,
                sabotage=control,
                progress=progress,
            )
            show()
    except KeyboardInterrupt:
        message = f"gradlab: interrupted after {done} cases; there is no verdict"
        Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(message, markup=False)
        raise typer.Exit(_INTERRUPTED) from None
    for part in closing(result, console.width):
        console.print(part)
    _write(result, target, json_to)
    if not result.passed:
        raise typer.Exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Single-threaded torch meanwhile: the tensors are small, and threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _target(json_to: str | None) -> Path | None:
    """The file to write, refused before anything slow is done."""
    if json_to in (None, "-"):
        return None
    path = Path(str(json_to))
    if path.is_dir() or not path.parent.is_dir():
        what = "is a directory" if path.is_dir() else f"there is no directory {path.parent}"
        raise GradlabError(f"--json {path}: {what}; name a file, or - for standard output")
    return path


def _write(result: Calibration, target: Path | None, json_to: str | None) -> None:
    if json_to is None:
        return
    text = json.dumps(result.record(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if target is None:
        sys.stdout.write(text)
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GradlabError(f"--json {target}: cannot be written: {error.strerror}; name another file") from error
