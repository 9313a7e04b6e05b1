"""A curvature report for people: tables on the screen, and as a Markdown document with how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from gradlab.cli.bias_document import TASK_IS_TOLD, markdown_table
from gradlab.cli.landscape_document import cell as landscape_cell
from gradlab.inference.rank_correlation import OverTraining, rank_correlation_over_training

if TYPE_CHECKING:
    from rich.console import Console

    from gradlab.curvature.report import CurvatureReport
    from gradlab.estimate import Estimate

_GEOMETRY = {
    "mixed_partial": "M",
    "curvature": "μ",
    "valid_share": "μ > 0",
    "ratio": "M/μ",
    "interior_share": "inside the box",
    "exact_mixed_partial": "exact M",
    "exact_curvature": "exact μ",
    "exact_ratio": "exact M/μ",
}
_PREDICTED = {
    "free_valid_share": "μ > 0",
    "free_ratio": "M/μ",
    "predicted": "predicted ‖∂a*/∂s‖",
    "policy_jacobian": "actor's ‖∂π/∂s‖",
    "slack": "slack",
    "violated_share": "bound violated",
    "cosine": "cosine",
}
_FIELD = {
    "mixed_regulariser": "mixed partial",
    "consistency": "consistency",
    "hinge": "hinge",
    "flip_rate": "flips",
    "reversal_share": "reversals",
    "spike_share": "spikes",
}
_SEEN = {
    "observed": "‖Δa‖/‖Δs‖",
    "action_change": "‖Δa‖",
    "smoothness": "Sm",
    "high_frequency_share": "fast power",
}
_STATES = {
    "ratio ~ actor": "M/μ ~ ‖∂π/∂s‖",
    "predicted ~ actor": "predicted ~ ‖∂π/∂s‖",
    "ratio ~ observed": "M/μ ~ ‖Δa‖/‖Δs‖",
    "actor ~ observed": "‖∂π/∂s‖ ~ ‖Δa‖/‖Δs‖",
    "predicted along the step ~ observed": "predicted along the step ~ ‖Δa‖/‖Δs‖",
}
#: What is correlated over the checkpoints of a run, by the names of the two numbers.
_TRAINING = {
    ("free_ratio", "policy_jacobian"): "M/μ ~ ‖∂π/∂s‖",
    ("free_ratio", "observed"): "M/μ ~ ‖Δa‖/‖Δs‖",
    ("free_ratio", "high_frequency_share"): "M/μ ~ fast power",
    ("flip_rate", "high_frequency_share"): "flips ~ fast power",
}
#: A rank correlation of fewer checkpoints says nothing.
_FEWEST = 4


def cell(estimate: Estimate | None) -> str:
    """A value with its 95 % interval; three digits where the interval is so narrow that more would say nothing.

    Example:
        >>> from gradlab.estimate import Estimate
        >>> cell(Estimate(121.748, 0.0001, 32)), cell(Estimate(0.0, 0.0, 1, scale="share")), cell(None)
        ('122', '0 % (no interval)', '–')
    """
    if estimate is None or estimate.samples == 0 or not math.isfinite(estimate.value):
        return "–"
    low, high = estimate.interval()
    if math.isnan(low):
        value = f"{estimate.value:.0%}".replace("%", " %") if estimate.scale == "share" else f"{estimate.value:.3g}"
        return f"{value} (no interval)"
    if estimate.scale != "share" and high - low <= 0.005 * abs(estimate.value):
        return f"{estimate.value:.3g}"
    return landscape_cell(estimate)


@dataclass(frozen=True)
class Curved:
    """One checkpoint, measured.

    Attributes:
        run: what its run's checkpoints are called.
        algorithm: such as ``TD3``.
        task: the environment.
        step: environment steps trained.
        report: its curvature.
        apart: what tells its run from others of the same title, where there are any.
    """

    run: str
    algorithm: str
    task: str
    step: int
    report: CurvatureReport
    apart: str = ""

    @property
    def label(self) -> str:
        """Algorithm, task, kind of critic and step."""
        return f"{self.title}, {self.step:,}"

    @property
    def title(self) -> str:
        """The same without the step."""
        kind = "smooth" if self.report.smooth else "piecewise linear"
        return f"{self.algorithm} {self.task}, {kind}{f' ({self.apart})' if self.apart else ''}"

    @cached_property
    def numbers(self) -> dict[str, Estimate]:
        """All numbers by name."""
        return self.report.numbers()

    @cached_property
    def correlations(self) -> dict[str, Estimate]:
        """Rank correlations over states."""
        return self.report.along.predictions.correlations()


def told_apart(found: Sequence[Curved]) -> list[Curved]:
    """The same checkpoints, with the run's name in the title where runs would otherwise have the same."""
    names: dict[str, set[str]] = {}
    for one in found:
        names.setdefault(one.title, set()).add(one.run)

    def apart(one: Curved) -> str:
        others = names[one.title]
        if len(others) == 1:
            return ""
        short = PurePosixPath(one.run).name
        return short if [PurePosixPath(run).name for run in others].count(short) == 1 else one.run

    return [replace(one, apart=apart(one)) for one in found]


