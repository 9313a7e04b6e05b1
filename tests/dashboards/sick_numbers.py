"""What the probe ``health`` measures of sick runs and of healthy ones; numbers are those of examples/sick_runs.py."""

from __future__ import annotations

from gradlab.estimate import Estimate

LATEST = "the run's latest steps"


def exact(value: float) -> Estimate:
    return Estimate(value, 0.0, 1, ends=(value, value))


def share(value: float, samples: int = 64, reference: str = "") -> Estimate:
    return Estimate(value, (value * (1 - value) / samples) ** 0.5, samples, reference, scale="share")


def healthy(step: int) -> dict[str, Estimate]:
    """Of Reacher's TD3: at the first measurement after training begins many are saturated for a moment."""
    early = step == 1000
    return {
        "actor/saturated_share": share(0.71 if early else 0.0),
        "actor/stuck_share": share(0.5 if early else 0.0),
        "actor/passed": share(0.02 if early else 0.99),
        "actor/change": exact(0.2),
        "critic/change": exact(0.17),
        "replay/entered_share": exact(1.0),
        "replay/novel_share": share(0.05, 8, LATEST),
        "replay/td_error": Estimate(0.11, 0.01, 64, scale="log"),
        "replay/action_distance": Estimate(0.3, 0.01, 64),
        "visited/action_distance": Estimate(0.09, 0.01, 8, LATEST),
        "visited/td_ratio": Estimate(1.0, 0.1, 8, LATEST, scale="log"),
    }


CHANGES = {
    "healthy": {},
    "frozen critic": {"critic/change": exact(0.0), "replay/td_error": Estimate(0.24, 0.01, 64, scale="log")},
    "frozen actor": {"actor/change": exact(1e-6)},
    "saturated": {
        "actor/saturated_share": share(1.0),
        "actor/stuck_share": share(1.0),
        "actor/passed": share(0.0),
        "actor/change": exact(0.0),
    },
    "not refreshed": {"replay/entered_share": exact(0.0), "replay/novel_share": share(0.42, 8, LATEST)},
    "far off policy": {"replay/novel_share": share(0.6, 8, LATEST)},
}
