"""A bias report for people: on the screen, and as a Markdown document with how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from gradlab.estimate import Estimate

if TYPE_CHECKING:
    from rich.console import Console

    from gradlab.bias import BiasReport

_PARTS = {"bias_squared": "bias²", "variance": "variance", "mse": "MSE", "cosine": "cosine", "norm_ratio": "norm ratio"}
_STATE_HEADER = ("state by state", *_PARTS.values(), "wrong direction", "own bias²")
_UPDATE_HEADER = ("expected update", *_PARTS.values())
_VALUE_HEADER = ("the critic's values", "bias", "RMSE", "correlation", "slope")


@dataclass(frozen=True)
class Measured:
    """One checkpoint against one reference.

    Attributes:
        file: the checkpoint's name.
        algorithm: such as ``TD3``.
        task: the environment.
        step: environment steps trained.
        report: what was measured.
        seconds: what the reference took.
    """

    file: str
    algorithm: str
    task: str
    step: int
    report: BiasReport
    seconds: float

    @property
    def title(self) -> str:
        """What was measured against what."""
        what = f"{self.file} ({self.algorithm} on {self.task}, step {self.step:,})"
        return f"{what} against {self.report.reference}, {self.report.objective}"


def number(value: float, digits: int = 2) -> str:
    """So many significant digits; powers of ten only where zeros would be many.

    Example:
        >>> number(1234.5), number(0.00012345), number(math.inf), number(-0.456), number(4.2e-17)
        ('1200', '0.00012', '∞', '-0.46', '4.2e-17')
    """
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    rounded = float(f"{value:.{digits}g}")
    whole = abs(rounded) < 1e6 and rounded.is_integer()
    return f"{rounded:.0f}" if whole else f"{rounded:g}"


def cell(estimate: Estimate | None) -> str:
    """A value with its 95 % interval; in words where there is none.

    Example:
        >>> cell(Estimate(0.5, 0.1, samples=32)), cell(None), cell(Estimate(math.nan, math.nan, 4))
        ('0.50 [0.30, 0.70]', '–', 'unresolved')
        >>> cell(Estimate(0.25, 0.05, samples=32, scale="share"))
        '25 % [16 %, 36 %]'
    """
    if estimate is None:
        return "–"
    if math.isnan(estimate.value):
        return "unresolved"
    low, high = estimate.interval()
    if estimate.scale == "share":
        return f"{estimate.value:.0%} [{low:.0%}, {high:.0%}]".replace("%", " %")
    if math.isnan(low):
        return f"{number(estimate.value)} (no interval)"
    if abs(estimate.value) < 1e-12 and high - low < 1e-12:
        return "0"
    if abs(estimate.value) < (high - low) / 100:
        # An interval that wide has no digits in common with the value.
        return f"{number(estimate.value)} [{number(low)}, {number(high)}]"
    value, low_text, high_text = (_aligned(x, high - low) for x in (estimate.value, low, high))
    return f"{value} [{low_text}, {high_text}]"


def _aligned(value: float, width: float) -> str:
    """As many decimals as two digits of the interval's width need."""
    if not (math.isfinite(value) and math.isfinite(width)) or width <= 0:
        return number(value, 3)
    decimals = 1 - math.floor(math.log10(width / 2))
    if decimals > 5 or abs(value) >= 1e5:
        return f"{value:.2g}"
    return f"{value:.{max(decimals, 0)}f}"


def _tables(measured: Measured) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Header and rows of every table there is something for."""
    report = measured.report
    rows = []
    for name in report.own:
        error = report.at_states.get(name)
        parts = [cell(getattr(error, part, None)) for part in (*_PARTS, "wrong_direction")]
        rows.append((name, *parts, cell(report.own[name])))
    yield _STATE_HEADER, rows
    if report.update:
        yield (
            _UPDATE_HEADER,
            [(name, *(cell(getattr(error, part)) for part in _PARTS)) for name, error in report.update.items()],
        )
    if report.critic is not None:
        value = report.critic.value
        found = (value.bias, value.rmse, value.correlation, value.slope)
        yield _VALUE_HEADER, [(f"against {value.bias.objective}", *map(cell, found))]


def _lines(measured: Measured) -> list[str]:
    """What the tables do not say."""
    report = measured.report
    norm = "" if report.true_squared is None else f" ‖u‖² of the true expected update is {cell(report.true_squared)}"
    if norm and not report.update:
        norm += ", not resolved from zero: there are no errors of the update relative to it. Take more episodes"
    opened = f"Gate open at {report.open} of {report.states} states, from {report.episodes} episodes"
    lines = [f"{opened}; the reference took {measured.seconds:.0f} s.{norm}{norm and '.'}"]
    lines += [f"closed at {count}: {reason}" for reason, count in _gathered(report.reasons)]
    lines += report.notes
    lines += [note for note in (report.critic.notes if report.critic else ()) if not note.startswith("gradient")]
    return list(dict.fromkeys(lines))


def _gathered(reasons: dict[str, int]) -> list[tuple[str, int]]:
    """Reasons that differ in their figures alone are counted together; the first of them is shown."""
    kinds: dict[str, tuple[str, int]] = {}
    for reason, count in reasons.items():
        kind = reason.split(":")[0]
        shown, before = kinds.get(kind, (reason, 0))
        kinds[kind] = (shown, before + count)
    return list(kinds.values())


def print_measured(console: Console, measured: Measured) -> None:
    """Print one report's tables and notes."""
    console.print(measured.title, style="bold", markup=False, soft_wrap=True)
    for header, rows in _tables(measured):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for position, title in enumerate(header):
            table.add_column(title, justify="left" if position == 0 else "right", no_wrap=position == 0)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in _lines(measured):
        console.print(line, markup=False, soft_wrap=True)


