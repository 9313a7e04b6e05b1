"""Norms, cosines and shares of the ledger's vectors, debiased, with their intervals.

With M the vectors' inner products and N that of their noise, vector c has the squared norm (M − N)_cc without bias (a
U-statistic where the units are draws), and two of them the inner product (M − N)_cd. Cosines and shares are
functions of these. Standard errors: of squared norms 4bᵀΩb + 2 tr Ω², Ω the covariance of b̂; of the rest the delete-one
jackknife over the units of every source, added up (J. Arvesen 1969, *Jackknifing U-statistics*, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradlab.estimate import Estimate, Scale
from gradlab.inference.confidence import trace_of_square
from gradlab.inference.intervals import Noise, cosine_interval, squared_norm_interval
from gradlab.ledger.moments import Products

#: The inner product of two vectors, each given by weights of the ledger's own.
Inner = Callable[[Tensor, Tensor], Tensor]


class Statistics:
    """Estimates of functions of the debiased inner products of C vectors.

    Where units scatter with heavy tails, the spread they show is itself uncertain: each source counts for
    2n/(κ − 1) degrees of freedom, κ the kurtosis, if that is fewer than n − 1, and sources are put together
    as F. Satterthwaite 1946 did. ``samples`` of an estimate is one more than that, which need not be a number of units.

    Args:
        found: inner products of the vectors and their pseudo-values.
        reference: what the total is against, in words.
        objective: of the total, in words.
        samples: how many an estimate without noise is said to rest on.

    Example:
        >>> from gradlab.ledger.moments import Source, products
        >>> rows = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]], [[2.0, 0.0]]])
        >>> source = Source(rows, torch.ones(3, 1).double(), (0,), "draws")
        >>> statistics = Statistics(products(source.means(), [source], torch.ones(1, 1).double()))
        >>> round(statistics.squared_norm(0).value, 6)  # the mean of 1·3, 1·2 and 3·2
        3.666667
    """

    def __init__(self, found: Products, reference: str = "", objective: str = "", samples: int = 2) -> None:
        self._found = found
        self._reference, self._objective = reference, objective
        self._exact = max(samples, 2)
        # Every cosine asks for its first vector's norm, and the interval of one takes milliseconds.
        self._norms: dict[int, Estimate] = {}
        cross, squares = found.by_unit()
        #: e_uc·x_d of each source's units.
        self._cross = self._split(cross)
        #: Covariance (C × C inner products) of the vectors' noise, source by source.
        self._noise = [part.sum(0) / (len(part) * max(len(part) - 1, 1)) for part in self._split(squares)]
        self._debiased = found.plug_in - sum(self._noise, start=torch.zeros_like(found.plug_in))
        self._left_out = [
            self._without_each(*parts) for parts in zip(self._cross, self._split(squares), self._noise, strict=True)
        ]

    def _split(self, by_unit: Tensor) -> list[Tensor]:
        """One part for each source."""
        return list(by_unit.split(self._found.sizes)) if self._found.sizes else []

    def _without_each(self, cross: Tensor, squares: Tensor, noise: Tensor) -> Tensor:
        """The debiased matrix with each unit of one source left out, [n, C, C], in closed form."""
        n = len(squares)
        if n < 3:
            # Without one of two units nothing tells of noise any more.
            return torch.full_like(squares, torch.nan)
        plug_in = -(cross + cross.mT) / (n - 1) + squares / (n - 1) ** 2
        rest = (squares.sum(0) - squares * n / (n - 1)) / ((n - 1) * (n - 2))
        return self._debiased + plug_in + noise - rest

    # What is asked for -------------------------------------------------------------------------------------

    def squared_norm(self, c: int) -> Estimate:
        """‖b‖² of a vector, without the noise of its estimate; may be negative."""
        if c not in self._norms:
            self._norms[c] = self._squared_norm(self._unit(c))
        return self._norms[c]

    def cosine(self, a: int, b: int) -> Estimate:
        """Cosine of two vectors; NaN where a debiased squared norm is not positive.

        Near ±1 and where a is hardly more than its noise, the jackknife knows too little. The interval therefore
        holds also that from the intervals of a's part along b and of the squared norm of the rest of it.
        """
        one, two = self._unit(a), self._unit(b)

        def statistic(inner: Inner) -> Tensor:
            return inner(one, two) / (_root(inner(one, one)) * _root(inner(two, two)))

        found = self._estimate(statistic, (a, b), "fisher")
        norm = float(self._debiased[b, b])
        if bool(self._found.unknown[[a, b]].any()) or float(self._found.plug_in[a, a]) == 0 or not norm > 0:
            return found
        along = self._estimate(lambda inner: inner(one, two) / _root(inner(two, two)), (a, b), "linear")
        rest = self._squared_norm(one - float(self._debiased[a, b]) / norm * two)
        if not (math.isfinite(along.stderr) and math.isfinite(rest.stderr)):
            return found
        low, high = rest.interval()
        low, high = cosine_interval(along.interval(), (max(low, 0.0), high), (along.value, max(rest.value, 0.0)))
        own = found.interval()
        if math.isfinite(own[0]) and self.squared_norm(a).resolved:
            low, high = min(low, max(own[0], -1.0)), max(high, min(own[1], 1.0))
        # The estimate is not clipped, so it may lie beyond one; the interval holds it all the same.
        if math.isfinite(found.value):
            low, high = min(low, found.value), max(high, found.value)
        return replace(found, ends=(low, high))

    def share(self, part: int, whole: int) -> Estimate:
        """The part's inner product with the whole, over the whole's squared norm; parts that add up share 1."""
        one, two = self._unit(part), self._unit(whole)
        return self._estimate(lambda inner: inner(one, two) / _root(inner(two, two)).square(), (part, whole), "linear")

    def inner(self, a: int, b: int) -> Estimate:
        """The inner product of two vectors, without what their noise has in common; may be negative."""
        one, two = self._unit(a), self._unit(b)
        return self._estimate(lambda inner: inner(one, two), (a, b), "linear")

    def norm_ratio(self, a: int, b: int) -> Estimate:
        """‖a‖/‖b‖; NaN where a debiased squared norm is not positive."""
        one, two = self._unit(a), self._unit(b)
        return self._estimate(lambda inner: _root(inner(one, one)) / _root(inner(two, two)), (a, b), "log")

    def nothing(self) -> Estimate:
        """A zero that is exact: nothing was there to be measured."""
        return self._new(0.0, 0.0, self._exact, ends=(0.0, 0.0))

    # How ---------------------------------------------------------------------------------------------------

    def _new(
        self,
        value: float,
        stderr: float,
        samples: int,
        scale: Scale = "linear",
        ends: tuple[float, float] | None = None,
    ) -> Estimate:
        return Estimate(value, stderr, samples, self._reference, self._objective, scale, ends)

    def _unit(self, c: int) -> Tensor:
        """The weights of one vector."""
        return torch.eye(len(self._debiased), dtype=self._debiased.dtype)[c]

    def _squared_norm(self, weights: Tensor) -> Estimate:
        used = weights != 0
        if bool((self._found.unknown & used).any()):
            return self._new(math.nan, math.nan, 1)
        value, plug_in = (float(_form(matrix, weights, weights)) for matrix in (self._debiased, self._found.plug_in))
        traces = [float(_form(noise, weights, weights)) for noise in self._noise]
        trace = math.fsum(traces)
        # What cancels leaves rounding, which is no noise.
        size = float(self._found.plug_in.diagonal() @ weights.square()) if int(used.sum()) > 1 else 0.0
        if not trace > 1e-13 * size:
            plug_in = plug_in if plug_in > 1e-13 * size else 0.0
            return self._new(plug_in, 0.0, self._exact, ends=(plug_in, plug_in))
        square = self._trace_of_square(weights, traces)
        # With these projections on b̂ a unit's effect on ‖b̂‖² is linear.
        along = [_form(cross, weights, weights) for cross in self._cross]
        variance = math.fsum(float(part.square().sum()) / (len(part) * max(len(part) - 1, 1)) for part in along)
        # It holds tr Ω² itself, since b̂ has the noise it is multiplied with.
        stderr = math.sqrt(max(4 * variance - 2 * square, 2 * variance, square))
        samples = self._samples(traces, along)
        low, high = squared_norm_interval(max(plug_in, 0.0), Noise(trace, square, variance), samples)
        # An interval that reaches down to "none" goes on to where the symmetric one ends.
        low = min(value, value - 1.959964 * stderr) if low == 0 else low
        return self._new(value, stderr, samples, ends=(low, max(high, value)))

    def _estimate(self, statistic: Callable[[Inner], Tensor], involved: tuple[int, int], scale: Scale) -> Estimate:
        if bool(self._found.unknown[list(involved)].any()):
            return self._new(math.nan, math.nan, 1)
        value = float(statistic(lambda a, b: _form(self._debiased, a, b)))
        deviations = []
        for left_out in self._left_out:
            values = statistic(lambda a, b, matrix=left_out: _form(matrix, a, b))  # type: ignore[misc]
            deviations.append(values - values.mean())
        variances = [(len(part) - 1) / len(part) * float(part.square().sum()) for part in deviations]
        stderr = math.sqrt(math.fsum(variances)) if math.isfinite(value) else math.nan
        if scale == "fisher" and not abs(value) + 1.5 * stderr < 1:
            # artanh never reaches one, which is the truth of two vectors in the same direction.
            scale = "linear"
        found = self._new(value, stderr, self._samples(variances, deviations), scale)
        if scale != "linear" or not stderr > 0:
            return found
        low, high = found.interval()
        shift = _skewness_shift(deviations, stderr, high - value)
        # The end on the tail's side goes out; bringing the other one in as far lost more than it gained, since the
        # sample's own skewness is large just when the tail is in it.
        return replace(found, ends=(low + min(shift, 0.0), high + max(shift, 0.0)))

    def _samples(self, variances: list[float], deviations: list[Tensor]) -> int:
        """One more than the degrees of freedom of a sum of variances, each from the units' deviations."""
        total = math.fsum(variances)
        if not (math.isfinite(total) and total > 0):
            return self._exact if total == 0 else min(self._found.sizes)
        spread = 0.0
        for variance, part in zip(variances, deviations, strict=True):
            spread += variance**2 / _freedom(part) if variance > 0 else 0.0
        return 1 + math.floor(total**2 / spread + 1e-9)

    def _trace_of_square(self, weights: Tensor, traces: list[float]) -> float:
        """Tr Ω² of a combination of vectors, from the pairs of units.

        Within a source the plug-in holds (tr Ω)²/f, f its degrees of freedom, which is taken off (Z. Bai, H. Saranadasa
        1996, section 3); sources are independent of each other, so between two of them it is right as it is.
        """
        sizes = self._found.sizes
        scale = [n * (n - 1) for n in sizes]
        square = 0.0
        for i, rows in enumerate(self._found.gram_of(weights).split(sizes)):
            for j, part in enumerate(rows.split(sizes, dim=1)):
                if not (traces[i] > 0 and traces[j] > 0):
                    continue
                plug_in = float(part.square().sum()) / (scale[i] * scale[j])
                square += plug_in if i != j else trace_of_square(traces[i], plug_in, sizes[i] - 1)
        return square


