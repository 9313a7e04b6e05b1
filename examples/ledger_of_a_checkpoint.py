"""Where does the error of a TD3 run's policy gradient come from? An error ledger of a checkpoint, term by term.

    python examples/ledger_of_a_checkpoint.py [FOLDER]

Reads three checkpoints of one run from FOLDER (by default tests/checkpoints, made by examples/make_checkpoints.py).
The minibatch and the replay states are what the earlier two visited; the last one is asked about. Takes seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import gradlab
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator

ENVIRONMENT = "Reacher-v5"


def main(folder: Path) -> None:
    """Print the ledger of the last checkpoint."""
    *earlier, agent = (gradlab.load(folder / f"td3_reacher_{step}.zip") for step in (1000, 3000, 6000))
    simulator = Simulator(ENVIRONMENT)
    # What a replay buffer holds by now: states that earlier actors visited, exploring.
    visits = [simulator.visit(one, 500, seed=seed, exploration=0.1) for seed, one in enumerate(earlier)]
    replay = torch.cat([visited.obs for visited in visits])
    generator = torch.Generator().manual_seed(0)
    ledger = gradlab.error_ledger(
        agent,
        torch.randperm(len(replay), generator=generator)[:256],
        replay=replay,
        on_policy=simulator.visit(agent, 128, seed=2, episodes=32),
        reference=SimulatorReference(simulator, horizon=10),
        long_reference=SimulatorReference(simulator, horizon=20),
        generator=generator,
    )
    ledger.check()
    print(ledger)
    largest = max((term for term in ledger.terms if not term.missing), key=lambda term: term.norm_squared.value)
    print(f"\nLargest: {largest.name}, {largest.norm}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("tests/checkpoints"))