def runs_of(found: Sequence[Curved]) -> dict[str, list[Curved]]:
    """The checkpoints of each run, by step."""
    runs: dict[str, list[Curved]] = {}
    for one in found:
        runs.setdefault(one.run, []).append(one)
    return {name: sorted(those, key=lambda one: one.step) for name, those in runs.items()}


def tables(found: Sequence[Curved], scale: float) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, header and rows of every table there is something for."""

    def rows(names: dict[str, str]) -> list[tuple[str, ...]]:
        return [(one.label, *(cell(one.numbers.get(name)) for name in names)) for one in found]

    yield "Curvature of the critic", (f"at scale {scale:g}", *_GEOMETRY.values()), rows(_GEOMETRY)
    yield "What it predicts of the policy", ("free coordinates", *_PREDICTED.values()), rows(_PREDICTED)
    yield (
        "The gradient field",
        ("PAVE's quantities", *_FIELD.values(), "largest M"),
        [
            (*row, f"{one.report.regularity.largest_mixed_norm().largest:.3g}")
            for row, one in zip(rows(_FIELD), found, strict=True)
        ],
    )
    yield "What was seen of the actions", ("along episodes", *_SEEN.values()), rows(_SEEN)
    yield (
        "Rank correlations over states",
        ("of each checkpoint", *_STATES.values()),
        [(one.label, *(cell(one.correlations.get(name)) for name in _STATES)) for one in found],
    )
    long = {name: those for name, those in runs_of(found).items() if len(those) >= _FEWEST}
    if long:
        yield (
            "Rank correlations over training",
            ("of each run", "checkpoints", *_TRAINING.values()),
            [
                (those[0].title, str(len(those)), *(_over(over_training(those, *pair)) for pair in _TRAINING))
                for those in long.values()
            ],
        )


def over_training(those: Sequence[Curved], one: str, other: str) -> OverTraining:
    """The rank correlation of two numbers over a run's checkpoints; those without either number are left out."""
    x, y = ([each.numbers[name].value for each in those] for name in (one, other))
    return rank_correlation_over_training(x, y)


def _over(found: OverTraining) -> str:
    changes = found.of_changes
    steps = f"; changes {changes.value:.2f}" if changes.samples else ""
    return f"{cell(found.correlation)}, p = {found.p_value:.2g}{steps}"


