"""Extreme values of noisy matrices: biases of both estimates, intervals by simulation."""

import math

import pytest
import torch

from gradlab.hessians.noisy import highest_eigenvalue, jackknife_error, largest_singular_value, ratio_of

REPEATS, GROUPS = 1_000, 16


def noisy(matrix, error, seed=0, symmetric=True):
    """Groups of noisy copies whose mean has entries of standard error ``error``, once for each repetition."""
    shape = (GROUPS, REPEATS, *matrix.shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    groups = matrix + error * math.sqrt(GROUPS) * noise
    return (groups + groups.mT) / 2 if symmetric else groups


def held(found, truth):
    return float(((found.low <= truth) & (truth <= found.high)).double().mean())


SPECTRA = {
    "apart": torch.tensor([-1.0, -2.0, -4.0, -7.0]),
    "near": torch.tensor([-1.0, -1.2, -1.4, -1.6]),
    "alike": -torch.ones(4),
    "one": torch.tensor([2.0]),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_the_highest_eigenvalue(name):
    H = torch.diag(SPECTRA[name].double())
    truth = SPECTRA[name].max().item()
    found = highest_eigenvalue(noisy(H, 0.1)).bracketed()
    slack = 4 * found.too_high.std().item() / math.sqrt(REPEATS)
    # Convexity: one errs high, the other low, in expectation.
    assert found.too_low.mean() - slack <= truth <= found.too_high.mean() + slack
    assert held(found, truth) >= 0.92
    if name in ("apart", "one"):
        assert held(found, truth) <= 0.98
        assert found.value.mean().item() == pytest.approx(truth, abs=slack)
        assert found.value.std().item() == pytest.approx(found.stderr.square().mean().sqrt().item(), rel=0.1)
    if name == "alike":
        assert found.too_high.mean() - truth > 0.1, "noise did not raise the plug-in; the test would see nothing"


def test_the_bias_of_the_plug_in_is_taken_off():
    """Four eigenvalues a gap of 1 below the highest, with entries' errors 0.2: Σ E_1j²/gap is far above the rest."""
    H = torch.diag(torch.tensor([0.0, -1.0, -1.0, -1.0, -1.0]).double())
    found = highest_eigenvalue(noisy(H, 0.2)).bracketed()
    raised = found.too_high.mean().item()
    assert raised == pytest.approx(4 * 0.2**2 / 2, rel=0.2)  # off-diagonal variances are halved by symmetry
    assert abs(found.value.mean().item()) < 0.25 * raised


@pytest.mark.parametrize("shape", [(1, 5), (3, 8), (8, 3), (6, 6)])
@pytest.mark.parametrize("kind", ["apart", "alike", "zero"])
def test_the_largest_singular_value(shape, kind):
    rank = min(shape)
    values = {"apart": torch.arange(rank, 0, -1.0) * 3, "alike": torch.ones(rank), "zero": torch.zeros(rank)}[kind]
    M = torch.zeros(shape, dtype=torch.float64)
    M[range(rank), range(rank)] = values.double()
    found = largest_singular_value(noisy(M, 0.1, symmetric=False)).bracketed()
    assert held(found, values.max().item()) >= 0.92
    if kind == "apart":
        assert held(found, values.max().item()) <= 0.98
    plug_in = torch.linalg.svdvals(noisy(M, 0.1, symmetric=False).mean(0))[:, 0]
    torch.testing.assert_close(found.too_high, plug_in)


def test_the_ratio():
    H, M = torch.diag(torch.tensor([-2.0, -4.0]).double()), torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).double()
    highest = highest_eigenvalue(noisy(H, 0.1))
    strength = largest_singular_value(noisy(M, 0.2, seed=1, symmetric=False))
    valid = torch.ones(REPEATS, dtype=torch.bool)
    found = ratio_of(strength, highest, valid)
    assert 0.92 <= held(found, 1.5) <= 0.98
    assert found.value.mean().item() == pytest.approx(1.5, abs=4 * found.value.std().item() / math.sqrt(REPEATS))
    assert found.value.std().item() == pytest.approx(found.stderr.square().mean().sqrt().item(), rel=0.1)
    valid[:10] = False
    assert ratio_of(strength, highest, valid).value[:10].isnan().all()
    # Where the Hessian is not negative definite there is none, whatever the caller says.
    assert ratio_of(strength, highest_eigenvalue(noisy(-H, 0.1)), ~valid | valid).low.isnan().all()


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(jackknife_error((x.sum(0) - x) / 11), x.std(0) / math.sqrt(12))


def test_the_negative_turns_the_interval_round():
    found = highest_eigenvalue(noisy(torch.eye(3).double(), 0.1)).bracketed()
    turned = -found
    assert torch.equal(turned.low, -found.high)
    assert torch.equal(turned.too_high, -found.too_low)
    assert torch.equal(turned.stderr, found.stderr)
