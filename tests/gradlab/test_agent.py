"""Agents described by hand in ways that nearly fit."""

import re

import pytest
import torch
from torch import nn

from gradlab import Agent, GradlabError, local_optima, sensitivity
from gradlab.estimators import Deterministic, Reparameterized, ScoreFunction, ZerothOrder
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape import field
from gradlab.objective import Objective
from gradlab.policies import Gaussian
from gradlab.references import CriticReference, ReferenceCotangent

OBS = torch.linspace(-1, 1, 15).reshape(5, 3)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Bilinear(3, 2, 1)

    def forward(self, obs, act):
        return self.layer(obs, act) - act.square().sum(-1, keepdim=True)


def make_agent(critic, *, low=(-1.0, -1.0), high=(1.0, 1.0), **rest):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Linear(3, 4 if rest else 2)
    return Agent(actor, [critic], action_low=low, action_high=high, **rest)


@pytest.mark.parametrize("estimator", [Deterministic(), ZerothOrder(), ScoreFunction(), Reparameterized()], ids=str)
def test_a_box_of_another_size_than_the_action_is_refused(estimator):
    for rest in ({}, {"policy": Gaussian()}):
        agent = make_agent(Critic(), low=-1.0, high=1.0, **rest)
        with pytest.raises(GradlabError, match="2 coordinates, but the action box has 1"):
            estimator.draw(agent, OBS)


def test_a_reference_for_a_box_of_another_size_is_refused():
    with pytest.raises(GradlabError, match="2 coordinates, but the action box has 1"):
        CriticReference(smoothing=0.1).cotangent(make_agent(Critic(), low=-1.0, high=1.0), OBS)


def test_a_critic_that_ignores_the_action_has_no_gradient_and_no_optimum():
    agent = make_agent(lambda obs, act: obs.sum(-1))
    assert not Deterministic().draw(agent, OBS).any()
    assert not ZerothOrder().draw(agent, OBS).any()
    assert not CriticReference(smoothing=0.1).cotangent(agent, OBS).mean.any()
    assert not field(agent, OBS, resolution=3, arrows=3).gradient.values.any()
    assert local_optima(agent, OBS, starts=4).count().tolist() == [0] * 5


def test_a_method_of_a_module_is_a_critic_in_float64_too():
    critic = Critic()
    by_module, by_method = (sensitivity(make_agent(each), OBS, 0.1) for each in (critic, critic.forward))
    assert torch.equal(by_module.ratio, by_method.ratio)
    assert critic.layer.weight.dtype == torch.float32


def test_a_function_around_a_module_is_refused_where_float64_is_needed():
    critic = Critic()
    agent = make_agent(lambda obs, act: critic(obs, act))
    with pytest.raises(GradlabError, match=r"cannot be evaluated in torch\.float64"):
        sensitivity(agent, OBS, 0.1)
    # Exact derivatives are in the model's own dtype.
    assert torch.equal(sensitivity(agent, OBS).curvature, sensitivity(make_agent(critic), OBS).curvature)


def test_a_reference_that_does_not_fit_together_is_refused():
    mean, two = torch.zeros(5, 2).double(), torch.ones(2, dtype=torch.bool)
    with pytest.raises(GradlabError, match="reference truth: mean"):
        ReferenceCotangent(mean, mean[:2], "truth", Objective())
    for valid in (two, torch.ones(5)):
        with pytest.raises(GradlabError, match="one bool for each of 5 states"):
            ReferenceCotangent(mean, mean, "truth", Objective(), valid)


# The value function ----------------------------------------------------------------------------------------------


class Value(nn.Module):
    def __init__(self, keep=True):
        super().__init__()
        self.keep = keep
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, obs):
        value = self.layers(obs)
        return value if self.keep else value[:, 0]


