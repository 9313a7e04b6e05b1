"""What a search for local optima found: optima per state, and counts and means over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_number, real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.state_means import optima_mean


@dataclass(frozen=True)
class LocalOptima:
    """The local optima found at each of S states; lists have one tensor a state, highest optimum first.

    Attributes:
        actions: where they are, [k_s, p], in the critic's action units.
        values: Q there, [k_s], descending.
        persistence: height over the best known pass to a higher optimum, [k_s]; the highest optimum's is its height
            over the lowest value seen, which is the value range. Passes are looked for on paths between the points
            the search ended at, at a limited number of places: a better path that was not found makes a persistence too
            high, a dip narrower than the looks are apart, up to a quarter of a path, makes it too low.
        basin_share: share of the uniform starts that climbed to it, or were linked to one that did, [k_s]; they sum to
            one less the share that ended on plateaus.
        on_boundary: whether it lies on a face of the box, [k_s].
        value_range: highest less lowest value seen, [S], unless given.
        best_action: where the highest value was seen, [S, p], be it an optimum or a plateau.
        best_value: that value, [S].
        actor: index of the optimum that the actor's own ascent reaches, [S], −1 where it ends on a plateau; None
            without an actor.
        replay: the same for the replay action, [S]; None where none was given.
        visits: how many of the uniform starts climbed to it, [k_s], integers: ``basin_share`` times ``starts``.
        reached: Q where the actor's own ascent ends, [S], be it an optimum or a plateau; None without an actor.
        certificate: how it is certified, [k_s], int8: a ``Certificate``, at a scale of twice the merging radius.
        residual: the certificate's, [k_s]: what is left of the gradient, as a share of the longest nearby.
        width: of the action box, [p], in the critic's action units.
        starts: number of uniform starts a state.
        evaluations: rows of Q computed by the search for all states together, with and without gradients. A function
            is asked for as many actions in every state as in the one that needs most: all of them count.
        certifying: rows computed for the certificates, beyond those.
    """

    actions: list[Tensor]
    values: list[Tensor]
    persistence: list[Tensor]
    basin_share: list[Tensor]
    on_boundary: list[Tensor]
    value_range: Tensor
    best_action: Tensor
    best_value: Tensor
    actor: Tensor | None
    reached: Tensor | None
    replay: Tensor | None
    visits: list[Tensor]
    certificate: list[Tensor]
    residual: list[Tensor]
    width: Tensor
    starts: int
    evaluations: int
    certifying: int

    def count(self, threshold: float = 0.01) -> Tensor:
        """Number of optima with persistence of at least ``threshold`` times the value range, [S], integers.

        Raises:
            GradlabError: ``threshold`` is no number from zero.
        """
        threshold = real_number("threshold", threshold, 0.0)
        ranges = self.value_range.tolist()
        counts = [int((p >= threshold * r).sum()) for p, r in zip(self.persistence, ranges, strict=True)]
        return torch.tensor(counts, device=self.value_range.device)

    def curve(self, thresholds: Any = None) -> list[tuple[float, Estimate]]:
        """How many optima there are, over relative persistence: mean over states with its standard error.

        Args:
            thresholds: shares of the value range; 0, and 13 from 0.001 to 1 evenly on a logarithm, when None.

        Returns:
            Pairs of threshold and number of optima at least that persistent, an Estimate over the S states, in the
            thresholds' order; its standard error is NaN for one state. Its interval assumes that no state has more
            than the largest number seen plus one.

        Raises:
            GradlabError: a threshold is negative or no number, or there is none.

        Example:
            >>> from gradlab.landscape import local_optima
            >>> found = local_optima(lambda a: (9 * a).sin().sum(-1) + 0.4 * a.sum(-1), [-1.0], [1.0], states=2)
            >>> [(share, count.value) for share, count in found.curve([0.0, 0.5, 1.0])]
            [(0.0, 4.0), (0.5, 3.0), (1.0, 1.0)]
        """
        if thresholds is None:
            thresholds = [0.0, *(10 ** (e / 4) for e in range(-12, 1))]
        given = torch.atleast_1d(real_tensor("thresholds", thresholds)).flatten().double().tolist()
        if not given or not all(share >= 0 for share in given):
            raise GradlabError(f"thresholds: {shown(thresholds)}; give shares of the value range, none below 0")
        return [(share, optima_mean(self.count(share))) for share in given]

    def mean_gap(self) -> Tensor:
        """Mean over the uniform starts of highest value − value of the optimum climbed to, [S].

        What ascent from a random action leaves on the table; starts that ended on plateaus are left out;
        NaN where all did.
        """
        gaps = [
            ((best - v) * share).sum() / share.sum()
            for best, v, share in zip(self.best_value, self.values, self.basin_share, strict=True)
        ]
        return torch.stack(gaps)

    def __repr__(self) -> str:
        counts = [len(v) for v in self.values]
        return f"<LocalOptima: {len(counts)} states, {min(counts)} to {max(counts)} optima each>"
