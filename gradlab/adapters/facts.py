"""What a checkpoint may leave unsaid, and the caller can say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        gradlab.errors.GradlabError: checkpoint td3.pt: the file does not say the entropy coefficient α; pass entropy=…
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
            GradlabError: one of them is None; the message names every such.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            said = ", ".join(_MEANING[name] for name in missing)
            asked = ", ".join(f"{name}=…" for name in missing)
            raise GradlabError(f"{where}: the file does not say {said}; pass {asked}")

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
