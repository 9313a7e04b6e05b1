"""The states that the ledger's gradients are taken at, their weights, and what is independent among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.ledger.moments import Source
from gradlab.products import HeadModule, check_draws, parameter_gradient
from gradlab.simulation.states import States

#: Most independent units that a pool is divided into; more states or episodes are put together.
UNITS = 64
#: States whose products are taken at a time.
_STATES = 4096


@dataclass(frozen=True)
class Pool:
    """B states with weights, in independent units.

    Attributes:
        name: what they are, for people ("replay").
        obs: [B, n], in the agent's dtype.
        given: what the caller gave: the states themselves where they can be gone on from, or ``obs``.
        weights: [B], float64, not negative.
        unit: which unit a state belongs to, [B], 0 … n−1.
        units: what the units are, for people ("episodes", "states").
        independent: how many independent episodes or states there are.
        last_step: the last step t at which a state was visited, where weights are γᵗ; None elsewhere.
    """

    name: str
    obs: Tensor
    given: States | Tensor
    weights: Tensor
    unit: Tensor
    units: str
    independent: int
    last_step: int | None = None

    def __len__(self) -> int:
        return len(self.obs)

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.unit.max()) + 1

    @property
    def effective(self) -> float:
        """How many equally weighted states weigh as much: (Σw)²/Σw² (L. Kish 1965)."""
        return float(self.weights.sum() ** 2 / self.weights.square().sum())

    def mean(self, agent: Agent, v: Tensor, weights: Tensor | None = None) -> Tensor:
        """The gradients Σ_i w_i J_iᵀ v_i / Σ_i w_i of cotangents [k, B, m], [k, P], in the model's dtype."""
        weights = self.weights if weights is None else weights
        scale = len(self) * weights / weights.sum(-1, keepdim=True)
        return flat_gradients(agent, self.obs, v * scale.to(v)[..., None])

    def source(self, agent: Agent, v: Tensor, weights: Tensor, waypoints: tuple[int, ...]) -> Source:
        """The units' own sums Σ_i w_i J_iᵀ v_i, for cotangents [k, B, m] and weights [k, B]."""
        masses = torch.stack([weights[:, self.unit == unit].sum(-1) for unit in range(self.count)])
        weighted = v * weights.to(v)[..., None]
        return Source(unit_gradients(agent, self.obs, weighted, self.unit), masses, waypoints, self.units)


def flat_gradients(agent: Agent, obs: Tensor, v: Tensor) -> Tensor:
    """(1/B) Σ_i J_iᵀ v_i of cotangents [k, B, m] as rows [k, P], parameters in the agent's order."""
    gradients = parameter_gradient(agent, obs, v)
    return torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)


