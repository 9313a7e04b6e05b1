"""How many of several kinds are really in use: the exponential of the entropy of their shares."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.special import betaincinv
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.by_episode import EpisodeSums


def effective_number(kind: Tensor, kinds: int, *, episode: Any = None, objective: str = "") -> Estimate:
    """Exp H, H = −Σ p_i log p_i the entropy of the shares of ``kinds`` kinds: their effective number, 1 to ``kinds``.

    The Hill number of order one (M. Hill 1973, *Diversity and evenness: a unifying notation and its consequences*). The
    value is the plug-in one. It is too small by about (k − 1)/2n of itself (G. Miller 1955), which the interval allows
    for: it is Student's about the entropy so corrected, no narrower than the error of a rare kind makes it.

    Args:
        kind: which kind each state has, [S] integers from 0 to ``kinds`` − 1.
        kinds: number of kinds.
        episode: which episode a state is from, [S]; every state is its own when None.
        objective: the objective it belongs to, in words.

    Raises:
        GradlabError: a kind is out of range.

    Example:
        >>> two = effective_number(torch.tensor([0, 1] * 20), 3)
        >>> round(two.value, 6), two.interval()[1] <= 3
        (2.0, True)
    """
    if kinds < 1 or kind.ndim != 1 or not bool(((kind >= 0) & (kind < kinds)).all()):
        raise GradlabError(f"effective number: kinds {tuple(kind.shape)} must be [S] and from 0 to {kinds - 1}")
    member = torch.arange(len(kind)) if episode is None else torch.as_tensor(episode)
    shares = torch.nn.functional.one_hot(kind.cpu(), kinds).double()
    sums = EpisodeSums.of({f"{i}": shares[:, i] for i in range(kinds)}, member)

    def entropy(s: dict[str, Tensor]) -> Tensor:
        p = torch.stack([s[f"{i}"] for i in range(kinds)]) / s["count"]
        nats: Tensor = -torch.special.xlogy(p, p).sum(0)
        return nats

    found = sums.estimate(entropy)
    count = sums.episodes
    value = math.exp(found.value)
    if not math.isfinite(found.stderr):
        return Estimate(value, math.nan, count, objective=objective)
    # In episodes states agree, so that there are fewer independent wins than states: as many as there are episodes.
    seen = int((shares.sum(0) > 0).sum())
    corrected = found.value + (seen - 1) / (2 * count)
    ends = found.interval()
    half = max(ends[1] - found.value, found.value - ends[0])
    low, high = corrected - half, corrected + half
    if seen < kinds:
        # A kind never seen may have a share of up to u (C. Clopper, E. Pearson 1934) and add its own entropy.
        unseen = float(betaincinv(1, count, 0.975))
        rest = -math.log1p(-unseen) * (1 - unseen) - unseen * math.log(unseen / (kinds - seen))
        high = max(high, found.value * (1 - unseen) + rest)
    low = min(max(low, 0.0), found.value)
    high = max(min(high, math.log(kinds)), found.value)
    return Estimate(value, value * found.stderr, count, objective=objective, ends=(math.exp(low), math.exp(high)))
