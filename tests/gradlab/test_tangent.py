"""The tangent kernel against the materialised Jacobians, architecture by architecture."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.layers import factor_linear_layers
from gradlab.products import jacobians, jacobians_by_loop, kernel_product
from gradlab.tangent import materialised_kernel, parameter_gradient, tangent_kernel

N, P = 5, 2


class SacActor(nn.Module):
    """Two heads on a shared trunk, log-std clamped, as Stable-Baselines3's SAC has it."""

    def __init__(self, actions: int = P) -> None:
        super().__init__()
        self.latent_pi = nn.Sequential(nn.Linear(N, 16), nn.ReLU(inplace=True), nn.Linear(16, 16), nn.ReLU())
        self.mu = nn.Linear(16, actions)
        self.log_std = nn.Linear(16, actions)
        self.unused = nn.Linear(16, 3)

    def forward(self, obs: Tensor) -> Tensor:
        latent = self.latent_pi(obs)
        self.unused(latent)
        return torch.cat([self.mu(latent).tanh(), self.log_std(latent).clamp(-0.1, 0.1)], -1)


class FreeLogStd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(N, 8), nn.Tanh(), nn.Linear(8, P))
        self.log_std = nn.Parameter(torch.full((P,), -0.3))

    def forward(self, obs: Tensor) -> Tensor:
        mean = self.mean(obs)
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(N, N), nn.Linear(N, P)

    def forward(self, obs: Tensor) -> Tensor:
        return self.outer(self.inner(self.inner(obs).tanh()))


