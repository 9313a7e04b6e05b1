"""More noises where the interval is widest: intervals go on covering, and the interrupted go on as the others do."""

from __future__ import annotations

from collections.abc import Callable
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
from gradlab.references.rollouts.allocation import Allocation, Sampled
from gradlab.references.rollouts.assembly import assemble
from gradlab.references.rollouts.course import Course
from gradlab.references.rollouts.differenced import DifferencedReturns
from gradlab.references.rollouts.records import Block, Outcome, RolloutRecords
from gradlab.references.rollouts.run import RolloutRun
from gradlab.references.rollouts.spending import Spending
from gradlab.simulation import States
from gradlab.simulation.rollouts import Rollouts

HORIZON = 2


@dataclass(frozen=True)
class KnownCourse(Course):
    """Returns law(position, ξ) · a with ξ from the later noise: the true gradient by the mean is the law's mean."""

    law: Callable[[Tensor, Tensor], Tensor] = None

    def rollouts(self, block, act, noise) -> Rollouts:
        value = self.law(block.positions, noise[1, :, 0]) * act[..., 0]
        lengths, never = torch.full(value.shape, HORIZON), torch.zeros_like(value, dtype=torch.bool)
        return Rollouts(value, lengths, never, None, torch.zeros_like(lengths), never)


def fixed_head(obs: Tensor) -> Tensor:
    return torch.cat([obs, torch.full_like(obs, -3.0)], -1)


def run_of(law, obs: Tensor, *, seed: int, rollouts: int | None, target: float, noises: int = 8, horizon: int = 500):
    """A whole run on returns of a known law."""
    states = len(obs)
    at = States(obs, ("",) * states, torch.arange(states), torch.zeros(states, dtype=torch.int64), "known")
    pilot = Agent(nn.Linear(1, 2).double(), [], [-9], [9], policy=Gaussian(), head=lambda actor, obs: fixed_head(obs))
    course = KnownCourse(SimpleNamespace(action_size=1, random=False), pilot, at, HORIZON, seed, 0.0, False, law=law)
    scheme = DifferencedReturns(pilot, fixed_head(obs), (1e-2, 1e-3), entropy=0.0, tolerance=1e-2)
    allocation = Allocation(range(states), noises, width=scheme.width, horizon=horizon, target=target)
    run = RolloutRun(course, scheme, allocation, Spending(None, rollouts, lambda: 0.0))
    run.go()
    return assemble(run, allocation, scheme, pilot, at, Objective(), "known"), run


