"""How many known local optima the search finds, and how many it makes up, on random landscapes of many kinds.

Landscapes are ``gradlab.worlds.landscapes.FAMILIES``; to be found are maxima of at least 1 % relative persistence whose
basin is expected to hold at least three starts, where these are known in closed form. Near means within 1 % of the
box's width in every coordinate; the second column says how many lie within 5 %.

    python benchmarks/recall_of_optima.py [--landscapes 40]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from harness import RESULTS, environment

from gradlab.estimate import Estimate
from gradlab.landscape import local_optima
from gradlab.worlds.landscapes import FAMILIES, Found, Score, false_share, random_landscape, recall, score


def searched(family: str, seed: int) -> tuple[Found, int]:
    """What the search claims of one landscape, and the rows of Q it evaluated."""
    world = random_landscape(family, seed)
    starts = FAMILIES[family].starts
    optima = local_optima(world.q, world.low, world.high, starts=starts)
    parts = (part[0].numpy() for part in (optima.actions, optima.values, optima.persistence))
    return Found(*parts, float(optima.value_range[0]), starts), optima.evaluations


def told(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": estimate.interval(), "landscapes": estimate.samples}


def measure(family: str, landscapes: int) -> dict[str, Any]:
    near: list[Score] = []
    far: list[Score] = []
    rows = 0
    for seed in range(landscapes):
        world = random_landscape(family, seed)
        found, evaluations = searched(family, seed)
        near.append(score(world, found))
        far.append(score(world, found, radius=0.05))
        rows += evaluations
    return {
        "starts": FAMILIES[family].starts,
        "known": sum(s.known for s in near),
        "recall within 1 %": told(recall(near)),
        "recall within 5 %": told(recall(far)),
        "false": told(false_share(near)),
        "false beyond 5 %": told(false_share(far)),
        "greatest shortfall in value, share of the range": max(s.shortfall for s in far),
        "rows evaluated per start": rows / landscapes / FAMILIES[family].starts,
    }


def shown(estimate: dict[str, Any]) -> str:
    low, high = estimate["interval"]
    return f"{estimate['value']:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landscapes", type=int, default=40, help="random landscapes of each family")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = {}
    print(f"{'':26} {'known':>5}  {'recall within 1 %':22} {'within 5 %':22} {'false':22} {'shortfall':>9}  rows/start")
    for family in FAMILIES:
        row = report[family] = measure(family, options.landscapes)
        columns = "  ".join(shown(row[name]) for name in ("recall within 1 %", "recall within 5 %", "false"))
        short = row["greatest shortfall in value, share of the range"]
        print(
            f"{family:26} {row['known']:5}  {columns}  {short:9.1e}  {row['rows evaluated per start']:.0f}", flush=True
        )
    record = {"environment": environment(), "landscapes": options.landscapes, "families": report}
    (RESULTS / "recall_of_optima.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