class UsedBeside(nn.Module):
    """The weight of a layer that is called once is used once more, behind the module's back."""

    def __init__(self, *, discard: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(N, 4), nn.Linear(4, P)
        self.discard = discard

    def forward(self, obs: Tensor) -> Tensor:
        called, beside = self.first(obs).tanh(), (2 * obs @ self.first.weight.T).tanh()
        return self.second(beside if self.discard else called + beside)


class SharedModules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(N, N), nn.Linear(N, N)
        self.second.weight = self.first.weight
        self.last = nn.Linear(N, P)

    def forward(self, obs: Tensor) -> Tensor:
        return self.last(self.second(self.first(obs).tanh()).tanh())


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(1, 3, 3), nn.Linear(3 * (N - 2), P)

    def forward(self, obs: Tensor) -> Tensor:
        return self.last(self.conv(obs[:, None]).relu().flatten(1))


class ThreeDimensions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each, self.last = nn.Linear(1, 3), nn.Linear(3, P, bias=False)

    def forward(self, obs: Tensor) -> Tensor:
        return self.last(self.each(obs[..., None]).tanh().mean(1))


class Reversed(nn.Module):
    """Row i of the layer is not state i."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(N, 4), nn.Linear(4, P)

    def forward(self, obs: Tensor) -> Tensor:
        return self.last(self.first(obs.flip(0)).tanh().flip(0))


class DataDependent(nn.Module):
    """Control flow on values, which vmap cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(N), nn.Linear(N, P)

    def forward(self, obs: Tensor) -> Tensor:
        if not bool(torch.isfinite(obs).all()):
            raise ValueError("never")
        return self.last(self.norm(obs))


class KeywordInput(nn.Module):
    """Input by keyword, a layer that no gradient passes, and an in-place head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.skip = nn.Linear(N, P), nn.Linear(N, P, bias=False)

    def forward(self, obs: Tensor) -> Tensor:
        with torch.no_grad():
            skip = self.skip(obs)
        return (self.first(input=obs) * skip).tanh_()


def frozen(actor: nn.Sequential) -> nn.Sequential:
    actor[0].weight.requires_grad_(False)
    actor[2].bias.requires_grad_(False)
    return actor


def with_hook() -> nn.Module:
    actor = nn.Sequential(nn.Linear(N, 6), nn.Tanh(), nn.Linear(6, P))
    actor[0].register_forward_hook(lambda module, args, output: 2 * output)
    return actor


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(N, P),
    "mlp": lambda: nn.Sequential(
        nn.Linear(N, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, P), nn.Tanh()
    ),
    "in-place": lambda: nn.Sequential(
        nn.Linear(N, 16), nn.ReLU(inplace=True), nn.Linear(16, P), nn.Hardtanh(inplace=True)
    ),
    "no bias": lambda: nn.Sequential(nn.Linear(N, 8, bias=False), nn.Tanh(), nn.Linear(8, P, bias=False)),
    "one action": lambda: nn.Sequential(nn.Linear(N, 8), nn.Tanh(), nn.Linear(8, 1)),
    "twelve actions": lambda: nn.Sequential(nn.Linear(N, 8), nn.Tanh(), nn.Linear(8, 12)),
    "sac": SacActor,
    "sac six actions": lambda: SacActor(6),
    "layer norm": lambda: nn.Sequential(nn.Linear(N, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, P)),
    "batch norm in evaluation": lambda: nn.Sequential(nn.Linear(N, 8), nn.BatchNorm1d(8), nn.Linear(8, P)).eval(),
    "free log-std": FreeLogStd,
    "called twice": CalledTwice,
    "used beside its module": UsedBeside,
    "used beside its module alone": lambda: UsedBeside(discard=True),
    "shared weights": SharedModules,
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(N, 4)), nn.Linear(4, P)),
    "convolution": Convolution,
    "three dimensions": ThreeDimensions,
    "reversed rows": Reversed,
    "control flow on values": DataDependent,
    "keyword input": KeywordInput,
    "frozen weight, frozen bias": lambda: frozen(nn.Sequential(nn.Linear(N, 6), nn.Tanh(), nn.Linear(6, P))),
    "a hook of its own": with_hook,
    "dropout in evaluation": lambda: nn.Sequential(nn.Linear(N, 6), nn.Dropout(), nn.Linear(6, P)).eval(),
}


def make(name: str, dtype: torch.dtype = torch.float64, states: int = 7) -> tuple[Agent, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        actor = ARCHITECTURES[name]().to(dtype)
        obs = torch.randn(states, N, dtype=dtype)
    return Agent(actor, [], [-1.0], [1.0]), obs


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_materialised_kernel(name: str, dtype: torch.dtype) -> None:
    agent, obs = make(name, dtype)
    fast, slow = tangent_kernel(agent, obs), materialised_kernel(agent, obs)
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    assert fast.matrix is not None
    assert slow.matrix is not None
    assert fast.matrix.dtype is torch.float64
    assert difference(fast.matrix, slow.matrix) < tolerance
    assert difference(fast.blocks, slow.blocks) < tolerance
    assert difference(tangent_kernel(agent, obs, full=False).blocks, slow.blocks) < tolerance
    square = fast.matrix.reshape(fast.states, fast.head_size, fast.states, fast.head_size)
    assert torch.allclose(torch.stack([square[i, :, i] for i in range(fast.states)]), fast.blocks, rtol=1e-12)
    assert torch.equal(fast.matrix, fast.matrix.T)


@pytest.mark.parametrize(
    ("name", "left_over"),
    [
        ("mlp", set()),
        ("in-place", set()),
        ("sac", set()),
        ("a hook of its own", set()),
        ("layer norm", {"1.weight", "1.bias"}),
        ("free log-std", {"log_std"}),
        ("called twice", {"inner.weight", "inner.bias"}),
        ("shared weights", {"first.weight"}),
        ("used beside its module", {"first.weight"}),
        ("used beside its module alone", {"first.weight"}),
        ("reversed rows", {"first.weight", "first.bias"}),
        ("three dimensions", {"each.weight", "each.bias"}),
    ],
)
def test_only_what_linear_layers_do_not_cover_is_materialised(name: str, left_over: set[str]) -> None:
    agent, obs = make(name)
    _, names, _ = factor_linear_layers(agent, obs)
    assert set(names) == left_over


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    size=st.integers(1, 12),
    states=st.integers(1, 9),
    bias=st.booleans(),
    norm=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_perceptron(widths: list[int], size: int, states: int, bias: bool, norm: bool, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in zip([N, *widths], widths, strict=False):
            layers += [nn.Linear(before, after, bias=bias), *([nn.LayerNorm(after)] if norm else []), nn.SiLU()]
        actor = nn.Sequential(*layers, nn.Linear(widths[-1], size, bias=bias)).double()
        obs = torch.randn(states, N, dtype=torch.float64)
    agent = Agent(actor, [], [-1.0], [1.0])
    fast, slow = tangent_kernel(agent, obs).matrix, materialised_kernel(agent, obs).matrix
    assert fast is not None
    assert slow is not None
    assert torch.allclose(fast, slow, rtol=1e-10, atol=1e-12 * float(slow.abs().max()))


def test_linear_head_in_closed_form() -> None:
    agent, obs = make("linear")
    expected = torch.kron(obs @ obs.T + 1, torch.eye(P, dtype=torch.float64))
    assert torch.allclose(tangent_kernel(agent, obs).matrix, expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["mlp", "sac", "free log-std", "convolution", "called twice"])
def test_many_row_chunks_and_both_jacobians_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, obs = make(name)
    whole = tangent_kernel(agent, obs).matrix
    monkeypatch.setattr("gradlab.tangent._NUMBERS", 60)
    assert torch.allclose(tangent_kernel(agent, obs).matrix, whole, rtol=1e-12)
    names = list(agent.named_parameters())
    by_vmap = torch.cat(jacobians(agent, obs, names), -1)
    assert torch.allclose(by_vmap, jacobians_by_loop(agent, obs, names), rtol=1e-10, atol=1e-14)


def test_memory_limit_leaves_only_the_blocks() -> None:
    agent, obs = make("layer norm")
    slow = materialised_kernel(agent, obs, full=False)
    for memory in (1, 2000):
        kernel = tangent_kernel(agent, obs, memory=memory)
        assert kernel.matrix is None
        assert difference(kernel.blocks, slow.blocks) < 1e-12
    with pytest.raises(GradlabError, match="only its blocks"):
        kernel.product(torch.zeros(1, 7, P))


@pytest.mark.parametrize("name", ["mlp", "sac", "free log-std", "called twice", "frozen weight, frozen bias"])
def test_parameter_gradient_and_products_against_autograd(name: str) -> None:
    agent, obs = make(name)
    head = agent.head(obs)
    v = torch.randn(4, *head.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    named = agent.named_parameters()
    per_draw = parameter_gradient(agent, obs, v)
    assert list(per_draw) == list(named)
    flat = []
    for d, draw in enumerate(v):
        loss = (agent.head(obs) * draw).sum(-1).mean()
        expected = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
        single = parameter_gradient(agent, obs, draw)
        for key, value in zip(named, expected, strict=True):
            assert torch.allclose(per_draw[key][d], value, rtol=1e-10, atol=1e-14)
            assert torch.allclose(single[key], value, rtol=1e-10, atol=1e-14)
        flat.append(torch.cat([value.flatten() for value in expected]))
    gram = torch.stack(flat) @ torch.stack(flat).T
    kernel = tangent_kernel(agent, obs)
    by_matrix, by_passes = kernel.product(v), kernel_product(agent, obs, v)
    assert torch.allclose(by_matrix, by_passes, rtol=1e-10, atol=1e-12)
    assert torch.allclose(v.flatten(1) @ by_matrix.flatten(1).T / len(obs) ** 2, gram, rtol=1e-10)


def test_a_gradient_of_what_is_not_finite_is_refused_and_located() -> None:
    agent, obs = make("mlp")
    v = torch.ones(4, *agent.head(obs).shape, dtype=torch.float64)
    v[2, 3, 0], v[3, 5, 1] = math.nan, math.inf
    with pytest.raises(GradlabError, match=r"in 2 of 4 draws at 2 of 7 states, first in draw 2, state 3; .*$"):
        parameter_gradient(agent, obs, v)
    with pytest.raises(GradlabError, match="at 1 of 7 states, first in draw 0, state 5"):
        parameter_gradient(agent, obs, v[3])
    assert all(bool(g.isfinite().all()) for g in parameter_gradient(agent, obs, v[:2]).values())


def test_chunks_of_draws_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, obs = make("sac")
    v = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, product = parameter_gradient(agent, obs, v), kernel_product(agent, obs, v)
    monkeypatch.setattr("gradlab.products._NUMBERS", 10_000)
    for key, value in parameter_gradient(agent, obs, v).items():
        assert torch.allclose(value, whole[key], rtol=1e-12, atol=1e-14)
    assert torch.allclose(kernel_product(agent, obs, v), product, rtol=1e-12)


def test_select_is_the_kernel_of_some_states() -> None:
    agent, obs = make("sac")
    mask = torch.tensor([True, False, True, True, False, False, True])
    part, alone = tangent_kernel(agent, obs).select(mask), tangent_kernel(agent, obs[mask])
    assert torch.allclose(part.matrix, alone.matrix, rtol=1e-12)
    assert torch.allclose(part.blocks, alone.blocks, rtol=1e-12)
    assert tangent_kernel(agent, obs, full=False).select(mask).matrix is None


class OwnNormalisation(nn.Module):
    """Batch statistics that no list of known modules would find."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(8), "mixes the states of a batch"),
        (nn.BatchNorm1d(8, track_running_stats=False).eval(), "mixes the states of a batch"),
        (OwnNormalisation(), "states of a batch interact"),
        (nn.Dropout(0.1), "random in training mode"),
    ],
)
def test_interacting_or_random_actors_are_refused(layer: nn.Module, message: str) -> None:
    actor = nn.Sequential(nn.Linear(N, 8), layer, nn.Linear(8, P))
    obs = torch.randn(6, N, generator=torch.Generator().manual_seed(0))
    with pytest.raises(GradlabError, match=message):
        tangent_kernel(Agent(actor, [], [-1.0], [1.0]), obs)


