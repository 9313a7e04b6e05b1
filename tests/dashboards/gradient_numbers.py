"""Numbers as the probes ``estimators`` and ``simulator`` store them, of a gradient that is taken apart."""

from __future__ import annotations

import math
from itertools import combinations

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement

#: Mean squared errors that the pairs are made of.
MSE = {"zeroth-order-2": 2.0, "zeroth-order-antithetic": 1.0, "score-function": 9.0, "score-function-baseline": 2.05}
RADII = (0.01, 0.1, 1.0)
CONTRIBUTIONS = {"minibatch_noise": 0.5, "state_distribution": -0.2, "smoothing": 0.1, "critic_error": 2.0}


def pairs(reference: str) -> dict[str, Estimate]:
    """Paired differences with a standard error of a tenth."""
    return {
        f"paired/{a}/{b}": Estimate(MSE[a] - MSE[b], 0.1, 64, reference) for a, b in combinations(MSE, 2)
    }  # fmt: skip


def apart(step: int) -> Measurement:
    """What ``probes.Estimators`` measures."""
    numbers = pairs("critic")
    for i, name in enumerate(MSE):
        signal = 0.4 if name != "score-function" else -0.1
        numbers |= {
            f"{name}/state_variance": Estimate(5.0, 1.0, 128),
            f"{name}/draw_variance": Estimate(20.0 * 3**i, 2.0, 128),
            f"{name}/total_variance": Estimate(5.0 + 20.0 * 3**i, 3.0, 128, scale="inverse"),
            f"{name}/gradient_squared": Estimate(signal, 0.1, 128),
            f"{name}/from_states": Estimate(0.1, 0.02, 128),
            f"{name}/noise_scale": Estimate(80.0 * 3**i, 20.0, 128, ends=(40.0 * 3**i, math.inf))
            if signal > 0
            else Estimate(math.nan, math.nan, 128),
        }
        for place, (module, share) in enumerate((("mu.0", 0.25), ("mu.2", 0.75))):
            numbers |= {
                f"layer/{place}/{module}/{name}/bias_squared": Estimate(0.01 * share, 0.02, 64, "critic"),
                f"layer/{place}/{module}/{name}/variance": Estimate((1 - share) * 3**i, 0.01, 64, "critic"),
                f"layer/{place}/{module}/{name}/reference_squared": Estimate(0.5 * share, 0.0, 64, "critic"),
            }
    for name in ("zeroth-order-2", "zeroth-order-antithetic"):
        numbers[f"{name}/best_radius"] = Estimate(RADII[1], 0.1, 64, "critic", scale="log", ends=(RADII[0], RADII[1]))
        for mu, bias, variance in zip(RADII, (0.0, 0.1, 1.0), (0.9, 0.4, 0.3), strict=True):
            numbers |= {
                f"radius/{mu:g}/{name}/bias_squared": Estimate(bias, 0.05, 64, "critic"),
                f"radius/{mu:g}/{name}/variance": Estimate(variance, 0.05, 64, "critic"),
                f"radius/{mu:g}/{name}/mse": Estimate(bias + variance, 0.05, 64, "critic"),
            }
    return Measurement(numbers)


def simulated(step: int) -> Measurement:
    """What ``probes.Simulator`` measures where the run's buffer is known."""
    against = "simulator at on-policy states"
    numbers = pairs("simulator, H=50")
    for name, mse in MSE.items():
        numbers |= {
            f"{name}/mse": Estimate(mse, 0.1, 16, "simulator, H=50"),
            f"{name}/bias_squared": Estimate(0.3 * mse, 0.1, 16, "simulator, H=50"),
            f"{name}/variance": Estimate(0.7 * mse, 0.1, 16, "simulator, H=50"),
        }
    none = Estimate(0.0, 0.0, 16, against, ends=(0.0, 0.0))
    for term in ("estimator_noise", "entropy"):
        numbers |= {f"ledger/{term}/contribution": none, f"ledger/{term}/norm_squared": none}
    for term, value in CONTRIBUTIONS.items():
        spread = 0.4 if term == "state_distribution" else 0.02
        numbers[f"ledger/{term}/contribution"] = Estimate(value, spread, 16, against)
        numbers[f"ledger/{term}/norm_squared"] = Estimate(abs(value), spread, 16, against)
    total = Estimate(sum(CONTRIBUTIONS.values()), 0.1, 16, against)
    numbers |= {"ledger/total/contribution": total, "ledger/total/norm_squared": total}
    numbers["ledger/truth/norm_squared"] = Estimate(3.0, 0.2, 16, against)
    return Measurement(numbers)
