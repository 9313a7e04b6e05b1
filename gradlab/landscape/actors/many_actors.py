"""Several actors and a maximiser: which of them wins, by how much, and how different they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, shown, switch
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.surface import check_critic
from gradlab.landscape.truncated.surrogate_agents import check_actions
from gradlab.landscape.unseen_optima.hill_numbers import effective_number
from gradlab.statistics.state_means import bounded_state_mean, state_mean, state_share


@dataclass(frozen=True)
class SecondOpinion:
    """The winners' advantage by a critic that did not choose them.

    A maximum over noisy values is too high: what the choosing critic claims beyond what an independent one sees is
    the *winner's curse* (H. van Hasselt 2010, *Double Q-learning*, section 2).

    Attributes:
        advantage: mean of Q'(s, μ_M(s)) − Q'(s, ν_0(s)) by the second critic Q', in units of Q.
        curse: mean of the advantage claimed by the choosing critic less that by the second, state by state.
        agreement: share of states where the second critic puts the same actor first.
        worse: share of states where it puts the winner below ν_0.
    """

    advantage: Estimate
    curse: Estimate
    agreement: Estimate
    worse: Estimate


@dataclass(frozen=True)
class SeveralActors:
    """Actors ν_0 … ν_k and the maximiser μ_M(s) = argmax_i Q(s, ν_i(s)) at S states.

    Attributes:
        actions: what the actors propose, [k + 1, S, p], on the box, in the critic's action units.
        values: Q there, [k + 1, S].
        winner: index of the actor that the maximiser picks, [S]; the first of equals.
        gain: Q(s, μ_M(s)) − Q(s, ν_0(s)), [S], in units of Q; never negative.
        distance: mean distance between two actors' actions, [S], as a share of the box's diagonal.
        duplicate: share of pairs of actors nearer than ``radius``, [S].
        radius: distance under which two actions are the same, as a share of the box's diagonal.
        win_share: how often each actor wins, k + 1 estimates.
        advantage: mean of ``gain``. Where every ``gain`` is zero its interval is a point, and the interval of the
            first actor's ``win_share`` says how sure that is.
        diversity: mean of ``distance``; NaN for one actor.
        duplicates: mean of ``duplicate``; NaN for one actor.
        effective: exp of the entropy of the win shares: how many actors share the wins, from 1 to k + 1.
        second: the same choice seen by another critic, if one was given.
    """

    actions: Tensor
    values: Tensor
    winner: Tensor
    gain: Tensor
    distance: Tensor
    duplicate: Tensor
    radius: float
    win_share: tuple[Estimate, ...]
    advantage: Estimate
    diversity: Estimate
    duplicates: Estimate
    effective: Estimate
    second: SecondOpinion | None

    def __repr__(self) -> str:
        wins = ", ".join(f"{share.value:.2f}" for share in self.win_share)
        return f"<SeveralActors: {self.values.shape[1]} states, wins {wins}>"


def several_actors(
    agent: Agent,
    obs: Any,
    actors: Sequence[Callable[..., Tensor]],
    *,
    conditioned: bool = False,
    critic: int | None = None,
    second: int | Callable[[Tensor, Tensor], Tensor] | None = None,
    radius: float = 0.02,
    episode: Any = None,
) -> SeveralActors:
    """Ask several actors at the same states, and let Q choose (SAVO, arXiv 2410.11833, section 4.1).

    Args:
        agent: the agent whose critic chooses; its own actor takes part only where it is among ``actors``.
        obs: observations [S, n].
        actors: ν_0 … ν_k, each observations [S, n] → actions [S, p] in the critic's action units; what lies outside
            the box is moved to it. ``agent.action`` is the agent's own.
        conditioned: whether every actor but the first is called with (obs, actions [S, i, p] of those before it), as
            SAVO's are.
        critic: index of the critic that chooses; the one the actor follows by default.
        second: index of another critic, or a function (obs [S, n], act [S, p]) → values [S], that judges the choice.
        radius: distance under which two actions are duplicates, as a share of the box's diagonal.
        episode: which episode a state is from, [S]; every state is its own when None.

    Returns:
        The choice state by state, and means over the states with intervals over episodes.

    Raises:
        GradlabError: there are no actors, one answers with another shape or with values that are not finite, Q is NaN
            there, or there is no such critic.

    Example:
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: -(act - obs).abs().sum(-1)], [-1.0], [1.0])
        >>> obs = torch.linspace(-1, 1, 9)[:, None]
        >>> several_actors(agent, obs, [lambda obs: 0 * obs - 0.5, lambda obs: 0 * obs + 0.5])
        <SeveralActors: 9 states, wins 0.56, 0.44>
    """
    agent = measured_agent(agent)
    radius = real_number("radius", radius, 0.0)
    check_critic(agent, critic)
    states = agent.observations(obs)
    conditioned = switch("conditioned", conditioned)
    if callable(actors) or (isinstance(actors, (list, tuple)) and not actors):
        raise GradlabError("actors: none; give a list of functions of observations, such as [agent.action, other]")
    if not isinstance(actors, (list, tuple)) or not all(callable(actor) for actor in actors):
        raise GradlabError(f"actors: {shown(actors)}; give a list of functions of observations")
    whole_index = isinstance(second, int) and not isinstance(second, bool)
    if second is not None and not callable(second) and not whole_index:
        raise GradlabError(f"second: {shown(second)}; give the index of a critic, or a function (obs, act) to values")
    actions = _propose(agent, states, actors, conditioned)
    with torch.no_grad():
        values = _finite(agent.q(states, actions, critic=critic), "critic")
    best, winner = values.max(0)
    objective = str(agent.objective)
    said: dict[str, Any] = {"episode": episode, "objective": objective}

    pairs = torch.combinations(torch.arange(len(actions)), 2)
    width = (agent.action_high - agent.action_low) * agent.action_size**0.5
    apart = ((actions[pairs[:, 0]] - actions[pairs[:, 1]]) / width).norm(dim=-1)
    # The mean over no pairs is NaN, which is left out.
    distance, duplicate = apart.mean(0), (apart <= radius).to(apart).mean(0)
    gain = best - values[0]
    return SeveralActors(
        actions=actions,
        values=values,
        winner=winner,
        gain=gain,
        distance=distance,
        duplicate=duplicate,
        radius=radius,
        win_share=tuple(state_share(winner == i, **said) for i in range(len(actions))),
        advantage=state_mean(gain, **said, least=0),
        diversity=bounded_state_mean(distance.clamp(max=1.0), **said, least=0.0, most=1.0),
        duplicates=state_share(duplicate, **said),
        effective=effective_number(winner, len(actions), **said),
        second=None if second is None else _judged(agent, states, actions, winner, gain, second, said),
    )


def _propose(agent: Agent, states: Tensor, actors: Sequence[Callable[..., Tensor]], conditioned: bool) -> Tensor:
    proposed: list[Tensor] = []
    with torch.no_grad():
        for i, actor in enumerate(actors):
            before = (torch.stack(proposed, 1),) if conditioned and i else ()
            answer = in_evaluation(actor)(states, *before)
            if not isinstance(answer, Tensor):
                raise GradlabError(f"actors: actor {i} answered {type(answer).__name__}, not a tensor of actions")
            action = check_actions(f"actors: actor {i}", agent, states, answer[None])[0]
            proposed.append(action.clamp(agent.action_low, agent.action_high))
    return torch.stack(proposed)


def _finite(values: Tensor, name: str) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        bad = (~torch.isfinite(values)).any(0).nonzero().flatten().tolist()
        raise GradlabError(f"{name}: NaN or infinite values in state(s) {bad[:5]}; has it diverged? leave them out")
    return values


def _judged(
    agent: Agent,
    states: Tensor,
    actions: Tensor,
    winner: Tensor,
    gain: Tensor,
    second: int | Callable[[Tensor, Tensor], Tensor],
    said: dict[str, Any],
) -> SecondOpinion:
    with torch.no_grad():
        if isinstance(second, int):
            check_critic(agent, second)
            values = agent.q(states, actions, critic=second)
        else:
            rows = states.expand(len(actions), *states.shape).reshape(-1, states.shape[1])
            values = real_tensor("second", in_evaluation(second)(rows, actions.flatten(0, 1))).detach()
            if values.numel() != actions[..., 0].numel():
                raise GradlabError(
                    f"second: answered {tuple(values.shape)} for {len(rows)} rows; expected one value each"
                )
            values = values.reshape(actions.shape[:2])
    values = _finite(values, "second critic")
    judged = values.gather(0, winner[None])[0] - values[0]
    # The winner of equals is the first one, as for the choosing critic.
    return SecondOpinion(
        advantage=state_mean(judged, **said),
        curse=state_mean(gain - judged.to(gain), **said),
        agreement=state_share(values.argmax(0) == winner, **said),
        worse=state_share(judged < 0, **said),
    )


def random_spacing(size: int) -> float:
    """Mean distance of two uniform actions on a box of p coordinates, as a share of its diagonal; for ``diversity``.

    Two actions in one coordinate are 1/3 apart; in many coordinates √(1/6) of the diagonal. In between by quadrature
    of E√x = (1/2√π) ∫ (1 − E e^{−tx}) t^{−3/2} dt, x the mean of p squared differences.

    Raises:
        GradlabError: ``size`` is below one.

    Example:
        >>> round(random_spacing(1), 6), round(random_spacing(2) * 2**0.5, 6)
        (0.333333, 0.521405)
    """
    if size < 1:
        raise GradlabError(f"size: {size}; an action has at least one coordinate")
    # Substituting t = u² makes the integrand smooth; E e^{−u²d²} of one difference d is in closed form.
    u = torch.logspace(-4, 4, 200_001, dtype=torch.float64)
    one = math.sqrt(math.pi) * torch.erf(u) / u + torch.expm1(-u.square()) / u.square()
    small = u < 1e-2
    one = torch.where(small, 1 - u.square() / 6 + u.pow(4) / 30, one)
    inside = torch.trapezoid((1 - one**size) / u.square(), u) + float(size / 6 * u[0]) + 1 / float(u[-1])
    return float(inside / math.sqrt(math.pi * size))
