"""Modules as training runs have them: compiled, lazy, scripted, in other types, with graphs kept in them."""

import copy

import pytest
import torch
from torch import nn

from gradlab import Agent, GradlabError, sensitivity
from gradlab.estimators import Deterministic
from gradlab.modules import copied, uncompiled
from gradlab.tangent import parameter_gradient

OBS = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, obs, act):
        return self.layers(torch.cat([obs, act], -1))


def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2), nn.Tanh()), Critic()


def agent_of(actor, critic, **rest):
    return Agent(actor, [critic], action_low=[-1, -1], action_high=[1, 1], **rest)


def compiled(module):
    # As inductor does, this backend refuses to be differentiated twice; it needs no compiler of C++.
    return torch.compile(module, backend="aot_eager")


def test_a_compiled_agent_is_the_agent_that_was_compiled():
    actor, critic = networks()
    agent = agent_of(compiled(actor), compiled(critic), target_critics=[compiled(critic)], value=compiled(actor))
    assert agent.actor is actor
    assert all(part is critic for part in (*agent.critics, *agent.target_critics))
    assert agent.value is actor
    assert list(agent.named_parameters()) == [name for name, _ in actor.named_parameters()]


def test_second_derivatives_of_a_compiled_agent_are_those_of_the_module():
    actor, critic = networks()
    live = compiled(actor), compiled(critic)
    live[1](OBS, live[0](OBS)).sum().backward()
    found, expected = (sensitivity(agent_of(*each).snapshot(), OBS) for each in (live, (actor, critic)))
    assert torch.equal(found.mixed_partial, expected.mixed_partial)
    assert torch.equal(found.curvature, expected.curvature)
    assert found.mixed_partial.all()


def test_a_compiled_part_of_a_module_is_compiled_in_the_run_alone():
    actor, critic = networks()
    expected = sensitivity(agent_of(actor, critic).snapshot(), OBS).mixed_partial
    critic.layers = compiled(critic.layers)
    agent = agent_of(actor, critic)
    critic(OBS, actor(OBS)).sum().backward()
    assert torch.equal(sensitivity(agent.snapshot(), OBS).mixed_partial, expected)
    assert uncompiled(critic.layers) is not critic.layers


def test_a_compiled_function_is_taken_for_the_function():
    def critic(obs, act):
        return act.sum(-1)

    assert uncompiled(compiled(critic)) is critic


@pytest.mark.parametrize("where", ["actor", "critic 0", "target critic or value"])
def test_a_lazy_module_that_was_never_called_is_refused_in_a_line(where):
    actor, critic = networks()
    lazy = nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(2))
    parts = {
        "actor": (lazy, critic, ()),
        "critic 0": (actor, lazy, ()),
        "target critic or value": (actor, critic, lazy),
    }
    first, second, target = parts[where]
    with pytest.raises(GradlabError, match=rf"^{where}: 1\.weight has no shape yet"):
        agent_of(first, second, target_critics=[target] if target else ())
    lazy(OBS)
    agent_of(first, second, target_critics=[target] if target else ())


def test_a_scripted_module_is_refused_in_a_line():
    actor, critic = networks()
    with pytest.raises(GradlabError, match=r"^actor: a TorchScript module"):
        agent_of(torch.jit.script(actor), critic)


class Remembering(nn.Module):
    """Keeps what it last computed, with its graph, in an attribute and in a list."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        self.last = self.inner(*args)
        self.all = [*getattr(self, "all", []), self.last]
        return self.last


def test_what_a_module_keeps_of_a_graph_is_copied_as_numbers():
    actor, critic = (Remembering(each) for each in networks())
    value = critic(OBS, actor(OBS))
    other = agent_of(actor, critic).snapshot()
    assert torch.equal(other.actor.last, actor.last)
    assert not other.actor.last.requires_grad
    assert other.critics[0].all[0] is other.critics[0].last
    # The run's own graph is whole, and the copy makes one of its own.
    assert value.grad_fn is not None
    assert actor.last.grad_fn is not None
    found, expected = (
        parameter_gradient(each, OBS, Deterministic().draw(each, OBS)[0]) for each in (other, agent_of(actor, critic))
    )
    assert all(torch.equal(found[name], expected[name]) and found[name].any() for name in found)


def test_modules_that_share_a_part_share_its_copy():
    actor, _ = networks()
    first, second = copied((actor, (actor[0], actor.forward)))
    assert second[0] is first[0]
    assert second[1].__self__ is first


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16], ids=str)
def test_a_critic_in_another_type_than_the_actor(kind):
    actor, critic = networks()
    expected = copy.deepcopy(critic).to(kind)
    agent = agent_of(actor, critic.to(kind), value=copy.deepcopy(actor[:1]).append(nn.Linear(16, 1)).to(kind))
    act = agent.action(OBS).detach()
    assert torch.equal(agent.q(OBS, act), expected(OBS.to(kind), act.to(kind)).squeeze(-1))
    gradient = agent.action_gradient(OBS, act)
    assert gradient.dtype == torch.float32
    assert gradient.any()
    assert agent.v(OBS).shape == (9,)
    assert critic.layers[0].weight.dtype == kind


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=str)
def test_single_precision_of_half_has_the_same_weights(kind):
    actor, critic = (each.to(kind) for each in networks())
    agent = agent_of(actor, critic)
    assert agent.coarse == kind
    single = agent.single()
    assert single.coarse is None
    assert single.dtype == single.action_low.dtype == torch.float32
    for name, parameter in single.actor.named_parameters():
        assert torch.equal(parameter.to(kind), actor.get_parameter(name))
    assert {parameter.dtype for part in agent.parts for parameter in part.parameters()} == {kind}
    assert single.single() is single