def print_curved(console: Console, found: Sequence[Curved], scale: float) -> None:
    """Print every table."""
    for title, header, rows in tables(found, scale):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for position, name in enumerate(header):
            table.add_column(name, justify="left" if position == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def document(found: Sequence[Curved], command: str, *, scale: float, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The Markdown document.

    Args:
        found: the checkpoints.
        command: that made it.
        scale: of the differences.
        pictures: caption and path, relative to the document.
    """
    parts = ["# Curvature of critics, and what it predicts", f"Made by\n\n```sh\n{command}\n```", TASK_IS_TOLD]
    parts.append(_READING.format(scale=f"{scale:g}").strip())
    for title, header, rows in tables(found, scale):
        parts.append(f"## {title}\n\n{markdown_table(header, rows)}")
        parts.append(_MEANINGS[title].strip())
    if pictures:
        parts.append("## Pictures")
        parts += [f"![{caption}]({path})\n\n{caption}" for caption, path in pictures]
    return "\n\n".join(parts) + "\n"


_READING = """
A policy that follows its critic moves its action with the state as the critic's best action does:
∂a*/∂s = −(∇²_aa Q)⁻¹ ∇²_as Q, so that ‖∂a*/∂s‖ ≤ M/μ with M = ‖∇²_as Q‖₂ and μ = −λ_max(∇²_aa Q) > 0 (PAVE, arXiv
2601.22970). Each checkpoint's policy ran episodes without exploration; the curvature of the critic that the actor
follows was measured at some of their steps, at the actor's action.

A piecewise-linear critic (ReLU) has no second derivatives: they are zero almost everywhere. All numbers are therefore
differences of ∇_a Q over ± {scale} in the critic's action units, and over ± {scale} standard deviations of each
feature; those called *exact* are of smooth critics alone. Observations are in the units the agent takes.

Brackets are 95 % intervals; they hold over episodes, the independent samples. They are left out where they are within
half a percent: a policy that comes to rest visits one state over and over. Medians over states, where nothing else
is said. – is a number that there is not.
"""

_MEANINGS = {
    "Curvature of the critic": """
**μ > 0** is the share of states where ∇²_aa Q is negative definite; **M/μ** is of these alone, as elsewhere it bounds
nothing. **inside the box** is the share of states where no action coordinate is within the scale of a face.
""",
    "What it predicts of the policy": """
A coordinate at a face of the box stays there as the state moves; here it is held fixed, and M, μ and what they predict
are of the others. **slack** is M/μ over the actor's ‖∂π/∂s‖; where it is below one the **bound is violated**, which it
may be, since the actor is not the critic's maximum. **cosine** is that of the predicted Jacobian and the actor's: one
where the actor moves as its critic says it should.
""",
    "The gradient field": """
PAVE's terms: **mixed partial** E‖∇_a Q(s + ε, a) − ∇_a Q(s, a)‖², σ = 0.01; **consistency**
E‖∇_a Q(s_t, a_t) − ∇_a Q(s_{t+1}, a_{t+1})‖²; **hinge** E max(0, vᵀ∇²_aa Q v + 1) over random signs v. **flips** is
the share of steps and coordinates at which ∇_a Q changes its sign, **reversals** that of steps at which it turns by
more than a right angle, **spikes** that of steps where it changes more than ten times as fast with the state as it
typically does. **largest M** is the largest seen: a lower bound of the supremum that the paper's bound has.
""",
    "What was seen of the actions": """
**Sm** is the smoothness of CAPS (arXiv 2012.06644), 2/(n f_s) Σ M_i f_i over the amplitude spectrum of the actions;
**fast power** the share of their power above half the Nyquist frequency. Less is smoother.
""",
    "Rank correlations over states": """
Spearman's, over the states where the free coordinates' ∇²_aa Q is negative definite; intervals by resampling whole
episodes. **predicted along the step** is ‖(∂a*/∂s) Δs‖/‖Δs‖ for the change of state that did follow.
""",
    "Rank correlations over training": """
Spearman's, of the numbers of a run's checkpoints; p is the share of the orders of the checkpoints that give one as far
from zero. Numbers that both drift with training correlate without having to do with each other; **changes** is the
same correlation of their differences from each checkpoint to the next.
""",
}
