"""Of the step sizes that agree, the one is taken that errs less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.policies import Gaussian
from gradlab.simulation.differences import Plateau, plateau, stencil

STEPS = (1e-1, 1e-2, 1e-3, 1e-4)


def found(error: Callable[[float], float], steps: tuple[float, ...] = STEPS) -> Plateau:
    """The plateau of differences of a function whose derivative is (2, −1), each off by ``error``(step)."""
    off = torch.tensor([[[error(step), -0.5 * error(step)]] for step in steps], dtype=torch.float64)
    sizes = torch.tensor(steps, dtype=torch.float64)[:, None].expand(-1, 2)
    return plateau(torch.tensor([2.0, -1.0]) + off, sizes, torch.ones(1).double(), 1e-2)


@pytest.mark.parametrize(
    ("error", "best"),
    [
        (lambda e: 0.3 * e**2, 3),  # truncation alone: finer is better all the way
        (lambda e: 3e-7 / e, 0),  # rounding alone: coarser is
        (lambda e: 3e-2 * e**2 + 1e-7 * (1 if e == 1e-3 else -1) * 1e-3 / e, 2),
        (lambda e: 3e-2 * e**2 + 1e-5 * (1 if e == 1e-2 else -1) * 1e-2 / e, 1),
    ],
    ids=["truncation", "rounding", "late", "early"],
)
def test_the_step_that_errs_less_is_taken(error, best):
    result = found(error)
    assert result.open.all()
    assert result.chosen.item() == best
    truth = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    assert (result.gradient - truth).norm() <= 1.001 * min(abs(error(step)) for step in STEPS) * 1.25**0.5
    # What is said of the error covers the error.
    assert (result.gradient - truth).norm() <= result.error.norm()


def test_of_two_steps_the_finer_is_taken_and_nan_closes():
    assert found(lambda e: e**2, STEPS[:2]).chosen.item() == 1
    broken = found(lambda e: float("nan") if e < 1e-2 else e**2)
    assert broken.pair.item() == 0
    assert broken.gradient.isfinite().all()
    assert not found(lambda e: float("nan")).open.any()


def test_a_stencil_knows_its_steps_as_fractions_of_the_range():
    agent = Agent(torch.nn.Linear(3, 4), [], [-2, 0], [2, 1], policy=Gaussian())
    head: Tensor = torch.zeros(5, 4, dtype=torch.float64)
    around = stencil(agent, head, (1e-2, 1e-3))
    torch.testing.assert_close(around.fractions, torch.tensor([1e-2, 1e-3]).double())
    ranges = torch.tensor([4.0, 1.0, 1.0, 1.0]).double()
    torch.testing.assert_close(around.steps, around.fractions[:, None] * ranges)
    # Linear and quadratic functions are differenced exactly.
    slope, bend = torch.arange(4).double() - 1.5, torch.tensor([2.0, -1.0, 0.5, 3.0]).double()
    values = (around.heads * slope + bend * around.heads.square()).sum(-1)
    gradient = around.gradient(values)
    torch.testing.assert_close(gradient, slope.expand(2, 5, 4), rtol=1e-9, atol=1e-10)
