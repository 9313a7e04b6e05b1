"""Checks of what all measurements of a landscape are given: an agent, optima, a source of randomness."""

from __future__ import annotations

from typing import Any

import torch

from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.found import LocalOptima


def measured_agent(agent: Any) -> Agent:
    """The agent in evaluation mode, as ``in_evaluation`` has it.

    Raises:
        GradlabError: it is no Agent.

    Example:
        >>> measured_agent("td3.zip")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: agent: 'td3.zip'; give a gradlab.Agent, such as gradlab.load or gradlab.view make
    """
    if not isinstance(agent, Agent):
        raise GradlabError(f"agent: {shown(agent)}; give a gradlab.Agent, such as gradlab.load or gradlab.view make")
    return in_evaluation(agent)


def given_optima(name: str, optima: Any) -> LocalOptima:
    """What ``local_optima`` found.

    Raises:
        GradlabError: it is something else.

    Example:
        >>> given_optima("before", [0.5])
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: before: [0.5]; give what local_optima found
    """
    if not isinstance(optima, LocalOptima):
        raise GradlabError(f"{name}: {shown(optima)}; give what local_optima found")
    return optima


def random_source(generator: Any, seed: int = 0) -> torch.Generator:
    """A generator, or a new one with a seed in the place of None.

    Raises:
        GradlabError: it is something else.

    Example:
        >>> random_source(None, 7).initial_seed()
        7
        >>> random_source(7)
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: generator: 7; give a torch.Generator, or None for one with a fixed seed
    """
    if generator is None:
        return torch.Generator().manual_seed(seed)
    if not isinstance(generator, torch.Generator):
        raise GradlabError(f"generator: {shown(generator)}; give a torch.Generator, or None for one with a fixed seed")
    return generator
