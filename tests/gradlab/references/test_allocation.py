"""More noises where the interval is widest: intervals go on covering, and the interrupted go on as the others do."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.objective import Objective
from gradlab.policies import Gaussian
from gradlab.references.rollouts.allocation import Allocation, Sampled, over_halves
from gradlab.references.rollouts.assembly import assemble
from gradlab.references.rollouts.course import Course
from gradlab.references.rollouts.differenced import DifferencedReturns
from gradlab.references.rollouts.records import Block, RolloutRecords
from gradlab.references.rollouts.run import RolloutRun
from gradlab.references.rollouts.spending import Spending
from gradlab.simulation import States
from gradlab.simulation.rollouts import Rollouts

HORIZON = 2


@dataclass(frozen=True)
class KnownCourse(Course):
    """Returns (slope + width · ξ) · a with ξ from the later noise: the true gradient by the mean is the slope."""

    slope: Tensor = None
    width: Tensor = None

    def rollouts(self, block, act, noise) -> Rollouts:
        xi = noise[1, :, 0]
        value = (self.slope[block.positions] + self.width[block.positions] * xi) * act[..., 0]
        return Rollouts(
            value,
            torch.full(value.shape, HORIZON),
            torch.zeros_like(value, dtype=torch.bool),
            None,
            torch.zeros_like(value).long(),
            torch.zeros_like(value).bool(),
        )


def fixed_head(obs: Tensor) -> Tensor:
    return torch.cat([obs, torch.full_like(obs, -1.0)], -1)


def reference(seed: int, rollouts: int | None, target: float, states: int = 12):
    """A whole reference on the known returns: found, slopes, and what one noise varies by."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.randn(states, generator=generator, dtype=torch.float64)
    slope = slope + 0.5 * slope.sign()
    width = torch.randn(states, generator=generator, dtype=torch.float64).div(2).exp()
    obs = torch.randn(states, 1, generator=generator, dtype=torch.float64)
    at = States(obs, ("",) * states, torch.arange(states), torch.zeros(states, dtype=torch.int64), "known")
    pilot = Agent(nn.Linear(1, 2).double(), [], [-9], [9], policy=Gaussian(), head=lambda actor, obs: fixed_head(obs))
    course = KnownCourse(SimpleNamespace(action_size=1), pilot, at, HORIZON, seed, 0.0, False, slope=slope, width=width)
    scheme = DifferencedReturns(pilot, fixed_head(obs), (1e-2, 1e-3), entropy=0.0, tolerance=1e-2)
    allocation = Allocation(range(states), 8, width=scheme.width, horizon=500, target=target)
    run = RolloutRun(course, scheme, allocation, Spending(None, rollouts, lambda: 0.0))
    run.go()
    return assemble(run, allocation, scheme, pilot, at, Objective(), "known"), slope, width


@pytest.mark.parametrize(("target", "rollouts"), [(0.0, 9 * 12 * 30), (0.3, None)], ids=["budget", "target"])
def test_intervals_cover_and_standard_errors_are_true_on_average(target, rollouts):
    # In units of what one noise varies by, so that no one state decides.
    z, outwards, squares, claimed = [], [], [], []
    for seed in range(30):
        found, slope, unit = reference(seed, rollouts, target)
        assert found.valid.all()
        error = found.mean[:, 0] - slope
        z.append(error / found.stderr[:, 0])
        outwards.append(error * slope.sign() / unit)
        squares.append((error / unit) ** 2)
        claimed.append((found.stderr[:, 0] / unit) ** 2)
    z, outwards = torch.cat(z).numpy(), torch.cat(outwards)
    counts = len(z)
    # With four noises a half Student's t of about six degrees is what the halves' variances have at the least.
    held = np.mean(np.abs(z) <= student.ppf(0.975, 6))
    assert 0.92 <= held <= 0.99, held
    ratio = float(torch.cat(claimed).mean() / torch.cat(squares).mean())
    assert 0.75 <= ratio <= 1.33, ratio
    # "Widest first" by a state's own draws would lie ten standard errors outwards.
    assert abs(float(outwards.mean())) < 4 * float(outwards.std()) / counts**0.5


