"""What a checkpoint may leave unsaid, and the caller can say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import nn

from gradlab.errors import GradlabError

#: What each fact is, for the message that asks for it.
_MEANING = {
    "action_low": "the lower corner of the action box",
    "action_high": "the upper corner",
    "discount": "γ",
    "activation": "what follows each hidden layer, such as 'ReLU'",
    "entropy": "the entropy coefficient α",
    "output": "what follows the policy's last layer, 'Tanh' (stretched to the action box) or 'Identity'",
    "action_first": "whether its critic takes the action before the observation (True or False)",
    "max_action": "c of an actor that ends in c·tanh",
}


class UnsaidError(GradlabError):
    """A file does not say what is needed, and nobody else did.

    Attributes:
        names: the attributes of ``Facts`` that are missing.

    Example:
        >>> raise UnsaidError("checkpoint a.pt: the file does not say γ; pass discount=…", ("discount",))
        Traceback (most recent call last):
        ...
        gradlab.adapters.facts.UnsaidError: checkpoint a.pt: the file does not say γ; pass discount=…
    """

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.names = names


@dataclass(frozen=True)
class Facts:
    """What the caller of ``gradlab.load`` says about a checkpoint that does not say it itself; None where not given.

    Attributes:
        action_low: lower corner of the environment's action box.
        action_high: upper corner.
        discount: γ of the training objective.
        activation: class, or its name in ``torch.nn``, of the activation after each hidden layer.
        entropy: coefficient α of the entropy bonus.
        output: what follows the policy's last layer, where that is in the user's code only: ``"Tanh"``, whose [−1, 1]
            is stretched to the action box, or ``"Identity"``.
        action_first: whether the critic takes the action before the observation.
        max_action: c of an actor whose action, or mean, is c·tanh of its last layer (Tianshou).

    Example:
        >>> Facts(discount=0.99).require("checkpoint td3.pt", "discount", "entropy")
        Traceback (most recent call last):
        ...
        gradlab.adapters.facts.UnsaidError: checkpoint td3.pt: the file does not say the entropy coefficient α; pass ...
    """

    action_low: Any = None
    action_high: Any = None
    discount: float | None = None
    activation: type[nn.Module] | str | None = None
    entropy: float | None = None
    output: str | None = None
    action_first: bool | None = None
    max_action: float | None = None

    def require(self, where: str, *names: str) -> None:
        """Ask for what is needed and was not given.

        Args:
            where: the file, for the message.
            names: attributes.

        Raises:
            UnsaidError: one of them is None; the message names every such.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            said = ", ".join(_MEANING[name] for name in missing)
            asked = ", ".join(f"{name}=…" for name in missing)
            raise UnsaidError(f"{where}: the file does not say {said}; pass {asked}", tuple(missing))

    @property
    def said(self) -> dict[str, Any]:
        """What was given, as JSON can say it.

        Example:
            >>> Facts(action_low=[-2.0], discount=0.99, activation=nn.ReLU).said
            {'action_low': [-2.0], 'discount': 0.99, 'activation': 'ReLU'}
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(name, value) for name, value in given.items() if value is not None}

    def activation_class(self, where: str) -> type[nn.Module]:
        """The activation's class.

        Raises:
            GradlabError: none was given, or it is no activation of ``torch.nn``.

        Example:
            >>> Facts(activation="Tanh").activation_class("checkpoint ppo.pt")
            <class 'torch.nn.modules.activation.Tanh'>
        """
        self.require(where, "activation")
        named = self.activation
        found = getattr(nn.modules.activation, named, None) if isinstance(named, str) else named
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise GradlabError(f"{where}: activation {named!r} is none of torch.nn's; name one such as 'ReLU'")
        return found


def _plain(name: str, value: Any) -> Any:
    if name in ("action_low", "action_high"):
        return np.asarray(value, dtype=float).tolist()
    return value.__name__ if isinstance(value, type) else value
