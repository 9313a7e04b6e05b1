"""How far ahead can the return of a checkpoint's policy be differentiated? Open gates over horizons, as a table.

    python examples/gates_of_a_horizon.py CHECKPOINT ENVIRONMENT [HORIZON …]

At 32 states that the policy visits, ∂F/∂h by differences and by the chain rule for each horizon: at how many states the
gate is open, how large the gradient is there, by how much a change of the first action is amplified on the way, and why
gates are closed. Prints Markdown. Takes seconds to minutes.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch

import gradlab
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator

STATES = 32


def row(reference: SimulatorReference, agent: gradlab.Agent, states: object) -> str:
    """One horizon's line of the table."""
    truth = reference.cotangent(agent, states)  # type: ignore[arg-type]
    norms = truth.mean[truth.valid].norm(dim=-1)
    sizes = f"{norms.median():.2g} | {norms.max():.2g}" if len(norms) else "– | –"
    growth = truth.diagnostics["growth"]
    growth = growth[growth.isfinite()]
    amplified = f"{growth.median():.2g} | {growth.max():.2g}" if len(growth) else "– | –"
    reasons = Counter(reason.split(":")[0] for reason in truth.diagnostics["reason"] if reason)
    why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f"| {reference.horizon} | {len(norms)} of {len(truth.mean)} | {sizes} | {amplified} | {why or '–'} |"


def main(checkpoint: Path, environment: str, horizons: list[int]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    agent, simulator = gradlab.load(checkpoint), Simulator(environment)
    states = simulator.visit(agent, STATES, seed=0, episodes=16)
    print(f"{checkpoint.name} on {environment}:\n")
    print("| horizon | gates open | median ‖∇_h F‖ | largest | median amplification | largest | closed because |")
    print("|---:|---:|---:|---:|---:|---:|---|")
    for horizon in horizons:
        print(row(SimulatorReference(simulator, horizon, second_way=True), agent, states), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(horizon) for horizon in sys.argv[3:]] or [5, 10, 25, 50])
