"""One term of a ledger out of its vector and the statistics of all vectors."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.ledger.result import Term, Vector
from gradlab.ledger.statistics import Statistics


def unflatten(agent: Agent, row: Tensor) -> Vector:
    """A flat gradient [P] by parameter, in its shape."""
    named = agent.named_parameters()
    parts = row.split([parameter.numel() for parameter in named.values()])
    return {name: part.reshape(parameter.shape) for (name, parameter), part in zip(named.items(), parts, strict=True)}


def make_term(name: str, vector: Vector, statistics: Statistics, c: int, total: int, truth: int, note: str) -> Term:
    """The term whose vector is number ``c`` of ``statistics``, with the total and the truth for its cosines."""
    squared = statistics.squared_norm(c)
    return Term(
        name,
        vector,
        norm_squared=squared,
        norm=root(squared),
        # The total's own would say nothing.
        cosine_with_total=None if name == "total" else statistics.cosine(c, total),
        cosine_with_truth=statistics.cosine(c, truth),
        share=statistics.share(c, total),
        contribution=squared if c == total else statistics.inner(c, total),
        note=note,
    )


def root(squared: Estimate) -> Estimate:
    """The norm, on the same interval; NaN where the debiased square is not positive, unless it is exactly zero."""
    value = math.sqrt(squared.value) if squared.value >= 0 else math.nan
    stderr = squared.stderr / (2 * value) if value > 0 else (0.0 if squared.stderr == 0 else math.nan)
    ends = None
    if squared.ends is not None:
        low, high = (math.sqrt(max(end, 0.0)) for end in squared.ends)
        ends = (low, high)
    return replace(squared, value=value, stderr=stderr, ends=ends)
