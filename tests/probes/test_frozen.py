"""Frozen agents are what a deep copy would be."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import gradlab
from gradlab.testing.conformance import differences, digest
from probes.frozen import freeze, thaw


def again(value):
    """Through bytes, as it travels."""
    return thaw(pickle.loads(pickle.dumps(freeze(value).carried())))


class Critic(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.trunk = trunk
        self.last = weight_norm(nn.Linear(8, 1))
        self.register_buffer("scale", torch.tensor(2.0, dtype=torch.bfloat16))
        self.register_buffer("scratch", torch.zeros(0), persistent=False)
        self.steps = 3

    def forward(self, obs, act):
        return self.last(self.trunk(torch.cat([obs, act], -1))).squeeze(-1) * self.scale.float()


@pytest.fixture
def agent():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.2))
    actor = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    actor[0].weight.requires_grad_(False)
    for _ in range(2):
        trunk(torch.randn(4, 5)).sum().backward()
    critic = Critic(trunk)
    critic.last.eval()
    return gradlab.Agent(
        actor,
        [critic, critic],
        [-1, -1],
        [1, 1],
        head=lambda actor, obs: 2 * actor(obs),
        target_critics=[copy.deepcopy(critic)],
        entropy=0.2,
    )


def test_it_is_what_a_snapshot_is(agent):
    found = again(agent)
    snapshot = agent.snapshot()
    # A snapshot has no gradients, and lambdas are hashed by nothing.
    assert differences(digest(agent=snapshot), digest(agent=found)) == []
    obs, act = torch.randn(6, 3), torch.randn(6, 2)
    found.critics[0].eval()
    snapshot.critics[0].eval()
    assert torch.equal(found.q_all(obs, act), snapshot.q_all(obs, act))
    assert torch.equal(found.head(obs), snapshot.head(obs))


def test_it_shares_nothing_with_the_living_and_keeps_what_was_shared(agent):
    frozen = freeze(agent)
    before = copy.deepcopy(agent.critics[0].state_dict())
    with torch.no_grad():
        for parameter in agent.critics[0].parameters():
            parameter.add_(1.0)
    found = thaw(frozen.carried())
    for name, tensor in found.critics[0].state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert found.critics[0] is found.critics[1]
    assert found.target_critics[0].trunk is not found.critics[0].trunk
    with torch.no_grad():
        found.actor[0].bias.add_(1.0)
    assert not torch.equal(found.actor[0].bias, agent.actor[0].bias)


def test_parameters_stay_parameters_and_buffers_buffers(agent):
    found = again(agent)
    assert [p.requires_grad for p in found.actor.parameters()] == [False, True]
    assert list(dict(found.critics[0].named_buffers())) == list(dict(agent.critics[0].named_buffers()))
    assert set(found.critics[0].state_dict()) == set(agent.critics[0].state_dict())
    assert all(p.grad is None for p in found.critics[0].parameters())
    assert any(p.grad is not None for p in agent.critics[0].parameters())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4).t(),
        torch.randn(3, 4)[:, 1:3],
        torch.zeros(2, 0),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.randn(3, dtype=torch.complex64),
        torch.randn(3).half(),
        (torch.randn(3, requires_grad=True) * 2),
        torch.randn(2, 2).to_sparse(),
    ],
    ids=["transposed", "cut", "empty", "scalar", "bool", "complex", "half", "in a graph", "sparse"],
)
def test_tensors_of_every_kind(tensor):
    found = again({"tensor": tensor})["tensor"]
    assert found.dtype == tensor.dtype
    assert found.shape == tensor.shape
    assert torch.equal(found.to_dense(), tensor.detach().to_dense())
    assert not found.requires_grad


def test_what_is_compiled_travels_as_what_was_compiled():
    layer = nn.Sequential(nn.Linear(2, 3), torch.compile(nn.Linear(3, 1), backend="eager"))
    found = again(layer)
    assert type(found[1]) is nn.Linear
    assert torch.equal(found[1].weight, layer[1].weight)


def test_nothing_is_drawn_and_nothing_left(agent):
    before = digest(agent=agent)
    freeze(agent)
    assert differences(before, digest(agent=agent)) == []


def test_what_cannot_be_pickled_raises_here(tmp_path):
    with (tmp_path / "file").open("w") as stream, pytest.raises(pickle.PicklingError):
        freeze({"stream": stream})