def test_wrong_input_is_refused() -> None:
    agent, obs = make("mlp")
    with pytest.raises(GradlabError, match="cotangents: shape"):
        parameter_gradient(agent, obs, torch.zeros(7, P + 1))
    with pytest.raises(GradlabError, match=r"expected \[B, m\] or \[D, B, m\]"):
        parameter_gradient(agent, obs, torch.zeros(P))
    flat = Agent(nn.Linear(N, 1), [], [-1.0], [1.0], head=lambda actor, o: actor(o)[:, 0])
    with pytest.raises(GradlabError, match=r"must be \[states, m\]"):
        tangent_kernel(flat, obs.float())
    fixed = Agent(nn.Linear(N, 1).requires_grad_(False), [], [-1.0], [1.0])
    with pytest.raises(GradlabError, match="no trainable parameter"):
        tangent_kernel(fixed, obs.float())


def test_nothing_is_left_behind() -> None:
    agent, obs = make("in-place")
    before = [p.detach().clone() for p in agent.actor.parameters()]
    state = torch.get_rng_state()
    with torch.no_grad():
        assert tangent_kernel(agent, obs).matrix is not None
        parameter_gradient(agent, obs, torch.ones(3, 7, P))
    assert torch.equal(state, torch.get_rng_state())
    assert all(not module._forward_hooks for module in agent.actor.modules())
    assert all(p.grad is None and torch.equal(p, q) for p, q in zip(agent.actor.parameters(), before, strict=True))


