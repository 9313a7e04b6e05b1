"""What a task will take, in seconds: as measured where something was, and said to be a guess where nothing was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gradlab.store import Store

#: Seconds on one core, with what is around a measurement, for TD3 on Reacher-v5 with two hidden layers of 64.
GUESSES = {
    "field": 1.5,
    "gradient": 0.5,
    "curvature": 0.5,
    "landscape": 1.5,
    "estimators": 1.5,
    "simulator": 4.0,
    "smoothness": 1.0,
    "returns": 4.0,
    "health": 0.1,
}
#: Of a probe nothing is known of.
_UNKNOWN = 1.0


class Costs:
    """Seconds a probe takes on a task: the mean of what was measured, of the same task if possible.

    Args:
        store: measurements made before; None without.

    Example:
        >>> costs = Costs()
        >>> costs.of("gradient", "Reacher-v5"), costs.is_guess("gradient", "Reacher-v5")
        (0.5, True)
        >>> costs.took("gradient", "Reacher-v5", 2.0)
        >>> costs.of("gradient", "Reacher-v5"), costs.of("gradient", "Hopper-v5")
        (2.0, 2.0)
    """

    def __init__(self, store: Store | None = None) -> None:
        self._of_task: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._of_probe: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        if store is not None:
            self._remember(store)

    def took(self, probe: str, environment: str, seconds: float) -> None:
        """A measurement took so long."""
        for sums in (self._of_task[probe, environment], self._of_probe[probe]):
            sums[0] += seconds
            sums[1] += 1

    def of(self, probe: str, environment: str) -> float:
        """What one will take."""
        for seconds, count in (self._of_task[probe, environment], self._of_probe[probe]):
            if count:
                return seconds / count
        return GUESSES.get(probe, _UNKNOWN)

    def is_guess(self, probe: str, environment: str) -> bool:
        """Whether none was measured."""
        return not self._of_probe[probe][1]

    def total(self, tasks: Iterable[tuple[str, str]]) -> float:
        """What several will take, one after the other."""
        return sum(self.of(probe, environment) for probe, environment in tasks)

    def _remember(self, store: Store) -> None:
        environments = {run.id: run.environment for run in store.runs() if "analysis" in run.config}
        for run, environment in environments.items():
            for one in store.measurements(run=run):
                if one.status == "ok" and one.cost > 0:
                    self.took(one.probe, environment, one.cost)
