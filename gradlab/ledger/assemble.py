"""From the chain's gradients to the ledger: terms as combinations of waypoints, and the numbers of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.ledger.moments import Source, products
from gradlab.ledger.pools import Pool
from gradlab.ledger.result import ErrorLedger, Term
from gradlab.ledger.statistics import Statistics
from gradlab.ledger.targets import Targets
from gradlab.ledger.terms import make_term, unflatten

#: Waypoints in the order of the chain → the term that ends there.
_TERM_OF = {
    "minibatch": "estimator noise",
    "replay": "minibatch noise",
    "on_policy": "state distribution",
    "open": "closed gates",
    "smoothing": "smoothing",
    "entropy bonus": "entropy",
    "critic error": "critic error",
    "truncation": "truncation",
    "entropy": "entropy",
}
#: Share of the discounted weight that may lie after the last step seen without a word.
_BEYOND = 0.01
#: Terms in the order they are shown.
_TERMS = (
    "estimator noise",
    "minibatch noise",
    "state distribution",
    "closed gates",
    "smoothing",
    "critic error",
    "truncation",
    "entropy",
)


def assemble(
    agent: Agent,
    names: Sequence[str],
    vectors: Tensor,
    sources: Sequence[Source],
    pools: dict[str, Pool],
    targets: Targets,
    draws: int,
) -> ErrorLedger:
    """The ledger of waypoints ``names`` with gradients ``vectors`` [K, P]."""
    combinations = {name: torch.zeros(len(names), dtype=vectors.dtype) for name in _TERMS if _measured(name, names)}
    for position in range(1, len(names)):
        into = combinations[_TERM_OF[names[position]]]
        into[position - 1] += 1
        into[position] -= 1
    ends = torch.eye(len(names), dtype=vectors.dtype)
    matrix = torch.stack([*combinations.values(), ends[0] - ends[-1], ends[0], ends[-1]])
    rows = matrix.to(vectors.device) @ vectors
    total, applied, truth = len(matrix) - 3, len(matrix) - 2, len(matrix) - 1
    title, objective = _end(pools, targets)
    found = products(vectors.cpu(), [_on_cpu(source) for source in sources], matrix)
    statistics = Statistics(found, title, objective, draws)
    notes = _notes(names, pools, targets)
    _say_rounding(notes, list(combinations), rows, agent.dtype)
    terms = []
    for name in _TERMS:
        note = notes.get(name, "")
        if name not in combinations:
            if name != "closed gates":
                terms.append(_unmeasured(agent, name, note, targets, statistics))
            continue
        c = list(combinations).index(name)
        terms.append(make_term(name, unflatten(agent, rows[c]), statistics, c, total, truth, note))
    return ErrorLedger(
        terms=tuple(terms),
        total=make_term("total", unflatten(agent, rows[total]), statistics, total, total, truth, ""),
        applied=unflatten(agent, vectors[0]),
        truth=unflatten(agent, vectors[-1]),
        truth_name=title,
        truth_norm_squared=statistics.squared_norm(truth),
        cosine=statistics.cosine(applied, truth),
        norm_ratio=statistics.norm_ratio(applied, truth),
        objective=objective,
        states={name: len(pool) for name, pool in pools.items()},
        closed=targets.closed,
        notes=tuple(_remarks(agent, pools, targets)),
    )


def _measured(term: str, names: Sequence[str]) -> bool:
    return any(_TERM_OF.get(name) == term for name in names)


def _on_cpu(source: Source) -> Source:
    return replace(source, sums=source.sums.cpu(), weights=source.weights.cpu())


def _unmeasured(agent: Agent, name: str, note: str, targets: Targets, statistics: Statistics) -> Term:
    if not _is_zero(name, targets):
        return Term(name, note=note)
    zero = {
        key: torch.zeros_like(parameter, dtype=torch.float64) for key, parameter in agent.named_parameters().items()
    }
    none = statistics.nothing()
    return Term(name, zero, none, none, share=none, contribution=none, note=note)


def _is_zero(name: str, targets: Targets) -> bool:
    """Whether a term is not there because nothing changes, rather than for want of a reference."""
    steps = [step for step, term in _TERM_OF.items() if term == name]
    return any(step in targets.same for step in steps) and not any(step in targets.absent for step in steps)


# In words ------------------------------------------------------------------------------------------------------


def _end(pools: dict[str, Pool], targets: Targets) -> tuple[str, str]:
    """What the last waypoint is, and its objective."""
    at = list(pools)[-1].replace("_", "-")
    if not targets.found:
        return f"the estimator's expectation at {at} states", ""
    last = targets.found[-1]
    title = {"critic": "critic's own gradient", "simulator": "simulator"}.get(last.title, last.title)
    return f"{title} at {at} states", str(last.objective)


def _notes(names: Sequence[str], pools: dict[str, Pool], targets: Targets) -> dict[str, str]:
    """For each term: why it is missing and where it went, or why it is zero."""
    absent = dict(targets.absent)
    if "replay" not in pools:
        absent["replay"] = "no replay states; pass replay=, observations of the buffer"
    if "on_policy" not in pools:
        absent["on_policy"] = "no on-policy states; pass on_policy=simulator.visit(agent, ...)"
    order = list(_TERM_OF)
    notes: dict[str, str] = {}
    for step, why in absent.items():
        later = [name for name in names if name in order and order.index(name) > order.index(step)]
        # Without a pool of its own the rest of the chain is at other states, and the difference is in no term.
        moved = not later or step in ("on_policy", "truncation") or (step == "replay" and "on_policy" not in pools)
        where = "it is not part of the total" if moved else f"it is part of {_TERM_OF[later[0]]}"
        _add(notes, _TERM_OF[step], f"{why}; {where}")
    for step, why in targets.same.items():
        if step not in names and _TERM_OF[step] not in notes and not _measured(_TERM_OF[step], names):
            notes[_TERM_OF[step]] = f"none: {why}"
    if targets.closed:
        _add(
            notes,
            "closed gates",
            f"{targets.closed} of {len(targets.open)} states are left out from here on ({'; '.join(targets.reasons)})",
        )
    return notes


def _say_rounding(notes: dict[str, str], terms: Sequence[str], rows: Tensor, dtype: torch.dtype) -> None:
    """Say which terms are the rounding of a model that computes in this type."""
    norms = torch.linalg.vector_norm(rows, dim=1).tolist()
    limit = 16 * torch.finfo(dtype).eps * max(norms)
    for term, norm in zip(terms, norms, strict=False):
        if 0 < norm < limit:
            _add(notes, term, f"no more than rounding: the model computes in {str(dtype).removeprefix('torch.')}")


def _add(notes: dict[str, str], term: str, text: str) -> None:
    notes[term] = f"{notes[term]}; {text}" if term in notes else text


def _remarks(agent: Agent, pools: dict[str, Pool], targets: Targets) -> list[str]:
    remarks = list(targets.notes)
    for name, pool in pools.items():
        if name == "minibatch":
            continue
        label = name.replace("_", "-")
        beyond = 0.0 if pool.last_step is None else agent.discount ** (pool.last_step + 1)
        if beyond > _BEYOND:
            remarks.append(
                f"{label}: no state after step {pool.last_step}; if the task goes on there (a time limit is no end), "
                f"{beyond:.2g} of its discounted weight is not represented"
            )
        if pool.independent < 2:
            remarks.append(f"{label}: all states are of one episode, so nothing tells of their sampling noise")
        if not bool((pool.weights == pool.weights[0]).all()):
            remarks.append(
                f"{label}: weighed and normalised; {len(pool)} states weigh as much as {pool.effective:.1f} equal ones"
            )
    return remarks
