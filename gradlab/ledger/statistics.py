"""Norms, cosines and shares of the ledger's terms, debiased, with their intervals.

With M the waypoints' inner products and N that of their noise, a term b = Σ_k c_k g_k has the squared norm cᵀ(M − N)c
without bias (a U-statistic where the units are draws), and two terms the inner product aᵀ(M − N)c. Cosines and
shares are functions of these. Standard errors: of squared norms 4bᵀΩb + 2 tr Ω², Ω the covariance of b̂; of the rest the
delete-one jackknife over the units of every source, added up (J. Arvesen 1969, *Jackknifing U-statistics*, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.estimate import Estimate, Scale
from gradlab.intervals import Noise, squared_norm_interval
from gradlab.ledger.moments import Products

Statistic = Callable[[Callable[[Tensor, Tensor], Tensor]], Tensor]


class Statistics:
    """Estimates of functions of the debiased inner products.

    Args:
        found: inner products of waypoints and pseudo-values.
        combinations: [C, K]; ``found.grams`` belong to them.
        reference: what the total is against, in words.
        objective: of the total, in words.
        samples: how many an estimate without noise is said to rest on.

    Example:
        >>> from gradlab.ledger.moments import Source, products
        >>> rows = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]], [[2.0, 0.0]]])
        >>> source = Source(rows, torch.ones(3, 1).double(), (0,), "draws")
        >>> one = torch.ones(1, 1).double()
        >>> statistics = Statistics(products(source.means(), [source], one), one)
        >>> round(statistics.squared_norm(0).value, 6)  # the mean of 1·3, 1·2 and 3·2
        3.666667
    """

    def __init__(
        self, found: Products, combinations: Tensor, reference: str = "", objective: str = "", samples: int = 2
    ) -> None:
        self.combinations = combinations
        self._reference, self._objective = reference, objective
        self._unknown = found.unknown
        self._exact = max(samples, 2)
        self._found = found
        #: Covariance (K × K inner products) of the waypoints' noise, source by source.
        self._noise = [part.sum(0) / (len(part) * max(len(part) - 1, 1)) for part in self._split(found.squares)]
        self._debiased = found.plug_in - sum(self._noise, start=torch.zeros_like(found.plug_in))
        self._left_out = self._leave_one_out()

    def _split(self, by_unit: Tensor) -> list[Tensor]:
        """One part for each source."""
        return list(by_unit.split(self._found.sizes)) if self._found.sizes else []

    def _leave_one_out(self) -> list[Tensor]:
        """The debiased matrix with each unit left out, [n, K, K] for each source, in closed form."""
        out = []
        sources = zip(self._split(self._found.cross), self._split(self._found.squares), self._noise, strict=True)
        for cross, squares, noise in sources:
            n = len(squares)
            if n < 3:
                # Without one of two units nothing tells of noise any more.
                out.append(torch.full_like(squares, torch.nan))
                continue
            plug_in = -(cross + cross.mT) / (n - 1) + squares / (n - 1) ** 2
            rest = (squares.sum(0) - squares * n / (n - 1)) / ((n - 1) * (n - 2))
            out.append(self._debiased + plug_in + noise - rest)
        return out

    # What is asked for -------------------------------------------------------------------------------------

    def squared_norm(self, term: int) -> Estimate:
        """‖b‖² of a combination, without the noise of its estimate; may be negative."""
        c = self.combinations[term]
        if self._is_unknown(c):
            return self._new(math.nan, math.nan, 1)
        value = float(_form(self._debiased, c, c))
        plug_in = float(_form(self._found.plug_in, c, c))
        traces = [float(_form(noise, c, c)) for noise in self._noise]
        trace = math.fsum(traces)
        if not trace > 0:
            return self._new(plug_in, 0.0, self._exact, ends=(plug_in, plug_in))
        square = self._trace_of_square(term, traces)
        along = 0.0
        for cross in self._split(self._found.cross):
            if len(cross) > 1:
                along += float(_form(cross, c, c).square().sum()) / (len(cross) * (len(cross) - 1))
        # ``along`` holds tr Ω² itself, since b̂ has the noise it is multiplied with.
        stderr = math.sqrt(max(4 * along - 2 * square, 2 * along, square))
        samples = self._samples(traces)
        low, high = squared_norm_interval(plug_in, Noise(trace, square, along), samples)
        # An interval that reaches down to "none" goes on to where the symmetric one ends.
        low = min(value, value - 1.959964 * stderr) if low == 0 else low
        return self._new(value, stderr, samples, ends=(low, max(high, value)))

    def cosine(self, a: int, b: int) -> Estimate:
        """Cosine of two combinations; NaN where a debiased squared norm is not positive."""
        one, two = self.combinations[a], self.combinations[b]

        def statistic(inner: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return inner(one, two) / (_root(inner(one, one)) * _root(inner(two, two)))

        return self._estimate(statistic, (one, two), "fisher")

    def share(self, part: int, whole: int) -> Estimate:
        """The part's inner product with the whole, over the whole's squared norm; parts that add up share 1."""
        one, two = self.combinations[part], self.combinations[whole]

        def statistic(inner: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return inner(one, two) / _root(inner(two, two)).square()

        return self._estimate(statistic, (one, two), "linear")

    def norm_ratio(self, a: int, b: int) -> Estimate:
        """‖a‖/‖b‖; NaN where a debiased squared norm is not positive."""
        one, two = self.combinations[a], self.combinations[b]

        def statistic(inner: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return _root(inner(one, one)) / _root(inner(two, two))

        return self._estimate(statistic, (one, two), "log")

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

    def _is_unknown(self, *combinations: Tensor) -> bool:
        return any(bool((self._unknown & (c != 0)).any()) for c in combinations)

    def _estimate(self, statistic: Statistic, involved: tuple[Tensor, ...], scale: Scale) -> Estimate:
        if self._is_unknown(*involved):
            return self._new(math.nan, math.nan, 1)
        value = float(statistic(lambda a, b: _form(self._debiased, a, b)))
        variances = []
        for left_out in self._left_out:
            values = statistic(lambda a, b, matrix=left_out: _form(matrix, a, b))  # type: ignore[misc]
            n = len(values)
            # A unit that none of the waypoints asked about has seen changes nothing.
            variances.append((n - 1) / n * float((values - values.mean()).square().sum()))
        stderr = math.sqrt(math.fsum(variances)) if math.isfinite(value) else math.nan
        if scale == "fisher" and not abs(value) + 1.5 * stderr < 1:
            # artanh never reaches one, which is the truth of two vectors in the same direction.
            scale = "linear"
        return self._new(value, stderr, self._samples(variances), scale)

    def _samples(self, variances: list[float]) -> int:
        """One more than the degrees of freedom of a sum of variances (F. Satterthwaite 1946)."""
        total = math.fsum(variances)
        if not (math.isfinite(total) and total > 0):
            return self._exact if total == 0 else min(self._found.sizes)
        parts = zip(variances, self._found.sizes, strict=True)
        spread = math.fsum(variance**2 / (n - 1) for variance, n in parts if variance > 0)
        return 1 + math.floor(total**2 / spread + 1e-9)

    def _trace_of_square(self, term: int, traces: list[float]) -> float:
        """Tr Ω² of a combination, from the pairs of its units.

        Within a source the plug-in holds (tr Ω)²/f, f its degrees of freedom, which is taken off (Z. Bai, H. Saranadasa
        1996, section 3); sources are independent of each other, so between two of them it is right as it is.
        """
        gram, sizes = self._found.grams[term], self._found.sizes
        scale = [n * (n - 1) for n in sizes]
        square = 0.0
        for i, rows in enumerate(gram.split(sizes)):
            for j, part in enumerate(rows.split(sizes, dim=1)):
                if not (traces[i] > 0 and traces[j] > 0):
                    continue
                plug_in = float(part.square().sum()) / (scale[i] * scale[j])
                square += plug_in if i != j else _debiased_square(traces[i], plug_in, sizes[i] - 1)
        return square


def _debiased_square(trace: float, plug_in: float, freedom: int) -> float:
    debiased = freedom**2 / ((freedom + 2) * max(freedom - 1, 1)) * (plug_in - trace**2 / freedom)
    # With as many dimensions as one likes tr Ω² may be as small as one likes, but never above (tr Ω)².
    return min(max(debiased, 1e-3 * trace**2), trace**2)


def _form(matrix: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """aᵀ M b for matrices [..., K, K] → [...]."""
    return torch.einsum("k,...kl,l->...", a, matrix, b)


def _root(squared: Tensor) -> Tensor:
    return torch.where(squared > 0, squared, torch.nan).sqrt()