def reference(seed: int, rollouts: int | None, target: float, states: int = 12):
    """A whole reference at states of different slopes and widths: found, slopes, and what one noise varies by."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.randn(states, generator=generator, dtype=torch.float64)
    slope = slope + 0.5 * slope.sign()
    width = torch.randn(states, generator=generator, dtype=torch.float64).div(2).exp()
    obs = torch.randn(states, 1, generator=generator, dtype=torch.float64)
    found, _ = run_of(lambda at, xi: slope[at] + width[at] * xi, obs, seed=seed, rollouts=rollouts, target=target)
    return found, slope, width


def skewed(_, xi):
    return 2 - torch.exp(0.6 * xi - 0.18)


def rare(_, xi):
    return torch.where(xi > 1.6448536269514722, -2.0, 1.0) + 0.1 * torch.cos(9 * xi)


#: E cos(9 ξ) is exp(-40.5); one draw in twenty is -2.
RARE_MEAN = 0.85


@pytest.mark.parametrize(
    ("law", "truth", "noises", "target", "least", "most"),
    [(skewed, 1.0, 8, 0.15, 0.88, 0.98), (rare, RARE_MEAN, 40, 0.1, 0.8, 0.98), (rare, RARE_MEAN, 8, 0.25, 0, 1)],
    ids=["skewed", "rare", "rare and unseen"],
)
def test_skewed_and_rare_draws_are_averaged_without_bias(law, truth, noises, target, least, most):
    states = 400
    obs = torch.randn(states, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, _ = run_of(law, obs, seed=23, rollouts=None, target=target, noises=noises, horizon=HORIZON)
    assert found.valid.all()
    error, stderr = (found.mean[:, 0] - truth).numpy(), found.stderr[:, 0].numpy()
    counts = found.diagnostics["noise_seeds"].numpy()
    assert counts.min() >= noises
    assert counts.max() > counts.min()
    assert abs(error.mean()) < 3.5 * error.std() / states**0.5, (error.mean(), error.std() / states**0.5)
    held = np.mean(np.abs(error) <= stderr * student.ppf(0.975, counts - 1))
    assert least <= held <= most, held
    # Squared standard errors and squared errors have the same mean.
    difference = stderr**2 - error**2
    assert abs(difference.mean()) < 4 * difference.std() / states**0.5
    # The numbers of noises know nothing of the errors.
    assert abs(np.corrcoef(counts, error)[0, 1]) < 4 / states**0.5


@pytest.mark.parametrize(("target", "rollouts"), [(0.0, 9 * 12 * 30), (0.3, None)], ids=["budget", "target"])
def test_intervals_cover_and_standard_errors_are_true_on_average(target, rollouts):
    # In units of what one noise varies by, so that no one state decides.
    z, outwards, squares, claimed, counts = [], [], [], [], []
    for seed in range(30):
        found, slope, unit = reference(seed, rollouts, target)
        assert found.valid.all()
        error = found.mean[:, 0] - slope
        z.append(error / found.stderr[:, 0])
        outwards.append(error * slope.sign() / unit)
        squares.append((error / unit) ** 2)
        counts.append(found.diagnostics["noise_seeds"].numpy())
        claimed.append((found.stderr[:, 0] / unit) ** 2)
    z, outwards = torch.cat(z).numpy(), torch.cat(outwards)
    held = np.mean(np.abs(z) <= student.ppf(0.975, np.concatenate(counts) - 1))
    assert 0.92 <= held <= 0.98, held
    ratio = float(torch.cat(claimed).mean() / torch.cat(squares).mean())
    assert 0.75 <= ratio <= 1.33, ratio
    # "Widest first" by a state's own draws would lie ten standard errors outwards.
    assert abs(float(outwards.mean())) < 4 * float(outwards.std()) / len(z) ** 0.5


def test_the_noise_goes_where_the_interval_is_widest():
    found, *_ = reference(3, 9 * 12 * 60, 0.0)
    flat, *_ = reference(3, 9 * 12 * 16, 0.0)
    assert flat.diagnostics["noise_seeds"].tolist() == [8] * 12
    spent = found.diagnostics["noise_seeds"]
    # A pilot costs, and is not averaged over.
    assert int(spent.sum() + 8 * 12) * 9 == int(found.diagnostics["rollouts"].sum()) <= 9 * 12 * 60
    assert spent.max() > 4 * spent.min()
    assert found.samples == int(spent.min())

    def widest(reference):
        length = reference.mean.norm(dim=-1).clamp_min(0.1 * float(reference.mean.norm(dim=-1).square().mean().sqrt()))
        return float((reference.stderr.norm(dim=-1) / length).max())

    even = widest(flat) * (8 / 60) ** 0.5
    assert widest(found) < 0.8 * even


def test_a_target_is_met_about_and_a_looser_one_costs_less():
    tight, loose = (reference(5, None, target)[0] for target in (0.15, 0.45))
    assert int(tight.diagnostics["rollouts"].sum()) > 4 * int(loose.diagnostics["rollouts"].sum())
    length = tight.mean.norm(dim=-1)
    relative = (tight.stderr.norm(dim=-1) / length)[length > 0.2 * length.max()]
    assert relative.max() < 0.3


@pytest.mark.parametrize(("target", "rollouts"), [(0.2, None), (0.0, 9 * 12 * 40)], ids=["target", "budget"])
def test_what_a_state_is_averaged_over_is_settled_by_the_pilots_alone(target, rollouts):
    """Whatever later draws are, as many of them are made; and they alone are the mean and its standard error."""
    obs = torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
    plain = run_of(lambda at, xi: 1 + (1 + at) * xi / 3, obs, seed=2, rollouts=rollouts, target=target)
    first = [{float(v) for v in _later_noise(plain[1], p, range(8))} for p in range(12)]

    def changed(at, xi):
        pilot = torch.tensor([float(x) in first[int(p)] for p, x in zip(at, xi, strict=True)])
        return torch.where(pilot, 1 + (1 + at) * xi / 3, 50 * xi**2 * (1 + at % 3))

    other = run_of(changed, obs, seed=2, rollouts=rollouts, target=target)
    counts = plain[0].diagnostics["noise_seeds"]
    assert counts.max() > 3 * counts.min() >= 24
    assert other[0].diagnostics["noise_seeds"].tolist() == counts.tolist()
    assert other[0].valid.all()
    for position in (0, 11):
        xi = _later_noise(other[1], position, range(8, 8 + int(counts[position])))
        draws = changed(torch.full((len(xi),), position), xi).numpy()
        np.testing.assert_allclose(other[0].mean[position, 0], draws.mean(), rtol=1e-6)
        expected = draws.std(ddof=1) / len(draws) ** 0.5
        np.testing.assert_allclose(other[0].stderr[position, 0], expected, rtol=1e-3)


def _later_noise(run: RolloutRun, position: int, indices) -> Tensor:
    block = Block.of([(position, index) for index in indices])
    return run._course.noise(block)[1, :, 0]


def test_noises_are_numbered_as_by_hand():
    allocation = Allocation(range(3), 8, width=9, horizon=100, target=0.1)
    generator = torch.Generator().manual_seed(1)
    draws = [scale * torch.randn(8, 2, generator=generator, dtype=torch.float64) + 1 for scale in (0.2, 1.0, 30.0)]
    pilots = {i: Sampled(one, tuple(range(8)), True) for i, one in enumerate(draws)}
    variance = [one.numpy().var(0, ddof=1).sum() for one in draws]
    square = [(one.numpy().mean(0) ** 2).sum() - v / 8 for one, v in zip(draws, variance, strict=True)]
    floor = 0.01 * sum(max(one, 0) for one in square) / 3
    enough = [v / max(s, floor, v / 32) / 0.01 for v, s in zip(variance, square, strict=True)]
    planned = allocation._planned(pilots)
    for position, one in enumerate(enough):
        # Rounding may lift a whole number to the next.
        assert max(8, one) <= planned[position][1] + 1e-6 <= max(8, one) + 1.1
    # What a pilot does not tell from nothing costs no more than this.
    assert max(enough) <= 32 / 0.01
    assert allocation._planned({**pilots, 1: Sampled(draws[1], tuple(range(8)), False)}).keys() == {0, 2}


def test_closed_states_get_no_more_and_first_blocks_hold_whole_states():
    allocation = Allocation(range(4), 8, width=9, horizon=100, target=0.0)
    records = RolloutRecords()
    blocks = []
    while (block := allocation.first(records, len(blocks))) is not None:
        value = torch.zeros(9, len(block), dtype=torch.float64)
        records.add(block, Outcome(value, value.int(), value.bool(), value.long(), value.bool()))
        blocks.append(block)
    assert [len(block) for block in blocks] == [14, 16, 34]
    assert blocks[0].positions.unique().tolist() == [0]
    draws = torch.randn(8, 2, dtype=torch.float64)
    sampled = {i: Sampled(draws, tuple(range(8)), i != 2) for i in range(4)}
    further = allocation.further(sampled, records, 3)
    assert isinstance(further, Block)
    assert sorted(further.positions.unique().tolist()) == [0, 1, 3]
    assert further.indices.min() == 16
    pairs = set(zip(further.positions.tolist(), further.indices.tolist(), strict=True))
    assert len(pairs) == len(further)