def document(found: Sequence[Measured], command: str, *, radius: float, batch: int) -> str:
    """The Markdown document: how to read it, one table of all, and a section for each report."""
    parts = ["# Bias of policy gradients against the simulator", f"Made by\n\n```sh\n{command}\n```", TASK_IS_TOLD]
    parts.append(_READING.format(radius=f"{radius:g}", batch=batch).strip())
    parts.append(
        "## At a glance\n\nThe first estimator of each, state by state.\n\n"
        + markdown_table(_GLANCE_HEADER, [_glance(measured) for measured in found])
    )
    for measured in found:
        parts.append(f"## {measured.title}")
        parts += [markdown_table(header, rows) for header, rows in _tables(measured)]
        parts.append("\n".join(f"* {line}" for line in _lines(measured)))
    return "\n\n".join(parts) + "\n"


_GLANCE_HEADER = (
    "checkpoint", "reference", "objective", "gates open", "bias²", "cosine",
    "norm ratio", "wrong direction", "seconds",
)  # fmt: skip


def _glance(measured: Measured) -> tuple[str, ...]:
    report = measured.report
    first = next(iter(report.at_states.values()), None)
    shown = ("bias_squared", "cosine", "norm_ratio", "wrong_direction")
    return (
        measured.file,
        report.reference,
        str(report.objective),
        f"{report.open} of {report.states}",
        *(cell(getattr(first, name, None)) for name in shown),
        f"{measured.seconds:.0f}",
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right of its first column."""
    lines = [" | ".join(header), " | ".join(["---", *["---:"] * (len(header) - 1)])]
    lines += [" | ".join(text.replace("|", "\\|") for text in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


#: What a checkpoint cannot say.
TASK_IS_TOLD = (
    "Checkpoints do not tell which task they were trained on: their sizes and boxes of actions fit --env, and that it "
    "is theirs is taken from the command."
)

_READING = """
## How to read it

What an actor follows has the form u = E_s[J_sᵀ ∇_h F_s(h)], with h the actor's head at a state s, J_s = ∂h/∂θ, and
here states from the policy's own episodes, every step alike: the *expected update*. Most algorithms take it for the
policy gradient. It is not ∇J of the discounted return, in which a step t weighs γᵗ, nor the gradient of any other
objective (C. Nota, P. Thomas 2020, *Is the policy gradient a gradient?*); `gradlab.policy_gradient` at the states of
`visit_discounted` gives ∇J. The estimators differ in the small vector that they put for
∇_h F_s, and all of them take it from the agent's critic. The reference takes it from the physics: it restores the
simulator to the state, moves the head, follows the policy, and differentiates the return. `simulator` differences in
float64 and is exact up to its horizon H; `smoothed simulator` is the gradient of the return smoothed over the first
action with a Gaussian of radius {radius}, which exists where the plain one does not, and is what two-point and
score-function gradients of that radius aim at.

Two kinds of tables, all relative to the size of the true gradient r_s = ∇_h F_s:

* **state by state**, at the head: bias² is E_s‖E v_s − r_s‖²/E_s‖r_s‖², v_s an estimator's vector at state s. No
  state's error makes up for another's. Variance is that of one draw at a state.
* **expected update**, in parameters: bias² is ‖g − u‖²/‖u‖², g = E_s[J_sᵀ E v_s] and u = E_s[J_sᵀ r_s], in
  which errors of different states cancel as they do in a run. Variance is that of the gradient of a minibatch of
  {batch} states with one draw at each. Near the end of training u is nearly zero, and these are hard to
  resolve.

Columns:

* **bias²**: 0 is a perfect direction and scale; 1 is as far from the truth as no update at all; more is worse still.
  It has three parts: the critic's error, the estimator's own, and what the reference's horizon cuts off, of which the
  notes say how much weight it is. **MSE** is bias² and variance together.
* **cosine** and **norm ratio**: direction and scale apart. An update that is too long or too short by a factor is put
  right by the step size; a wrong direction is not.
* **wrong direction**: share of states at which the estimator's mean makes an obtuse angle with the true gradient.
* **own bias²**: E_s‖E v_s − c_s‖²/E_s‖c_s‖² against the critic's own exact gradient c: what smoothing and scaling add,
  with the critic taken at its word.
* **the critic's values**: what it says of V(s) less what the policy earns; RMSE; correlation over states; slope of the
  regression of the true values on the critic's (1 is calibrated).
* **gates open**: states where the reference trusts its derivative. Where it does not (a chaotic stretch, a contact, an
  end of the episode within the difference) there is no number, and the state is left out; errors are those at the
  states that are left.

Brackets are 95 % intervals. They hold over episodes, which are the independent samples, and contain the noise of
states, draws and reference. What is noise is taken off squared norms, never clipped, so that a bias² may be negative.
*unresolved* is a ratio whose denominator is not above its noise; – is a number that there is not.
"""
