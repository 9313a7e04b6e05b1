"""Episodes against explicit loops, and what is refused."""

import dataclasses

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.trajectories import Trajectories

LENGTHS = (4, 1, 6)


def make(lengths=LENGTHS, gamma=0.9, seed=0, **changed):
    generator = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    ends = torch.tensor(lengths).cumsum(0) - 1
    terminated = torch.zeros(count, dtype=torch.bool)
    terminated[ends[::2]] = True
    parts = {
        "obs": torch.randn(count, 2, generator=generator, dtype=torch.float64),
        "act": torch.randn(count, 1, generator=generator, dtype=torch.float64),
        "reward": torch.randn(count, generator=generator, dtype=torch.float64),
        "next_obs": torch.randn(count, 2, generator=generator, dtype=torch.float64),
        "terminated": terminated,
        "trajectory": torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        "discount": gamma,
    }
    return Trajectories(**{**parts, **changed})


@pytest.mark.parametrize("lengths", [LENGTHS, (1,), (1, 1, 1), (3, 3), (1, 5, 2, 1)])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_returns_and_sums_are_those_of_a_loop(lengths, gamma):
    runs = make(lengths, gamma)
    at = 0
    for episode, length in enumerate(lengths):
        reward = runs.reward[at : at + length].tolist()
        for t in range(length):
            to_go = sum(gamma**k * reward[t + k] for k in range(length - t))
            lam = sum((gamma * 0.7) ** k * reward[t + k] for k in range(length - t))
            assert runs.rewards_to_go()[at + t].item() == pytest.approx(to_go, abs=1e-13)
            assert runs.accumulate(runs.reward, 0.7 * gamma)[at + t].item() == pytest.approx(lam, abs=1e-13)
            assert runs.step[at + t] == t
            assert runs.weights[at + t].item() == pytest.approx(gamma**t, abs=1e-15)
            assert bool(runs.last[at + t]) == (t == length - 1)
        assert runs.returns()[episode].item() == pytest.approx(sum(gamma**k * x for k, x in enumerate(reward)))
        at += length
    assert runs.lengths.tolist() == list(lengths)


def test_padding_and_back():
    runs = make()
    table = runs.padded(runs.obs)
    assert table.shape == (3, 6, 2)
    assert torch.equal(runs.flattened(table), runs.obs)
    assert not table[1, 1:].any()


def test_cut_off_episodes_are_those_that_did_not_terminate():
    assert make().cut_off.nonzero().flatten().tolist() == [4]


@pytest.mark.parametrize("chosen", [torch.tensor([0, 2]), torch.tensor([True, False, True])])
def test_selecting_episodes(chosen):
    runs = make(noise=torch.zeros(11, 1))
    part = runs.select(chosen)
    assert part.count == 2
    assert part.lengths.tolist() == [4, 6]
    assert torch.equal(part.returns(), runs.returns()[[0, 2]])
    assert len(part.noise) == 10
    with pytest.raises(GradlabError, match="none of the 3 episodes"):
        runs.select(torch.zeros(3, dtype=torch.bool))


def nan_at(part, row):
    out = part.clone()
    out[row] = torch.nan
    return out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda r: {"reward": nan_at(r.reward, 6)},
            "NaN or infinite reward in 1 of 11 steps, first in episode 2, step 1",
        ),
        (lambda r: {"obs": r.obs / torch.zeros(11, 1).index_fill(0, torch.arange(1, 11), 1)}, "obs in 1 of 11 steps"),
        (lambda r: {"noise": torch.full((11, 1), torch.inf)}, "noise in 11 of 11 steps"),
        (lambda r: {"reward": r.reward[:-1]}, "must be equal"),
        (lambda r: {"noise": torch.zeros(10, 1)}, "must be equal"),
        (lambda r: {"reward": r.reward[:, None]}, "expected"),
        (lambda r: {"trajectory": r.trajectory + 1}, "must be 0"),
        (lambda r: {"trajectory": r.trajectory.flip(0)}, "must be 0"),
        (lambda r: {"terminated": r.terminated.double()}, "mask of bool"),
        (lambda r: {"terminated": torch.ones(11, dtype=torch.bool)}, "goes on after it terminated, in 8 of 11 steps"),
    ],
)
def test_wrong_input_is_refused_in_one_line(changed, message):
    runs = make()
    with pytest.raises(GradlabError, match=message) as caught:
        dataclasses.replace(runs, **changed(runs))
    assert "\n" not in str(caught.value)
