"""The options by which a command is told what a checkpoint leaves unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.adapters.facts import Facts

ActionLow = Annotated[
    str | None, typer.Option(help="Lower corner of the action box, with commas between; where files do not say it.")
]
ActionHigh = Annotated[str | None, typer.Option(help="Upper corner, likewise.")]
Discount = Annotated[float | None, typer.Option(help="γ, likewise.")]
Activation = Annotated[str | None, typer.Option(help="What follows each hidden layer, such as ReLU.")]
Entropy = Annotated[float | None, typer.Option(help="The entropy coefficient α, likewise.")]
Output = Annotated[
    str | None,
    typer.Option(help="What follows the policy's last layer, Tanh or Identity, likewise (skrl)."),
]
MaxAction = Annotated[float | None, typer.Option(help="c of an actor that ends in c·tanh, likewise (Tianshou).")]
ActionFirst = Annotated[
    bool | None,
    typer.Option(
        "--action-first/--obs-first", help="Which of the two a critic's input begins with, likewise (TorchRL)."
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Let code in checkpoints run, where they cannot be read otherwise.")
]


def facts_of(
    action_low: str | None,
    action_high: str | None,
    discount: float | None,
    activation: str | None,
    entropy: float | None,
    output: str | None,
    max_action: float | None,
    action_first: bool | None,
) -> Facts:
    """What the options say.

    Raises:
        GradlabError: a corner is not numbers.
    """
    from gradlab.adapters.facts import Facts

    return Facts(
        action_low=_corner("--action-low", action_low),
        action_high=_corner("--action-high", action_high),
        discount=discount,
        activation=activation,
        entropy=entropy,
        output=output,
        max_action=max_action,
        action_first=action_first,
    )


def _corner(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise GradlabError(f"{option}: {text!r}; give numbers with commas between, such as {option}=-1,-1") from error
