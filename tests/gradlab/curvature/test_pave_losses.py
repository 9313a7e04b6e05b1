"""PAVE's losses against explicit Hessians, closed forms on quadratics and finite differences in the parameters."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gradlab.curvature.losses import curvature_hinge_loss, field_consistency_loss, mixed_partial_loss
from gradlab.errors import GradlabError

OBS, ACT, ROWS = 4, 3, 6


class Net(nn.Module):
    def __init__(self, activation=nn.SiLU, seed=0):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(OBS + ACT, 12), activation(), nn.Linear(12, 12), activation())
        self.last = nn.Linear(12, 1)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, obs, act):
        return self.last(self.net(torch.cat([obs, act], -1)))


class Quadratic(nn.Module):
    """½ aᵀHa + aᵀGs, [B]."""

    def __init__(self, hessian, mixed):
        super().__init__()
        self.hessian = nn.Parameter(torch.as_tensor(hessian, dtype=torch.float64))
        self.mixed = nn.Parameter(torch.as_tensor(mixed, dtype=torch.float64))

    def forward(self, obs, act):
        return (act @ self.hessian * act).sum(-1) / 2 + (act @ self.mixed * obs).sum(-1)


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


def batch(seed=0, rows=ROWS, dtype=torch.float64):
    generator = seeded(seed)
    sizes = (OBS, ACT, OBS, ACT)
    return [torch.randn(rows, size, generator=generator, dtype=dtype) for size in sizes]


def one_gradient(critic, s, a):
    """∇_a Q of one row, by functional autograd."""
    return torch.autograd.functional.jacobian(lambda x: critic(s[None], x[None]).sum(), a)


def losses(critic, rows):
    obs, act, next_obs, next_act = rows
    return {
        "mixed": lambda: mixed_partial_loss(critic, obs, act, 0.3, seeded()),
        "same action": lambda: field_consistency_loss(critic, obs, act, next_obs),
        "along": lambda: field_consistency_loss(critic, obs, act, next_obs, next_act),
        "hinge": lambda: curvature_hinge_loss(critic, obs, act, 0.1, 3, seeded()),
    }


def test_values_are_those_of_the_slow_loop():
    critic, rows = Net().double(), batch()
    obs, act, next_obs, next_act = rows
    found = {name: float(loss().detach()) for name, loss in losses(critic, rows).items()}
    noise = torch.randn(obs.shape, generator=seeded(), dtype=obs.dtype)
    generator = seeded()
    signs = [torch.randint(0, 2, act.shape, generator=generator).double() * 2 - 1 for _ in range(3)]
    slow = dict.fromkeys(found, 0.0)
    for i in range(ROWS):
        here = one_gradient(critic, obs[i], act[i])
        slow["mixed"] += float((one_gradient(critic, obs[i] + 0.3 * noise[i], act[i]) - here).square().sum())
        slow["same action"] += float((one_gradient(critic, next_obs[i], act[i]) - here).square().sum())
        slow["along"] += float((one_gradient(critic, next_obs[i], next_act[i]) - here).square().sum())
        hessian = torch.autograd.functional.hessian(lambda x, i=i: critic(obs[i][None], x[None]).sum(), act[i])
        slow["hinge"] += sum(max(0.0, float(v[i] @ hessian @ v[i]) + 0.1) for v in signs) / 3
    assert slow["hinge"] > 0
    for name, total in slow.items():
        assert found[name] == pytest.approx(total / ROWS, rel=1e-10), name


def test_gradients_in_the_parameters_are_those_of_finite_differences():
    critic, rows = Net().double(), batch()
    parameters = list(critic.parameters())
    generator = seeded(3)
    ways = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    for name, loss in losses(critic, rows).items():
        gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
        slope = sum(float((g * w).sum()) for g, w in zip(gradients, ways, strict=True) if g is not None)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, w in zip(parameters, ways, strict=True):
                    p += sign * 1e-5 * w
            ends.append(float(loss().detach()))
            with torch.no_grad():
                for p, w in zip(parameters, ways, strict=True):
                    p -= sign * 1e-5 * w
        assert abs(slope) > 1e-3, name
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6), name


def test_closed_forms_on_a_quadratic():
    generator = seeded(1)
    hessian = torch.diag(torch.tensor([1.0, -5.0, 0.5], dtype=torch.float64))
    mixed = torch.randn(ACT, OBS, generator=generator, dtype=torch.float64)
    critic = Quadratic(hessian, mixed)
    obs, act, next_obs, next_act = batch(rows=20_000)
    # ∇_a Q(s + ε) − ∇_a Q(s) = Gε.
    expected = 0.01**2 * float(mixed.square().sum())
    assert float(mixed_partial_loss(critic, obs, act, generator=generator).detach()) == pytest.approx(
        expected, rel=0.03
    )
    change = (next_obs - obs) @ mixed.T
    found = field_consistency_loss(critic, obs, act, next_obs)
    torch.testing.assert_close(found, change.square().sum(-1).mean())
    along = change + (next_act - act) @ hessian
    torch.testing.assert_close(
        field_consistency_loss(critic, obs, act, next_obs, next_act), along.square().sum(-1).mean()
    )
    # Signs see a diagonal's trace exactly, −3.5: below δ = 1 there is no loss, although Q rises along the first action.
    assert float(curvature_hinge_loss(critic, obs[:8], act[:8], generator=generator).detach()) == 0.0
    assert float(curvature_hinge_loss(critic, obs[:8], act[:8], 4.0, generator=generator).detach()) == pytest.approx(
        0.5
    )


def test_the_hinge_is_its_expectation_over_all_signs():
    critic, (obs, act, _, _) = Net().double(), batch(rows=2)
    probes = 1500
    expected = 0.0
    for i in range(2):
        hessian = torch.autograd.functional.hessian(lambda x, i=i: critic(obs[i][None], x[None]).sum(), act[i])
        vectors = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=ACT)), dtype=torch.float64)
        expected += float((torch.einsum("vi,ij,vj->v", vectors, hessian, vectors) + 0.2).clamp_min(0).mean()) / 2
    found = float(curvature_hinge_loss(critic, obs, act, 0.2, probes, seeded()).detach())
    assert found == pytest.approx(expected, rel=0.05)


def test_nothing_but_the_generator_is_touched():
    critic, rows = Net(), batch(dtype=torch.float32)
    for part in rows:
        part.requires_grad_()
    before = torch.random.get_rng_state()
    for loss in losses(critic, rows).values():
        with torch.no_grad():
            value = loss()
        assert float(value) == float(loss().detach())
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(p.grad is None for p in (*critic.parameters(), *rows))
    total = sum(loss() for loss in losses(critic, rows).values())
    total.backward()
    assert all(part.grad is None for part in rows)
    assert float(critic.last.weight.grad.abs().sum()) > 0
    first = mixed_partial_loss(critic, rows[0], rows[1])
    assert first.item() != mixed_partial_loss(critic, rows[0], rows[1]).item(), "the global state was not used"


def test_critics_without_curvature_are_refused_at_the_first_step():
    obs, act, _, _ = batch()
    for critic in (
        Net(nn.ReLU).double(),
        lambda obs, act: (act * obs[:, :ACT]).sum(-1) * torch.ones(1).requires_grad_(),
    ):
        with pytest.raises(GradlabError, match=r"ReLU.*SiLU") as caught:
            curvature_hinge_loss(critic, obs, act)
        assert "\n" not in str(caught.value)
    assert float(curvature_hinge_loss(Net(nn.ReLU).double(), obs, act, check=False).detach()) == 1.0
    # A last layer that begins at zero has no curvature yet, but learns some.
    fresh = Net().double()
    nn.init.zeros_(fresh.last.weight)
    curvature_hinge_loss(fresh, obs, act, generator=seeded()).backward()
    assert float(fresh.last.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("obs and act", lambda c, s, a: mixed_partial_loss(c, s[0], a)),
        ("obs and act", lambda c, s, a: curvature_hinge_loss(c, s[:2], a)),
        ("obs and act", lambda c, s, a: curvature_hinge_loss(c, s[:0], a[:0])),
        ("next_obs", lambda c, s, a: field_consistency_loss(c, s, a, s[:2])),
        ("next_obs", lambda c, s, a: field_consistency_loss(c, s, a, s, a[:, :1])),
        ("sigma", lambda c, s, a: mixed_partial_loss(c, s, a, 0.0)),
        ("probes", lambda c, s, a: curvature_hinge_loss(c, s, a, probes=0)),
        ("delta", lambda c, s, a: curvature_hinge_loss(c, s, a, delta=float("nan"))),
        ("returned shape", lambda c, s, a: mixed_partial_loss(lambda s, a: a * a, s, a)),
        ("returned tuple", lambda c, s, a: mixed_partial_loss(lambda s, a: (c(s, a),), s, a)),
        ("no graph", lambda c, s, a: mixed_partial_loss(lambda s, a: c(s, a).detach(), s, a)),
    ],
)
def test_wrong_input_is_refused_in_one_line(match, call):
    obs, act, _, _ = batch()
    with pytest.raises(GradlabError, match=match) as caught:
        call(Net().double(), obs, act)
    assert "\n" not in str(caught.value)


def test_the_example_runs_and_its_regularised_critic_pays_less():
    root = Path(__file__).parents[3]
    command = [sys.executable, "examples/smooth_critic.py", "150"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout.splitlines()
    rows = {parts[1]: [float(x) for x in parts[2:-1]] for parts in (re.split(r" *\| *", line) for line in lines[2:])}
    assert rows["PAVE"][2] < rows["plain"][2]
