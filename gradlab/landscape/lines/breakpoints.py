"""Where a piecewise-linear critic bends along a segment of actions: exactly, layer by layer.

Between two neighbouring breakpoints of the layers below, what a linear layer of a ReLU network gives is linear in the
action, so that a unit switches where the straight line between its values at the two changes sign. Taking the layers
in the order in which the network calls them therefore finds every breakpoint (Hanin and Rolnick, "Complexity of linear
regions in deep networks", ICML 2019, count regions on a line that way). The values are the network's own, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError

#: Rows a critic is evaluated on at a time; float64 activations of a 256-wide layer then stay near 16 MB.
_ROWS = 8_192
#: Where in a piece its straightness is checked; off the middle, so that a bend there is no blind spot.
_INSIDE = (0.38196601125, 0.8090169943749)

#: Of points at all states [S, K] in shares of the segment: numbers whose zeros are breakpoints, [S, K, H].
Switches = Callable[[Tensor], Tensor]


def segment_breakpoints(
    agent: Agent, obs: Tensor, start: Tensor, end: Tensor, critic: int | None = None
) -> tuple[Tensor, Tensor]:
    """All points where Q(s, start + t (end − start)) bends for t from 0 to 1, and Q there.

    Exact up to float64's rounding for networks whose only bends are where outputs of ``nn.Linear`` layers are zero
    (ReLU, leaky ReLU; skip connections do not matter), and for the least of several such critics. Held against the
    critic at two points inside each piece, so that a critic of another kind is refused and not answered wrongly.

    Args:
        agent: the agent; its critic is measured in a float64 copy.
        obs: observations [S, n].
        start: one end of each segment, [S, p], in the critic's action units.
        end: the other, [S, p].
        critic: index of one critic instead of the one that the actor follows.

    Returns:
        Shares t [S, K] and values [S, K], float64; t ascends from 0 to 1, and states with fewer bends than others
        repeat t = 1.

    Raises:
        GradlabError: Q is not piecewise linear with bends at its linear layers' zeros, or not finite.

    Example:
        >>> class Tent(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(1, 2)
        ...         self.layer.weight.data, self.layer.bias.data = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
        ...     def forward(self, obs, act):
        ...         return 1 - self.layer(act).relu().sum(-1)  # 1 − |a|
        >>> agent = Agent(nn.Linear(3, 1), [Tent()], [-1.0], [3.0])
        >>> share, value = segment_breakpoints(agent, torch.zeros(1, 3), torch.tensor([[-1.0]]), torch.tensor([[3.0]]))
        >>> share.tolist(), value.tolist()  # the two units switch at one place
        ([[0.0, 0.25, 0.25, 1.0]], [[0.0, 1.0, 1.0, -2.0]])
    """
    double = agent.snapshot(double=True)
    states, low, high = obs.double(), start.double(), end.double()
    share = torch.tensor([0.0, 1.0], dtype=torch.float64, device=states.device).expand(len(states), 2).clone()

    def actions(at: Tensor) -> Tensor:
        return low + at.mT[..., None] * (high - low)

    def value(at: Tensor) -> Tensor:
        with torch.no_grad():
            return double.q(states, actions(at), critic=critic).mT

    calls = len(_layer_outputs(double, states[:1], actions(share)[:, :1], critic))
    for call in range(calls):

        def units(at: Tensor, call: int = call) -> Tensor:
            rows = max(1, _ROWS // at.shape[1])
            blocks = zip(states.split(rows), actions(at).split(rows, 1), strict=True)
            parts = [_layer_outputs(double, s, a, critic)[call].reshape(*a.shape[:2], -1) for s, a in blocks]
            return torch.cat(parts, 1).transpose(0, 1)

        share = _with_zeros(share, units)
    if critic is None and double.reduction == "min" and len(double.critics) > 1:
        share = _with_zeros(share, lambda at: _differences(double, states, actions(at)))
    found = value(share)
    _check_straight(share, found, value)
    return share, found


def _layer_outputs(agent: Agent, obs: Tensor, act: Tensor, critic: int | None) -> list[Tensor]:
    """What each call of a linear layer gives, in order of the calls: [K·S, H] each, for act [K, S, p]."""
    outputs: list[Tensor] = []
    with torch.no_grad(), _watched(agent, outputs):
        agent.q(obs, act, critic=critic)
    return outputs


@contextmanager
def _watched(agent: Agent, outputs: list[Tensor]) -> Iterator[None]:
    """Note the outputs of the critics' linear layers; the agent is a copy of our own, so that hooks do no harm."""

    def note(_layer: nn.Module, _args: object, output: Tensor) -> None:
        # A copy, because an activation may work in place.
        outputs.append(output.clone())

    owners = [getattr(critic, "__self__", critic) for critic in agent.critics]
    layers = {layer for owner in owners if isinstance(owner, nn.Module) for layer in owner.modules()}
    handles = [layer.register_forward_hook(note) for layer in layers if isinstance(layer, nn.Linear)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _differences(agent: Agent, obs: Tensor, act: Tensor) -> Tensor:
    """Of every two critics, [S, K, pairs], for act [K, S, p]: where one becomes the lowest, the lowest bends."""
    with torch.no_grad():
        values = agent.q_all(obs, act)
    return torch.stack([(values[i] - values[j]).mT for i, j in combinations(range(len(values)), 2)], -1)


def _with_zeros(share: Tensor, switches: Switches) -> Tensor:
    """``share`` [S, K] with all the points added where one of ``switches``, linear on every piece, changes sign."""
    at = switches(share)
    left, right = at[:, :-1], at[:, 1:]
    state, piece, unit = ((left < 0) & (right > 0) | (left > 0) & (right < 0)).nonzero(as_tuple=True)
    if len(state) == 0:
        return share
    a, b = left[state, piece, unit], right[state, piece, unit]
    t, following = share[state, piece], share[state, piece + 1]
    counts = torch.bincount(state, minlength=len(share))
    place = torch.arange(len(state), device=state.device) - (counts.cumsum(0) - counts)[state]
    added = share.new_ones(len(share), int(counts.max()))
    added[state, place] = t + (following - t) * (a / (a - b))
    return torch.cat([share, added], 1).sort(-1).values


def _check_straight(share: Tensor, value: Tensor, q: Callable[[Tensor], Tensor]) -> None:
    finite = torch.isfinite(value).all(-1)
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten().tolist()
        raise GradlabError(f"critic: NaN or infinite values in state(s) {bad[:5]}; has it diverged? leave them out")
    span = value.amax(-1) - value.amin(-1)
    allowed = 1e-9 * span + 1024 * torch.finfo(value.dtype).eps * value.abs().amax(-1)
    for part in _INSIDE:
        between = share[:, :-1] + part * (share[:, 1:] - share[:, :-1])
        straight = value[:, :-1] + part * (value[:, 1:] - value[:, :-1])
        if bool(((q(between) - straight).abs().amax(-1) > allowed).any()):
            raise GradlabError(
                "critic: bends elsewhere than where its linear layers give zero; breakpoints are exact for ReLU and "
                "leaky ReLU networks only; use local_optima"
            )