@pytest.mark.parametrize("keep", [False, True])
def test_a_value_function_gives_one_number_a_state(keep):
    agent = make_agent(Critic(), value=Value(keep).eval())
    assert torch.equal(agent.v(OBS), agent.value.layers(OBS)[:, 0])
    double = agent.snapshot(double=True)
    assert double.v(OBS.double()).dtype == torch.float64
    torch.testing.assert_close(double.v(OBS.double()), agent.v(OBS).double(), rtol=1e-5, atol=1e-6)
    # More rows than are evaluated at a time.
    many = OBS.repeat(4000, 1)
    assert torch.allclose(agent.v(many), agent.v(OBS).repeat(4000), atol=1e-6)


def test_a_snapshot_shares_no_value_and_keeps_layers_shared_with_the_actor_shared():
    agent = make_agent(Critic(), value=Value())
    agent.value.layers[0] = agent.actor
    copied = agent.snapshot()
    assert copied.value is not agent.value
    assert copied.value.layers[0] is copied.actor


def test_a_value_in_training_mode_is_measured_in_evaluation_mode():
    agent = make_agent(Critic(), value=Value())
    for part in (agent.actor, *agent.critics):
        part.eval()
    measured = in_evaluation(agent)
    assert measured is not agent
    assert torch.equal(measured.v(OBS), measured.v(OBS))
    assert agent.value.training
    assert not measured.value.training


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "agent: has no value function of obs"),
        (nn.Linear(3, 2), r"value: returned shape \[5, 2\] for 5 rows"),
        (nn.Linear(7, 1), "value: its first layer takes 7 numbers, but the observations have 3"),
        (lambda obs: 0.0, "value: returned float for 5 rows"),
    ],
)
def test_what_is_no_value_function_is_refused(value, message):
    agent = make_agent(Critic(), value=value)
    with pytest.raises(GradlabError, match=message):
        agent.v(OBS)
    with pytest.raises(GradlabError, match=r"value: 0\.0; expected a callable"):
        make_agent(Critic(), value=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actor": None}, "actor: None; give the torch.nn.Module"),
        ({"actor": lambda obs: obs}, "give the torch.nn.Module"),
        ({"critics": None}, "critics: expected a list"),
        ({"critics": 3}, "critics: expected a list"),
        ({"target_critics": nn.Linear(1, 1)}, "target_critics: expected a list"),
        ({"action_low": None}, "action box: low is None"),
        ({"action_low": "a"}, "action box: low is 'a'"),
        ({"policy": "gaussian"}, "policy: 'gaussian'; give one of gradlab.policies"),
        ({"policy": Gaussian}, "give one of gradlab.policies"),
        ({"head": "mean"}, "head: 'mean'; give a function"),
        ({"entropy": "auto"}, "entropy: 'auto'; give the number"),
        ({"entropy": torch.ones(3)}, "give the number that α is now"),
        ({"obs_size": -1}, "obs_size: -1; give a whole number from 1"),
        ({"obs_size": "3"}, "obs_size: '3'; give a whole number"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_arguments_of_another_kind_are_refused_in_one_line(change, message):
    given = {"actor": nn.Linear(3, 2), "critics": [], "action_low": [-1, -1], "action_high": [1, 1]}
    with pytest.raises(GradlabError, match=re.escape(message)) as found:
        Agent(**(given | change))
    assert "\n" not in str(found.value)


def test_critics_out_of_a_generator_are_kept():
    agent = Agent(nn.Linear(3, 2), (one for one in [lambda obs, act: act.sum(-1)] * 2), [-1, -1], [1, 1])
    assert len(agent.critics) == 2


@pytest.mark.parametrize(
    "critic",
    [lambda obs, act: act.sum(-1).detach(), lambda obs, act: act.detach().sum(-1) * obs.new_ones(1).requires_grad_()],
    ids=["no graph", "a graph to something else"],
)
def test_a_critic_whose_graph_does_not_reach_the_action_is_refused(critic):
    agent = Agent(nn.Linear(3, 2), [critic], [-1, -1], [1, 1])
    with pytest.raises(GradlabError, match="has no graph to it"):
        agent.action_gradient(torch.zeros(4, 3), torch.zeros(4, 2))