def test_hooks_are_removed_when_the_head_fails() -> None:
    actor = nn.Sequential(nn.Linear(N, 4), nn.Linear(3, P))
    with pytest.raises(RuntimeError):
        tangent_kernel(Agent(actor, [], [-1.0], [1.0]), torch.zeros(2, N))
    assert all(not module._forward_hooks for module in actor.modules())


class _Square(torch.autograd.Function):
    """A function of the user's own whose derivative looks at its numbers, so that it cannot be mapped over a batch."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(context, grad):
        (x,) = context.saved_tensors
        return 2 * x * grad if bool(grad.abs().sum() >= 0) else grad


class OwnFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(N, 6).double(), nn.Linear(6, P).double()

    def forward(self, obs: Tensor) -> Tensor:
        return self.two(_Square.apply(self.one(obs)))


@pytest.mark.parametrize(("own", "passes"), [(False, 2), (True, 2 + P)])
def test_every_head_coordinate_in_one_backward_pass(own: bool, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two passes: one for the layers, one that makes sure that the states do not mix. A function that cannot be mapped
    # costs one more a coordinate, and gives the same.
    actor = OwnFunction() if own else nn.Sequential(nn.Linear(N, 6), nn.Tanh(), nn.Linear(6, P)).double()
    agent = Agent(actor, [], action_low=[-1] * P, action_high=[1] * P)
    obs = torch.randn(7, N, generator=torch.Generator().manual_seed(0)).double()
    grad, calls = torch.autograd.grad, []

    def counting(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return grad(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", counting)
        kernel = tangent_kernel(agent, obs)
    assert len(calls) == passes
    slow = materialised_kernel(agent, obs)
    assert difference(kernel.matrix, slow.matrix) < 1e-12


def test_weights_that_have_diverged_are_not_taken_for_a_normalisation_over_the_batch():
    actor = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    nn.init.constant_(actor[0].weight, torch.nan)
    agent = Agent(actor, [], [-1, -1], [1, 1])
    with pytest.raises(GradlabError, match="its head is NaN or infinite"):
        tangent_kernel(agent, torch.ones(6, 3))
