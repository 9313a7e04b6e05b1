"""Errors by layer and by coordinate, against gradients written out and against the whole they are parts of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradlab import Agent, GradlabError, gradient_error
from gradlab.inference.gram import error_from_gram
from gradlab.objective import Objective
from gradlab.products import jacobians_by_loop
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.views import error_by_coordinate, error_by_layer
from gradlab.tangent import tangent_kernel

B, N, M, D = 5, 3, 2, 7
NUMBERS = ("bias_squared", "variance", "mse", "cosine", "norm_ratio", "minibatch_cosine", "pairwise_cosine")


class Actor(nn.Module):
    """Two layers, normalisation between them, a log-std that belongs to nobody, and a layer that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(N, 4), nn.LayerNorm(4), nn.Linear(4, M)
        self.unused = nn.Linear(2, 2)

    def forward(self, obs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(obs))))


def make(stderr: float = 0.0) -> tuple[Agent, Tensor, Tensor, ReferenceCotangent]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    actor = Actor().double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(normal(*parameter.shape))
    obs, mean = normal(B, N), normal(B, M)
    v = mean + 0.4 * normal(B, M) + normal(D, B, M)
    ref = ReferenceCotangent(mean, torch.full_like(mean, stderr), "truth", Objective())
    return Agent(actor, [], [-1.0] * M, [1.0] * M), obs, v, ref


@pytest.mark.parametrize("by", ["tensor", "module"])
@pytest.mark.parametrize("stderr", [0.0, 0.2])
def test_layers_add_up_to_the_whole_and_are_what_they_are(by: str, stderr: float) -> None:
    agent, obs, v, ref = make(stderr)
    layers = error_by_layer(agent, obs, v, ref, by=by)
    names = [name for name in agent.named_parameters() if not name.startswith("unused")]
    assert list(layers) == (names if by == "tensor" else ["first", "norm", "last"])
    whole = gradient_error(agent, obs, v, ref)
    for name in ("bias_squared", "variance", "mse", "reference_norm_squared"):
        parts = sum(getattr(error, name).value for error in layers.values())
        assert parts == pytest.approx(getattr(whole, name).value, rel=1e-9), name
    for group, error in layers.items():
        own = [name for name in names if name == group or name.startswith(f"{group}.")]
        jacobian = jacobians_by_loop(agent, obs, own)
        g = torch.einsum("bmp,dbm->dp", jacobian, v) / B
        r = torch.einsum("bmp,bm->p", jacobian, ref.mean) / B
        omega = torch.einsum("bmp,bm,bmq->pq", jacobian, ref.stderr**2, jacobian) / B**2
        assert error.reference_norm_squared.value == pytest.approx(float(r @ r - omega.trace()), rel=1e-9)
        if stderr == 0:
            expected = error_from_gram(g @ g.T, g @ r, r @ r)
            for name in NUMBERS:
                assert getattr(error, name).value == pytest.approx(getattr(expected, name).value, rel=1e-8), name
                assert getattr(error, name).stderr == pytest.approx(getattr(expected, name).stderr, rel=1e-6), name
    assert all(parameter.requires_grad for parameter in agent.actor.parameters())


@pytest.mark.parametrize("full", [True, False])
def test_coordinates_are_what_they_are(full: bool) -> None:
    agent, obs, v, ref = make()
    coordinates = error_by_coordinate(agent, obs, v, ref, kernel=tangent_kernel(agent, obs, full=full))
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    assert len(coordinates) == M
    for k, error in enumerate(coordinates):
        g = torch.einsum("bp,db->dp", jacobian[:, k], v[..., k]) / B
        r = torch.einsum("bp,b->p", jacobian[:, k], ref.mean[:, k]) / B
        expected = error_from_gram(g @ g.T, g @ r, r @ r)
        for name in NUMBERS:
            assert getattr(error, name).value == pytest.approx(getattr(expected, name).value, rel=1e-8), name
            assert getattr(error, name).stderr == pytest.approx(getattr(expected, name).stderr, rel=1e-6), name


def test_an_unknown_grouping_is_refused() -> None:
    agent, obs, v, ref = make()
    with pytest.raises(GradlabError, match="choose 'tensor' or 'module'"):
        error_by_layer(agent, obs, v, ref, by="block")