def test_the_noise_goes_where_the_interval_is_widest():
    found, *_ = reference(3, 9 * 12 * 60, 0.0)
    flat, *_ = reference(3, 9 * 12 * 8, 0.0)
    assert flat.diagnostics["noise_seeds"].tolist() == [8] * 12
    spent = found.diagnostics["noise_seeds"]
    assert int(spent.sum()) * 9 == int(found.diagnostics["rollouts"].sum()) <= 9 * 12 * 60
    assert spent.max() > 4 * spent.min()
    assert found.samples == int(spent.min())

    def widest(reference):
        length = reference.mean.norm(dim=-1).clamp_min(0.1 * float(reference.mean.norm(dim=-1).square().mean().sqrt()))
        return float((reference.stderr.norm(dim=-1) / length).max())

    even = widest(flat) * (8 / 60) ** 0.5
    assert widest(found) < 0.7 * even


def test_a_target_is_met_about_and_a_looser_one_costs_less():
    tight, loose = (reference(5, None, target)[0] for target in (0.15, 0.45))
    assert int(tight.diagnostics["rollouts"].sum()) > 4 * int(loose.diagnostics["rollouts"].sum())
    length = tight.mean.norm(dim=-1)
    relative = (tight.stderr.norm(dim=-1) / length)[length > 0.2 * length.max()]
    assert relative.max() < 0.3


def test_halves_are_combined_as_by_hand():
    draws = torch.randn(11, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    indices = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14]
    mean, stderr = over_halves(draws, indices)
    even, odd = (draws.numpy()[[i for i, k in enumerate(indices) if k % 2 == half]] for half in (0, 1))
    np.testing.assert_allclose(mean.numpy(), (even.mean(0) + odd.mean(0)) / 2)
    variance = even.var(0, ddof=1) / len(even) + odd.var(0, ddof=1) / len(odd)
    np.testing.assert_allclose(stderr.numpy(), np.sqrt(variance) / 2)


def test_a_half_never_decides_its_own_size():
    allocation = Allocation(range(3), 8, width=9, horizon=100, target=0.0)
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randn(8, 2, generator=generator, dtype=torch.float64) + 1 for _ in range(3)]

    def sizes(scale: float) -> dict[tuple[int, int], float]:
        changed = [one.clone() for one in draws]
        changed[1][0::2] = scale * changed[1][0::2] - 5
        sampled = {i: Sampled(one, tuple(range(8)), True) for i, one in enumerate(changed)}
        return {key: width for key, (width, _) in allocation._widths(sampled).items()}

    one, other = sizes(1.0), sizes(30.0)
    assert one[1, 0] == other[1, 0]
    assert one[1, 1] != other[1, 1]


def test_closed_states_get_no_more_and_first_blocks_hold_whole_states():
    allocation = Allocation(range(4), 8, width=9, horizon=100, target=0.0)
    records = RolloutRecords()
    blocks = []
    while (block := allocation.first(records, len(blocks))) is not None:
        value = torch.zeros(9, len(block), dtype=torch.float64)
        records.add(block, type("O", (), {"values": value, "lengths": value, "ends": value, "steps": 0})())
        blocks.append(block)
    assert [len(block) for block in blocks] == [8, 24]
    assert blocks[0].positions.unique().tolist() == [0]
    draws = torch.randn(8, 2, dtype=torch.float64)
    sampled = {i: Sampled(draws, tuple(range(8)), i != 2) for i in range(4)}
    further = allocation.further(sampled, 3)
    assert isinstance(further, Block)
    assert sorted(further.positions.unique().tolist()) == [0, 1, 3]
    assert further.indices.min() == 8
    pairs = set(zip(further.positions.tolist(), further.indices.tolist(), strict=True))
    assert len(pairs) == len(further)
