"""Adapters: an Agent out of a live object or a checkpoint, one file per library."""

from __future__ import annotations

import os
from typing import Any, Protocol

from torch import nn

from gradlab.adapters import d3rlpy, rllib, skrl, stable_baselines3, tianshou, torchrl
from gradlab.adapters.checkpoint import Checkpoint, read_checkpoint
from gradlab.adapters.facts import Facts
from gradlab.agent import Agent
from gradlab.errors import GradlabError

__all__ = ["ADAPTERS", "Checkpoint", "load", "read_checkpoint", "view"]


class Adapter(Protocol):
    """What one library's module has; it looks at ``sys.modules`` and never imports the library."""

    LIBRARY: str
    SUPPORTED: tuple[str, ...]

    def recognises(self, model: object) -> bool:
        """Whether the object is one of the library's."""

    def view(self, model: Any) -> Agent:
        """The object as an Agent; raises GradlabError where it is not supported."""


#: The libraries known, in the order they are asked.
ADAPTERS: tuple[Adapter, ...] = (stable_baselines3, skrl, torchrl, tianshou, d3rlpy, rllib)


def view(model: object) -> Agent:
    """A live training object as an Agent.

    The agent shares the model's layers, so it always shows the present weights; measure a ``snapshot()``. An
    Agent is returned as it is. No library is imported and no random state touched.

    Args:
        model: a Stable-Baselines3 TD3, DDPG, SAC, PPO or A2C model, an sb3-contrib TQC, CrossQ or TRPO model, a skrl
            DDPG, TD3, SAC, PPO, A2C or TRPO agent, a TorchRL DDPGLoss, TD3Loss, SACLoss, A2CLoss or loss of PPO, or a
            Trainer of one, a Tianshou DDPG, TD3, SAC, PPO, A2C, NPG or TRPO algorithm, a d3rlpy DDPG, TD3, TD3+BC, SAC,
            CQL or IQL algorithm, or an RLlib SAC or PPO algorithm or its learner.

    Raises:
        GradlabError: the object is of no known library, or not supported.

    Example:
        >>> view("a string")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: view: builtins.str is no training object known here; ...
    """
    if isinstance(model, Agent):
        return model
    for adapter in ADAPTERS:
        if adapter.recognises(model):
            return adapter.view(model)
    known = "; ".join(f"{adapter.LIBRARY} ({', '.join(adapter.SUPPORTED)})" for adapter in ADAPTERS)
    raise GradlabError(
        f"view: {type(model).__module__}.{type(model).__qualname__} is no training object known here; known are "
        f"{known}; describe any other with gradlab.Agent(actor=..., critics=[...], action_low=..., action_high=...)"
    )


def load(
    path: str | os.PathLike[str],
    trust: bool = False,
    *,
    action_low: Any = None,
    action_high: Any = None,
    discount: float | None = None,
    activation: type[nn.Module] | str | None = None,
    entropy: float | None = None,
    output: str | None = None,
    action_first: bool | None = None,
    max_action: float | None = None,
) -> Agent:
    """A checkpoint as an Agent: without its environment, without its library, without running code from it.

    What a file does not say is asked for, never guessed: the message names every keyword that is needed. What the
    file says itself goes before what is given.

    Args:
        path: a zip written by Stable-Baselines3's or sb3-contrib's ``model.save()`` (TD3, DDPG, SAC, PPO, A2C, TQC,
            CrossQ, TRPO), or a file of a library in ``gradlab.adapters.checkpoint.READERS``: a PyTorch file, d3rlpy's
            ``.d3``, or ``module_state.pkl`` of an RLlib checkpoint's folder.
        trust: whether code in the file may run, where it cannot be read otherwise (custom activations and
            policies are pickled); needs the library.
        action_low: lower corner of the environment's action box.
        action_high: upper corner.
        discount: γ of the training objective.
        activation: class, or its name in ``torch.nn``, of the activation after each hidden layer.
        entropy: coefficient α of the entropy bonus.
        output: what follows the policy's last layer, where the file cannot say it: ``"Tanh"``, whose [−1, 1] is
            stretched to the action box, or ``"Identity"``.
        action_first: whether the critic takes the action before the observation.
        max_action: c of an actor whose action, or mean, is c·tanh of its last layer (Tianshou).

    Raises:
        GradlabError: the file is missing, broken, of another library, or needs ``trust``.

    Example:
        >>> load("no-such-file.zip")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: checkpoint no-such-file.zip: no such file; ...
    """
    facts = Facts(action_low, action_high, discount, activation, entropy, output, action_first, max_action)
    return read_checkpoint(path, trust=trust, facts=facts).agent