def unit_gradients(agent: Agent, obs: Tensor, v: Tensor, unit: Tensor) -> Tensor:
    """Σ_i J_iᵀ v_i over the states of each unit, [units, k, P], for cotangents [k, B, m] and units [B].

    All units in one mapped product, which small actors are done with several times sooner; one product each where the
    head cannot be mapped (control flow on values, unsupported operations).

    Raises:
        GradlabError: a cotangent is NaN or infinite (counted and located).
    """
    check_draws(v, len(obs), v.shape[-1])
    sizes = torch.bincount(unit)
    order = unit.argsort(stable=True)
    # Units of fewer states are filled up with a state whose cotangent is zero.
    filled = torch.arange(int(sizes.max()), device=unit.device) < sizes[:, None]
    states = torch.zeros_like(filled, dtype=torch.long).masked_scatter(filled, order)
    cotangents = (v[:, states] * filled.to(v)[..., None]).transpose(0, 1)
    head, named = HeadModule(agent), agent.named_parameters()
    parameters = {f"actor.{name}": parameter.detach() for name, parameter in named.items()}

    def of_one(own: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        pull = vjp(lambda swapped: functional_call(head, swapped, (own,)), parameters)[1]
        gradients = vmap(lambda draw: pull(draw)[0])(draws)
        return tuple(gradients[name] for name in parameters)

    try:
        parts = vmap(of_one, chunk_size=max(1, _STATES // states.shape[1]))(obs[states], cotangents)
    except RuntimeError:
        own = [unit == i for i in range(len(sizes))]
        return torch.stack([flat_gradients(agent, obs[at], v[:, at] * int(at.sum())) for at in own])
    return torch.cat([part.detach().flatten(2) for part in parts], dim=2)


def make_pool(agent: Agent, name: str, given: Any, weights: Any = None) -> Pool:
    """A pool of the states given; a ``States`` is weighed by γᵗ where it is called on-policy and no weights are given.

    Raises:
        GradlabError: the observations do not fit, or the weights are not one number a state, none negative.
    """
    held = given if isinstance(given, States) else None
    obs = agent.observations(given.obs if isinstance(given, States) else given)
    last_step = None
    if weights is None:
        weights = torch.ones(len(obs))
        if held is not None and name == "on_policy":
            weights, last_step = agent.discount ** held.step.double(), int(held.step.max())
    weights = torch.as_tensor(weights).to(device=obs.device, dtype=torch.float64)
    if weights.shape != (len(obs),) or not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise GradlabError(
            f"{name} weights: shape {tuple(weights.shape)} for {len(obs)} states; "
            "give one finite number a state, none negative"
        )
    if not float(weights.sum()) > 0:
        raise GradlabError(f"{name} weights: all are zero; at least one state must count")
    labels = torch.arange(len(obs)) if held is None else held.episode.unique(return_inverse=True)[1]
    independent = int(labels.max()) + 1
    # Neighbours go to different units, so that units are alike.
    return Pool(
        name,
        obs,
        obs if held is None else held,
        weights,
        (labels % min(UNITS, independent)).to(obs.device),
        "states" if held is None else "episodes",
        independent,
        last_step,
    )


def minibatch_of(agent: Agent, minibatch: Any, replay: Any) -> tuple[Pool, Any, str]:
    """The minibatch, the replay states that are left, and a note where the two may not be independent.

    Given as positions in ``replay`` the minibatch's states are taken out of the pool, which leaves two
    independent samples of the same buffer.

    Raises:
        GradlabError: the positions do not fit, or leave fewer than two states of the pool.
    """
    positions = minibatch if isinstance(minibatch, Tensor) and _are_positions(minibatch) else None
    if positions is None:
        pool = make_pool(agent, "minibatch", minibatch)
        return pool, replay, "" if replay is None else _overlap(agent, pool, replay)
    if replay is None:
        raise GradlabError(
            "minibatch: given as positions, but there is no replay pool; pass replay=..., or observations"
        )
    size = len(replay.obs if isinstance(replay, States) else replay)
    if len(positions) == 0 or int(positions.min()) < 0 or int(positions.max()) >= size:
        raise GradlabError(f"minibatch: positions must be some of 0 … {size - 1}, the states of the replay pool")
    rest = torch.ones(size, dtype=torch.bool)
    rest[positions.cpu()] = False
    if int(rest.sum()) < 2:
        raise GradlabError("replay: fewer than two states are not in the minibatch; pass a larger pool")
    if isinstance(replay, States):
        return make_pool(agent, "minibatch", replay[positions.cpu()]), replay[rest], ""
    obs = agent.observations(replay)
    rest = rest.to(obs.device)
    return make_pool(agent, "minibatch", obs[positions.to(obs.device)]), obs[rest], ""


def _are_positions(value: Tensor) -> bool:
    return value.ndim == 1 and not value.is_floating_point() and value.dtype != torch.bool


def _overlap(agent: Agent, minibatch: Pool, replay: Any) -> str:
    obs = agent.observations(replay.obs if isinstance(replay, States) else replay)
    both = torch.cat([minibatch.obs, obs]).unique(dim=0, return_inverse=True)[1]
    shared = int(torch.isin(both[: len(minibatch)], both[len(minibatch) :]).sum())
    if shared == 0:
        return ""
    return (
        f"{shared} of the minibatch's {len(minibatch)} observations are in the replay pool too; if these are the same "
        "states, pass the minibatch as positions in replay, so that the two are independent samples"
    )
