"""Every public function with wrong types, shapes and numbers in the place of every argument: one line, or an answer."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import probes
from gradlab import landscape
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate


class Rectified(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 1)
        generator = torch.Generator().manual_seed(0)
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, generator=generator)
            nn.init.normal_(layer.bias, generator=generator)

    def forward(self, obs, act):
        return self.second(self.first(torch.cat([obs, act], -1)).relu()).squeeze(-1)


def agent_of(size, critic=None):
    actor = nn.Sequential(nn.Linear(3, size), nn.Tanh())
    nn.init.normal_(actor[0].weight, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(actor[0].bias)
    return Agent(actor, [critic or (lambda obs, act: hill(act))] * 2, [-1.0] * size, [1.0] * size, obs_size=3)


def hill(act):
    return -(act - 0.2).square().sum(-1)


def learned(obs, act, previous):
    return hill(act)


def still(obs):
    return 0 * obs[:, :2]


AGENT, OBS = agent_of(2), torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
OPTIMA, FEWER = (landscape.local_optima(AGENT, obs, starts=4) for obs in (OBS, OBS[:2]))
OTHER = landscape.local_optima(agent_of(1), OBS, starts=4)
ACTORS = landscape.several_actors(AGENT, OBS, [still, AGENT.action])
ERRORS, STEPS = [Estimate(value, 0.1, samples=5) for value in (1.0, 2.0, 3.0)], [1, 2, 3]
ALONG = landscape.gradient_field_over_states(AGENT, torch.linspace(0, 1, 20)[:, None].expand(-1, 3))
PREVIOUS, BOX = torch.zeros(1, 4, 2), ([-1.0, -1.0], [1.0, 1.0])

#: Functions, and arguments that are right, each of which is replaced in turn.
CALLS = {
    "several_actors": {"agent": AGENT, "obs": OBS, "actors": [still, still], "critic": None, "second": None,
                       "radius": 0.02, "episode": None},
    "failure_signatures": {"actors": ACTORS, "errors": ERRORS, "steps": STEPS, "same": 0.5, "alone": 0.9,
                           "growth": 0.0},
    "trend": {"steps": STEPS, "measured": ERRORS},
    "mapping_gap": {"agent": AGENT, "obs": OBS, "items": [[0.0, 0.0], [0.5, 0.5]], "proto": None, "nearest": 1,
                    "coordinates": None, "critic": None, "whole": True, "episode": None},
    "nearest_items": {"points": torch.zeros(4, 2), "items": torch.ones(3, 2), "count": 1},
    "exact_optima": {"agent": agent_of(2, Rectified()), "obs": OBS, "act": None, "coordinate": 0, "critic": None},
    "local_optima": {"q": AGENT, "low": OBS, "critic": None, "starts": 4, "steps": 5, "tolerance": 1e-3, "radius": 5e-3,
                     "value_range": None, "replay": None, "generator": None},
    "field": {"agent": AGENT, "obs": OBS, "plane": (0, 1), "resolution": 3, "arrows": 3, "critics": None},
    "curvature_plane": {"agent": AGENT, "obs": OBS, "scale": None, "critic": None, "generator": None},
    "optima_plane": {"agent": AGENT, "obs": OBS, "optima": OPTIMA, "threshold": 0.01, "generator": None},
    "gradient_field_over_states": {"agent": AGENT, "states": OBS, "act": None, "critics": None, "steps": None,
                                   "episodes": None},
    "ascent_path": {"agent": AGENT, "obs": OBS, "start": None, "steps": 3, "critic": None},
    "coordinate_plane": {"agent": AGENT, "obs": OBS, "pair": (0, 1)},
    "random_plane": {"agent": AGENT, "obs": OBS, "generator": None},
    "slice_plane": {"agent": AGENT, "obs": OBS, "plane": (0, 1), "resolution": 3, "gradient": True, "window": None,
                    "critics": None},
    "state_plane": {"state": [0.0, 0.0, 0.0], "plane": (0, 1), "data": OBS, "x": None, "y": None, "resolution": 3},
    "gradient_volatility": {"along": ALONG, "critic": None},
    "gap": {"agent": AGENT, "obs": OBS, "optima": OPTIMA, "critic": None, "threshold": 0.01, "draws": 2,
            "generator": None},
    "gap_by_critic": {"agent": AGENT, "obs": OBS},
    "follow": {"before": OPTIMA, "after": OPTIMA, "low": BOX[0], "high": BOX[1], "radius": 0.1, "threshold": 0.01},
    "surrogate_quality": {"agent": AGENT, "obs": OBS, "learned": learned, "previous": PREVIOUS, "anchors": None,
                          "critic": None, "samples": 4, "starts": 4, "slack": 0.01, "radius": 0.1, "episode": None,
                          "generator": None},
    "surrogates": {"q": AGENT, "low": OBS, "anchors": None, "count": 1, "critic": None, "starts": 4, "threshold": 0.01,
                   "generator": None},
    "surrogates_of_search": {"agent": AGENT, "obs": OBS, "optima": OPTIMA, "count": 1, "critic": None, "starts": 4,
                             "threshold": 0.01, "rounds": 1, "generator": None},
    "function_agent": {"q": hill, "low": BOX[0], "high": BOX[1], "states": 1},
    "learned_agent": {"agent": AGENT, "obs": OBS, "learned": learned, "previous": PREVIOUS},
    "surrogate_agent": {"agent": AGENT, "obs": OBS, "threshold": torch.zeros(4), "critic": None},
    "fit_surrogate": {"agent": AGENT, "obs": OBS, "previous": PREVIOUS, "critic": None, "at_anchors": 0.5, "width": 2,
                      "steps": 1, "batch": 2, "learning_rate": 0.01, "generator": None},
    "unseen": {"optima": OPTIMA, "threshold": 0.01},
    "unseen_share": {"first": OPTIMA, "second": OPTIMA, "threshold": 0.01, "radius": 0.01},
}  # fmt: skip

WRONG = [
    None, "a", b"a", -1, 1.5, math.nan, math.inf, True, [], {}, (0, 0), (0, "a"), [None], [[1.0, 2.0], [1.0]],
    [["a", "b"]], object(), np.array([[1, 2], [3, 4]], dtype=object), torch.zeros(0), torch.zeros(2),
    torch.zeros(4, 3, 2), torch.full((4, 3), math.nan), torch.zeros(4, 3) * 1j, torch.zeros(4, 2, dtype=torch.int32),
    lambda *given: None, lambda *given: "x", agent_of(5), OPTIMA, FEWER, OTHER, "followed", ACTORS,
]  # fmt: skip


def refusal(call, **given):
    """The line that a call is refused with, None where it is answered; anything else that is raised fails the test."""
    try:
        call(**given)
    except GradlabError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", CALLS)
def test_anything_in_the_place_of_an_argument_is_refused_in_one_line_or_answered(name):
    function, right = getattr(landscape, name), CALLS[name]
    assert refusal(function, **right) is None
    lines = [refusal(function, **{**right, argument: value}) for argument in right for value in WRONG]
    refused = [line for line in lines if line is not None]
    assert not [line for line in refused if "\n" in line]
    assert len(refused) >= 10 * len(right)


@pytest.mark.parametrize("argument", ["every", "states", "starts", "threshold", "radius"])
def test_the_probe_refuses_anything_that_is_no_number(argument):
    refused = [refusal(probes.Landscape, **{argument: value}) for value in WRONG]
    assert all(line is None or (line.startswith("probe landscape: ") and "\n" not in line) for line in refused)
    assert sum(line is not None for line in refused) >= 25


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("several_actors", {"agent": "td3.zip"}, "agent: 'td3.zip'; give a gradlab.Agent"),
        ("several_actors", {"obs": None}, r"observations: None; give numbers \[states, 3\]"),
        ("several_actors", {"obs": [["a"] * 3]}, "observations: .*; give numbers"),
        ("several_actors", {"obs": [[0.0], [0.0, 0.0]]}, "observations: .*; give numbers"),
        ("several_actors", {"obs": 1j * torch.zeros(4, 3)}, "observations: the numbers are complex"),
        ("several_actors", {"actors": "ab"}, "actors: 'ab'; give a list of functions"),
        ("several_actors", {"actors": [still, None]}, "actors: .*; give a list of functions"),
        ("several_actors", {"actors": [still, lambda obs: None]}, "actors: actor 1 answered NoneType"),
        ("several_actors", {"conditioned": "no"}, "conditioned: 'no'; give True or False"),
        ("several_actors", {"second": "followed"}, "second: 'followed'; give the index of a critic"),
        ("several_actors", {"second": lambda obs, act: "x"}, "second: 'x'; give real numbers"),
        ("several_actors", {"critic": 1.5}, "critic: 1.5; give the index of one"),
        ("several_actors", {"critic": True}, "critic: True; give the index of one"),
        ("several_actors", {"episode": ["a"] * 4}, "episode: .*; give one whole number a state"),
        ("failure_signatures", {"actors": [still]}, "actors: .*; give what several_actors measured"),
        ("failure_signatures", {"errors": [1.0, 2.0, 3.0]}, "errors: .*; give a list of Estimates"),
        ("failure_signatures", {"errors": None}, "errors: None; give a list of Estimates"),
        ("failure_signatures", {"steps": "abc"}, "steps: 'abc'; give real numbers"),
        ("trend", {"steps": 3}, "steps: 3; give a list of training steps"),
        ("follow", {"before": None}, "before: None; give what local_optima found"),
        ("follow", {"after": "a"}, "after: 'a'; give what local_optima found"),
        ("follow", {"after": FEWER}, "4 states before and 2 after"),
        ("follow", {"after": OTHER}, "they must be of one box"),
        ("follow", {"low": None}, "low: None; give a corner of the action box"),
        ("follow", {"high": ["a", "b"]}, "high: .*; give a corner of the action box"),
        ("follow", {"low": [[0.0], [0.0, 0.0]]}, "low: .*; give a corner of the action box"),
        ("follow", {"low": [-1.0, -1.0, -1.0]}, "both must be"),
        ("follow", {"radius": "a"}, "radius: 'a'; give a finite number above 0"),
        ("gap", {"optima": "a"}, "optima: 'a'; give what local_optima found"),
        ("gap", {"generator": 7}, "generator: 7; give a torch.Generator"),
        ("mapping_gap", {"coordinates": 1}, "coordinates: 1; give a list"),
        ("mapping_gap", {"proto": "a"}, "proto: 'a'; give real numbers"),
        ("surrogate_agent", {"threshold": "a"}, "threshold: 'a'; give real numbers"),
        ("learned_agent", {"learned": None}, "learned: None; give a function"),
        ("gradient_volatility", {"along": OBS}, "along: no trajectory"),
        ("field", {"resolution": "a"}, "resolution: 'a'; give a whole number from 2"),
        ("ascent_path", {"steps": "a"}, "steps: 'a'; give a whole number from 1"),
        ("ascent_path", {"start": [["a"]]}, "start: .*; give real numbers"),
        ("function_agent", {"states": "a"}, "states: 'a'; give a whole number from 1"),
        ("unseen", {"optima": None}, "optima: None; give what local_optima found"),
        ("unseen_share", {"second": None}, "second: None; give what local_optima found"),
    ],
)
def test_what_is_said(name, change, said):
    with pytest.raises(GradlabError, match=said) as caught:
        getattr(landscape, name)(**{**CALLS[name], **change})
    assert "\n" not in str(caught.value)


def test_every_function_is_looked_at():
    public = {name for name in landscape.__all__ if name[0].islower()}
    # Phantoms are looked for with states of a simulator, and have tests of their own.
    assert public - CALLS.keys() == {"phantom_optima"}
