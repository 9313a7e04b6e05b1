"""The error ledger of a run's gradient, as a probe stores it: term by term against a reference that is there."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.ledger import ErrorLedger, Term, error_ledger
from gradlab.references.base import ReferenceCotangent
from gradlab.simulation.states import States

#: Of the observations from the buffer, those that are the minibatch; the rest stand for the buffer.
MINIBATCH = 0.25


def terms_of(
    agent: Agent,
    obs: Tensor,
    visited: States,
    reference: ReferenceCotangent,
    draws: int,
    generator: torch.Generator,
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """The ledger's numbers by their names in the store, and what it has to say.

    Args:
        agent: the agent, in evaluation mode.
        obs: observations [N, n] from the buffer, independent draws of it; a quarter is taken as the minibatch.
        visited: the on-policy states that the reference is at.
        reference: its gradient there.
        draws: independent draws of the estimator at each state.
        generator: source of their randomness.

    Raises:
        GradlabError: as ``error_ledger`` does.
    """
    batch = torch.arange(max(1, round(MINIBATCH * len(obs))))
    ledger = error_ledger(
        agent, batch, replay=obs, on_policy=visited, reference=reference, draws=draws, generator=generator
    )
    return ledger_numbers(ledger), tuple(f"ledger: {note}" for note in ledger.notes)


def ledger_numbers(ledger: ErrorLedger) -> dict[str, Estimate]:
    """``ledger/term/…`` for the terms that were measured, ``ledger/total/…``, and ``ledger/truth/norm_squared``."""
    numbers: dict[str, Estimate] = {"ledger/truth/norm_squared": ledger.truth_norm_squared}
    for term in (*ledger.terms, ledger.total):
        numbers |= {f"ledger/{term.name.replace(' ', '_')}/{key}": value for key, value in _kept(term).items()}
    return numbers


def _kept(term: Term) -> dict[str, Estimate]:
    found = {"norm_squared": term.norm_squared, "contribution": term.contribution}
    return {key: value for key, value in found.items() if value is not None and not term.missing}
