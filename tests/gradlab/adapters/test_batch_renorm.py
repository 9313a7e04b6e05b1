"""Batch renormalisation against sb3-contrib's own layer, and that measuring with it changes nothing."""

import pytest
import torch
from sb3_contrib import CrossQ
from sb3_contrib.common.torch_layers import BatchRenorm1d

from gradlab.adapters import view
from gradlab.adapters.stable_baselines3_checks import measured
from gradlab.evaluation_mode import in_evaluation
from gradlab.tangent import materialised_kernel, tangent_kernel


@pytest.fixture
def layer():
    """The library's layer after eight batches, of which the first three are its warm-up, far from its start."""
    generator = torch.Generator().manual_seed(0)
    made = BatchRenorm1d(5, eps=0.01, momentum=0.3, warmup_steps=3)
    with torch.no_grad():
        made.scale.copy_(torch.rand(5, generator=generator) + 0.5)
        made.bias.copy_(torch.randn(5, generator=generator))
    for _ in range(8):
        made(2 * torch.randn(32, 5, generator=generator) + 1)
    return made


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("warmup", [3, 100])
@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0], ids=["narrow", "like", "wide"])
def test_the_librarys_numbers_and_gradients(layer, training, warmup, spread):
    layer.warmup_steps = warmup
    layer.train(training)
    (ours,) = measured([layer])
    rows = spread * torch.randn(16, 5, generator=torch.Generator().manual_seed(1)) - 3
    results = []
    for module in (ours, layer):
        at = rows.clone().requires_grad_()
        out = module(at)
        results.append((out, *torch.autograd.grad(out.square().sum(), (at, layer.scale, layer.bias))))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_running_statistics_are_the_live_ones_and_never_changed(layer):
    (ours,) = measured([layer.train()])
    kept = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    rows = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    ours(rows)
    assert all(torch.equal(buffer, kept[name]) for name, buffer in layer.named_buffers())
    layer(rows)
    assert not torch.equal(layer.ra_mean, kept["ra_mean"])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours.buffers(), layer.buffers(), strict=True))


def test_the_tangent_kernel_of_a_crossq_actor(train, boxes):
    model = train(CrossQ, boxes["narrow"])
    agent = in_evaluation(view(model)).snapshot(double=True)
    obs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = tangent_kernel(agent, obs).matrix
    torch.testing.assert_close(kernel, materialised_kernel(agent, obs).matrix, rtol=1e-10, atol=1e-10)