def _freedom(deviations: Tensor) -> float:
    """Degrees of freedom of the variance of n numbers whose mean is zero."""
    n, second = len(deviations), float(deviations.square().mean())
    excess = float(deviations.pow(4).mean()) / second**2 - 1 if second > 0 else 0.0
    return min(n - 1.0, max(2 * n / excess, 2.0)) if excess > 0 else n - 1.0


def _skewness_shift(deviations: list[Tensor], stderr: float, half: float) -> float:
    """How far the ends of a symmetric interval move for skewed units: μ₃(1 + 2t²)/(6σ²n), t = half/stderr.

    N. Johnson 1978, *Modified t tests and confidence intervals for asymmetrical populations*, section 3, at both ends;
    the sources' third moments add up as their variances do. No further than the estimate itself.
    """
    third = 0.0
    for part in deviations:
        n = len(part)
        # Pseudo-values move against the values with a unit left out, n − 1 times as far.
        third -= (n - 1) ** 3 * float(part.pow(3).mean()) / n**2
    shift = third / stderr**2 * (1 + 2 * (half / stderr) ** 2) / 6
    return max(-half, min(half, shift))


def _form(matrix: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """aᵀ M b for matrices [..., K, K] → [...]."""
    return (matrix @ b) @ a


def _root(squared: Tensor) -> Tensor:
    return torch.where(squared > 0, squared, torch.nan).sqrt()
