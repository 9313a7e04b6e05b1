"""Functions given to the search: dtypes that differ, answers and corners that will not do, and what they are asked."""

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import local_optima, surrogates


def hill(a):
    return -(a - 0.2).square().sum(-1)


def box(dtype, size=2):
    return torch.full((size,), -0.1, dtype=dtype), torch.ones(size, dtype=dtype)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("actions", "values"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_values_in_another_dtype_than_the_actions(actions, values, offset, size):
    """The search is in float32 then, where steps of the values are rounding; the function still sees its own dtype."""
    seen = set()

    def q(a):
        seen.add(a.dtype)
        assert bool(((a >= box(actions)[0][0]) & (a <= 1)).all())
        return (offset + hill(a)).to(values)

    found = local_optima(q, *box(actions, size))
    assert seen == {actions}
    assert [len(each) for each in found.values] == [1]
    assert found.values[0].dtype is found.actions[0].dtype is torch.float32
    assert float((found.actions[0] - 0.2).abs().max()) < (1e-3 if offset == 0 else 2e-2)


def test_a_network_in_float32_under_a_box_in_float64_is_climbed_to_the_corner():
    """0.1 is further out in float32 than in float64: the function must not see it, and the slope there must stay."""
    corner = torch.tensor([0.1], dtype=torch.float64)

    def q(a):
        assert bool((a.abs() <= corner).all())
        return a.float().sum(-1)

    found = local_optima(q, -corner, corner)
    assert found.actions[0].tolist() == [[pytest.approx(0.1)]]
    assert found.on_boundary[0].tolist() == [True]
    assert surrogates(q, -corner, corner, count=1).optima.flatten().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("q", "said"),
    [
        (lambda a: (10 * hill(a)).round().int(), "q: answered in torch.int32, which has no gradient"),
        (lambda a: hill(a) > -0.5, "q: answered in torch.bool, which has no gradient"),
        (lambda a: hill(a) + 0j, "q: answered in torch.complex64, which has no gradient"),
        (lambda a: hill(a).half(), "q: answered in torch.float16, in which optima cannot be told from rounding"),
        (lambda a: hill(a).bfloat16(), "q: answered in torch.bfloat16, in which optima cannot be told"),
        (lambda a: hill(a).detach(), "q: differs between actions but has no gradient"),
        (lambda a: hill(a).detach().numpy(), "q: answered ndarray"),
        (lambda a: None, "q: answered NoneType"),
        (lambda a: 1.0, "q: answered float"),
        (lambda a: a, r"q: answered \(1, 1, 2\)"),
        (None, "q: None; give an Agent, or a function"),
        ("hill", "q: 'hill'; give an Agent, or a function"),
    ],
)
@pytest.mark.parametrize("search", [local_optima, surrogates])
def test_answers_that_will_not_do(search, q, said):
    with pytest.raises(GradlabError, match=said) as caught:
        search(q, *box(torch.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("low", "said"),
    [
        ("a", "low: 'a'; give a corner"),
        (["a", "b"], r"low: \['a', 'b'\]; give a corner"),
        ([None, 0.0], r"low: \[None, 0.0\]; give a corner"),
        ([[0.0], [0.0, 0.0]], "give a corner"),
        ({}, "low: {}; give a corner"),
        (None, "low: None; give a corner"),
        (object(), "give a corner"),
        (np.array(["a", "b"]), "give a corner"),
        ([float("nan"), 0.0], "infinite or NaN"),
        ([-1j, 0.0], "low: numbers of torch.complex64"),
        ([False, False], "low: numbers of torch.bool"),
        (torch.zeros(2).half(), "low: numbers of torch.float16"),
        (torch.zeros(2).bfloat16(), "low: numbers of torch.bfloat16"),
        (torch.zeros(2, 2), "both must be"),
        ([], "both must be"),
        ([2.0, 0.0], "low must be below high"),
    ],
)
def test_corners_that_will_not_do(low, said):
    for search in (local_optima, surrogates):
        with pytest.raises(GradlabError, match=said) as caught:
            search(hill, low, [1.0, 1.0])
        assert "\n" not in str(caught.value)
    if isinstance(low, list) and len(low) == 2:
        # The upper corner is looked at alike; NaN, complex numbers and shapes are what is wrong with it.
        with pytest.raises(GradlabError):
            local_optima(hill, [3.0, 3.0], low)


def test_corners_of_whole_numbers_are_those_of_the_default_dtype():
    for low, high in (([-1, -1], [1, 1]), (np.array([-1, -1]), torch.tensor([1, 1])), ([-1, -1], [1.0, 1])):
        found = local_optima(hill, low, high)
        assert [len(each) for each in found.values] == [1]
        assert found.values[0].dtype is torch.float32


def test_evaluations_are_what_the_function_was_asked_for():
    """States need different numbers of points, and empty places of the rectangle are computed like the others."""
    asked = []
    frequency = torch.tensor([[1.0], [9.0], [30.0]])

    def q(a):
        asked.append(a.shape[0] * a.shape[1])
        return (frequency * a[..., 0]).sin() - a[..., 1].square()

    found = local_optima(q, [-1.0, -1.0], [1.0, 1.0], states=3)
    assert found.evaluations + found.certifying == sum(asked)


def test_agents_in_half_precision_are_refused():
    actor = nn.Linear(1, 1).half()
    agent = Agent(actor, [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
    with pytest.raises(GradlabError, match=r"agent: its networks are in torch.float16.*snapshot\(double=True\)"):
        local_optima(agent, torch.zeros(1, 1))
    assert local_optima(agent.snapshot(double=True), torch.zeros(1, 1)).count().tolist() == [1]
