"""What is refused in one line, what works in other types, and that the live networks are left alone."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import (
    curvature_field_over_states,
    largest_seen,
    losses,
    predictions_along,
    rank_correlation,
    sensitivity_predictions,
)
from gradlab.curvature import sensitivity as sensitivity_of
from gradlab.errors import GradlabError
from gradlab.hessians import (
    extreme_eigenvalues,
    hessian_products,
    hutchinson_frobenius,
    hutchinson_trace,
    hutchinson_variance,
    matrix_products,
    piecewise_linear,
    second_derivatives,
    smoothed_second_derivatives,
    step_plateau,
    traces,
)
from gradlab.policies import Softmax


class Bowl(nn.Module):
    def forward(self, obs, act):
        return (obs[:, :2] * act).sum(-1) - act.square().sum(-1)


class Layered(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 1), nn.Flatten(0)
        )

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


class SharedFeatures(nn.Module):
    """An actor whose features are made without gradients, as those that belong to a critic are."""

    def __init__(self):
        super().__init__()
        self.features, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, obs):
        with torch.no_grad():
            features = self.features(obs).tanh()
        return self.last(features)


def agent_of(critic, actor=None):
    return Agent(actor or nn.Linear(3, 2), [critic], [-9.0] * 2, [9.0] * 2)


OBS, ACT = torch.linspace(-1, 1, 12).reshape(4, 3), torch.linspace(-0.5, 0.5, 8).reshape(4, 2)
BOWL = agent_of(Bowl())
PRODUCTS = matrix_products(torch.eye(2)[None])
CALLS = {
    "scale": [
        lambda x: sensitivity_of(BOWL, OBS, x),
        lambda x: sensitivity_predictions(BOWL, OBS, x),
        lambda x: second_derivatives(BOWL, OBS, ACT, x),
        lambda x: hessian_products(BOWL, OBS, None, x),
        lambda x: smoothed_second_derivatives(BOWL, OBS, x),
    ],
    "critic": [
        lambda x: sensitivity_of(BOWL, OBS, critic=x),
        lambda x: second_derivatives(BOWL, OBS, ACT, critic=x),
        lambda x: hessian_products(BOWL, OBS, critic=x),
        lambda x: piecewise_linear(BOWL, OBS, x),
    ],
    "act": [
        lambda x: second_derivatives(BOWL, OBS, x),
        lambda x: hessian_products(BOWL, OBS, x),
        lambda x: sensitivity_predictions(BOWL, OBS, act=x),
    ],
    "obs_scale": [
        lambda x: sensitivity_of(BOWL, OBS, 0.1, obs_scale=x),
        lambda x: step_plateau(BOWL, OBS, obs_scale=x),
    ],
    "obs": [lambda x: second_derivatives(BOWL, x, ACT), lambda x: piecewise_linear(BOWL, x)],
    "products": [lambda x: extreme_eigenvalues(x), lambda x: traces(x)],
    "generator": [
        lambda x: traces(PRODUCTS, generator=x),
        lambda x: losses.curvature_hinge_loss(Bowl(), OBS, ACT, generator=x),
        lambda x: losses.mixed_partial_loss(Bowl(), OBS, ACT, generator=x),
    ],
    "kind": [lambda x: hutchinson_trace(torch.eye(2), kind=x), lambda x: hutchinson_variance(torch.eye(2), x)],
    "hessian": [lambda x: hutchinson_variance(x), lambda x: matrix_products(x)],
    "values": [lambda x: largest_seen(x), lambda x: rank_correlation(x, [1.0, 2.0])],
    "runs": [lambda x: predictions_along(BOWL, x, time_step=0.1)],
    "states": [lambda x: curvature_field_over_states(BOWL, x)],
    "tensor": [
        lambda x: losses.curvature_hinge_loss(Bowl(), x, ACT),
        lambda x: losses.field_consistency_loss(Bowl(), OBS, ACT, x),
        lambda x: losses.mixed_partial_loss(x, OBS, ACT),
    ],
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "wrong",
    ["a", np.array(["a", "b"]), object(), {}, np.array(2 + 1j)],
    ids=["text", "texts", "object", "dictionary", "complex"],
)
def test_wrong_types_are_refused_in_one_line(name, wrong):
    for call in CALLS[name]:
        with pytest.raises(GradlabError) as caught:
            call(wrong)
        assert "\n" not in str(caught.value)


def test_numbers_that_rounding_swallows_and_networks_without_numbers():
    with pytest.raises(GradlabError, match="rounding swallows so short a step"):
        sensitivity_of(BOWL, OBS, 1e-300)
    diverged = nn.Linear(3, 2)
    nn.init.constant_(diverged.weight, math.inf)
    with pytest.raises(GradlabError, match="has the actor diverged"):
        sensitivity_of(agent_of(Bowl(), diverged), OBS)
    with pytest.raises(GradlabError, match="finite numbers"):
        second_derivatives(BOWL, OBS, ACT / 0)
    discrete = Agent(nn.Linear(3, 2), [Bowl()], [0.0] * 2, [1.0] * 2, policy=Softmax())
    with pytest.raises(GradlabError, match="discrete"):
        second_derivatives(discrete, OBS, ACT)


def test_arrays_and_lists_do_where_tensors_do():
    matrix = [[1.0, 2.0], [0.0, 3.0]]
    for given in (matrix, np.array(matrix)):
        assert hutchinson_variance(given) == hutchinson_variance(torch.tensor(matrix)) == 4.0
        assert hutchinson_frobenius(given, probes=4096).value == pytest.approx(14.0, rel=0.2)
        assert matrix_products([given]).action(torch.ones(1, 1, 2)).tolist() == [[[3.0, 3.0]]]
    assert largest_seen([1.0, 3.0, 2.0]).largest == 3.0
    found = second_derivatives(BOWL, OBS.tolist(), ACT.numpy())
    assert found.action[0].tolist() == [[-2.0, 0.0], [0.0, -2.0]]
    assert found.action.dtype == torch.float32
    assert piecewise_linear(BOWL, OBS.numpy()) is False


def test_networks_in_training_mode_are_left_alone():
    agent = agent_of(Layered())
    before = {name: value.clone() for name, value in agent.critics[0].state_dict().items()}
    random = torch.get_rng_state()
    found = second_derivatives(agent, OBS, ACT)
    assert not piecewise_linear(agent, OBS)
    assert torch.equal(random, torch.get_rng_state())
    assert agent.critics[0].training
    assert all(torch.equal(before[name], value) for name, value in agent.critics[0].state_dict().items())
    agent.critics[0].eval()
    torch.testing.assert_close(found.action, second_derivatives(agent, OBS, ACT).action)


def test_an_actor_without_gradients_to_the_state_has_no_jacobian():
    agent = agent_of(Bowl(), SharedFeatures())
    for matrices in (True, False):
        found = sensitivity_of(agent, OBS, matrices=matrices)
        assert found.jacobian is None
        assert found.policy_jacobian.isnan().all()
        assert found.mixed_partial.tolist() == pytest.approx([1.0] * 4)
        assert "policy_jacobian" not in found.summary()
    with pytest.raises(GradlabError, match="actor: no gradient reaches the state"):
        sensitivity_predictions(agent, OBS)

    class Saturated(nn.Module):
        def forward(self, obs):
            return (1e3 * obs[:, :2]).clamp(-1, 1)

    assert sensitivity_of(agent_of(Bowl(), Saturated()), OBS + 3).policy_jacobian.tolist() == [0.0] * 4


def test_losses_of_compiled_critics_are_those_of_the_module():
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 1))

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.smooth, self.bilinear = smooth, nn.Bilinear(3, 2, 1)

        def forward(self, obs, act):
            return self.smooth(torch.cat([obs, act], -1)) + self.bilinear(obs, act)

    plain = Joined()
    compiled = torch.compile(plain, backend="aot_eager")

    def seeded():
        return torch.Generator().manual_seed(0)

    for loss in (
        lambda q: losses.curvature_hinge_loss(q, OBS, ACT, generator=seeded(), check=False),
        lambda q: losses.mixed_partial_loss(q, OBS, ACT, generator=seeded()),
        lambda q: losses.field_consistency_loss(q, OBS, ACT, OBS + 1),
    ):
        one, other = loss(plain), loss(compiled)
        assert one.item() == other.item()
        other.backward()
    torch.testing.assert_close(
        *(sensitivity_of(agent_of(critic), OBS, act=ACT).curvature for critic in (compiled, plain))
    )
    function = torch.compile(lambda obs, act: plain(obs, act), backend="aot_eager")
    measured = [losses.curvature_hinge_loss(q, OBS, ACT, generator=seeded(), check=False) for q in (function, plain)]
    assert measured[0].item() == measured[1].item()


class PartlyShared(nn.Module):
    """Q = −a² + (s + 5 f(s)) a, whose features f are made without gradients."""

    def __init__(self, shared=True):
        super().__init__()
        self.features, self.shared = nn.Linear(3, 2), shared

    def forward(self, obs, act):
        features = self.features(obs).tanh()
        features = features.detach() if self.shared else features
        return (obs[:, :2] * act + 5 * features * act).sum(-1) - act.square().sum(-1)


def test_a_critic_of_which_part_has_no_gradient_to_the_state_is_refused_there():
    agent = agent_of(PartlyShared())
    found = sensitivity_of(agent, OBS)
    assert "only part of its gradient reaches the state" in found.refused
    assert found.mixed_partial.isnan().all()
    assert (found.curvature == 2).all()
    whole = PartlyShared(shared=False)
    whole.load_state_dict(agent.critics[0].state_dict())
    exact = sensitivity_of(agent_of(whole), OBS, act=ACT)
    assert not exact.refused
    torch.testing.assert_close(
        exact.mixed_partial, sensitivity_of(agent, OBS, 1e-3, act=ACT).mixed_partial, rtol=1e-4, atol=1e-4
    )
