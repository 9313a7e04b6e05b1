"""Certificates against points whose nature is known: tops that are smooth, kinked or in corners, and none at all."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from gradlab.landscape import Certificate, local_optima
from gradlab.landscape.searching.certificates import certify
from gradlab.landscape.searching.hulls import shortest
from gradlab.landscape.surface import Surface

PLANES = torch.tensor([[1.0, 0.2], [-0.6, 0.9], [-0.3, -1.2]], dtype=torch.float64)


def x(a):
    return a[..., 0]


def y(a):
    return a[..., 1]


def planes(a):
    """The lowest of three planes whose slopes surround zero."""
    return (a @ PLANES.to(a).T).amin(-1)


def kind_of(q, action, dtype=torch.float64):
    size = len(action)
    surface = Surface(lambda state, act: q(act), 1, -torch.ones(size, dtype=dtype), torch.ones(size, dtype=dtype))
    unit = surface.unit(torch.tensor([action], dtype=dtype))
    kind, residual = certify(surface, torch.zeros(1, dtype=torch.long), unit, scale=0.01)
    assert kind.dtype == torch.int8
    return Certificate(int(kind)), float(residual)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("q", "action", "kind"),
    [
        (lambda a: -a.square().sum(-1) - 3 * x(a).square(), [0.0, 0.0], Certificate.SECOND_ORDER),
        (lambda a: -a.square().sum(-1) - x(a) * y(a), [0.0, 0.0], Certificate.SECOND_ORDER),
        (lambda a: x(a) - y(a).square(), [1.0, 0.0], Certificate.SECOND_ORDER),
        (lambda a: -a.abs().sum(-1), [0.0, 0.0], Certificate.KINK),
        (lambda a: -a.abs().sum(-1), [1e-7, -1e-8], Certificate.KINK),
        (planes, [0.0, 0.0], Certificate.KINK),
        (lambda a: x(a) - y(a).abs(), [1.0, 0.0], Certificate.KINK),
        (lambda a: -x(a).abs() - y(a).square(), [0.0, 0.0], Certificate.KINK),
        (lambda a: a.sum(-1), [1.0, 1.0], Certificate.CORNER),
        (lambda a: x(a).square() - y(a), [1.0, -1.0], Certificate.CORNER),
    ],
)
def test_tops_are_certified_as_what_they_are(q, action, kind, dtype):
    found, residual = kind_of(q, action, dtype)
    assert found is kind
    assert residual <= 0.02


@pytest.mark.parametrize(
    ("q", "action"),
    [
        (lambda a: x(a).square() - y(a).square(), [0.0, 0.0]),
        (lambda a: x(a) * y(a), [0.0, 0.0]),
        (lambda a: x(a).abs() - y(a).abs(), [0.0, 0.0]),
        (lambda a: (x(a) + y(a)).abs() - (x(a) - y(a)).abs(), [0.0, 0.0]),
        (lambda a: a.square().sum(-1), [0.0, 0.0]),
        (lambda a: 0 * a.sum(-1), [0.0, 0.0]),
        (lambda a: -x(a).square(), [0.0, 0.0]),
        (lambda a: -x(a).abs(), [0.0, 0.0]),
        (lambda a: 0.1 * y(a) - x(a).abs(), [0.0, 0.0]),
        (lambda a: planes(a) + 2 * x(a), [0.0, 0.0]),
        (lambda a: a.sum(-1), [1.0, -1.0]),
        (lambda a: -a.square().sum(-1), [0.1, 0.0]),
    ],
    ids=[
        "saddle",
        "turned saddle",
        "kinked saddle",
        "turned kinked saddle",
        "minimum",
        "plateau",
        "level ridge",
        "level kinked ridge",
        "rising ridge",
        "planes that all rise one way",
        "a corner that is no top",
        "beside a top",
    ],
)
def test_what_is_no_strict_top_is_not_certified(q, action):
    assert kind_of(q, action)[0] is Certificate.UNCERTIFIED


@pytest.mark.parametrize("point", [[0.5, 0.5, 0.5], [0.0, 0.5, 1.0]])
def test_the_shortest_vector_against_a_general_solver(point):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 5, 3, generator=generator, dtype=torch.float64) + 0.5
    there = torch.ones(6, 5, dtype=torch.bool)
    there[::2, 3] = False
    where = torch.tensor(point, dtype=torch.float64)
    mine = shortest(vectors, there, where.expand(6, -1), rounds=400).norm(dim=-1)
    low, high = (np.array(point) <= 0), (np.array(point) >= 1)

    def squared(weight, used):
        v = weight @ used
        v = np.where(low, v.clip(min=0), np.where(high, v.clip(max=0), v))
        return v @ v

    for n in range(6):
        used = vectors[n, there[n]].numpy()
        best = min(
            minimize(
                squared,
                start,
                (used,),
                method="SLSQP",
                bounds=[(0, 1)] * len(used),
                constraints={"type": "eq", "fun": lambda weight: weight.sum() - 1},
                options={"ftol": 1e-14, "maxiter": 1000},
            ).fun
            for start in np.vstack([np.eye(len(used)), np.full(len(used), 1 / len(used))])
        )
        assert float(mine[n]) == pytest.approx(math.sqrt(best), abs=2e-3)


def test_optima_bring_their_certificates():
    def q(a):
        return torch.stack([-a.square().sum(-1)[0], -a.abs().sum(-1)[1], a.sum(-1)[2]])

    found = local_optima(q, -torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), states=3)
    assert [kinds.tolist() for kinds in found.certificate] == [
        [Certificate.SECOND_ORDER],
        [Certificate.KINK],
        [Certificate.CORNER],
    ]
    assert all(float(residual.max()) <= 0.02 for residual in found.residual)
    assert found.certifying > 0


def ring(a):
    """A kinked ridge that is a circle of radius ½ in the first two coordinates, and kinked across all others."""
    return -(a[..., :2].norm(dim=-1) - 0.5).abs() - a[..., 2:].abs().sum(-1)


def smooth_ring(a):
    return -(a[..., :2].square().sum(-1) - 0.25).square() - a[..., 2:].square().sum(-1)


def sphere(a):
    return -(a.norm(dim=-1) - 0.5).abs()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.8, 1.4])
@pytest.mark.parametrize(
    ("q", "size"),
    [(ring, 2), (ring, 4), (smooth_ring, 2), (smooth_ring, 3), (sphere, 3), (sphere, 6)],
    ids=["ring", "ring in 4", "smooth ring", "smooth ring in 3", "sphere in 3", "sphere in 6"],
)
def test_a_level_curved_ridge_is_not_certified(q, size, angle, dtype):
    """Its chords lead down, so that every poll is lower; but there is a curve of equal maxima through the point."""
    action = [0.5 * math.cos(angle), 0.5 * math.sin(angle), *[0.0] * (size - 2)]
    assert kind_of(q, action, dtype)[0] is Certificate.UNCERTIFIED


def test_a_level_ridge_that_snakes_is_not_certified():
    for at in (-0.7, 0.1, 0.5):
        action = [at, 0.3 * math.sin(3 * at)]
        assert kind_of(lambda a: -(y(a) - 0.3 * (3 * x(a)).sin()).abs(), action)[0] is Certificate.UNCERTIFIED


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 4, 6])
def test_tops_that_fall_off_unevenly_keep_their_certificates(size, dtype):
    """Slopes and curvatures from 1 down to 1/30, along axes turned at random: none is level in any direction."""
    generator = torch.Generator().manual_seed(size)
    for _ in range(8):
        turn = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
        steep = 10 ** (-1.5 * torch.rand(size, generator=generator, dtype=torch.float64))

        def roof(a, turn=turn, steep=steep):
            return -(a @ turn.to(a) * steep.to(a)).abs().sum(-1)

        def bowl(a, turn=turn, steep=steep):
            return -((a @ turn.to(a)).square() * steep.to(a)).sum(-1)

        assert kind_of(roof, [0.0] * size, dtype)[0] is Certificate.KINK
        assert kind_of(bowl, [0.0] * size, dtype)[0] is Certificate.SECOND_ORDER


def test_optima_found_on_a_ring_come_without_certificates():
    found = local_optima(ring, -torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    assert found.certificate[0].unique().tolist() == [Certificate.UNCERTIFIED]
