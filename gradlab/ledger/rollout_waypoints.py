"""The waypoints of a rollout's ledger: gradients of the same trajectories, each with one thing less done to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.trajectory.score import scores_at
from gradlab.ledger.moments import Source
from gradlab.ledger.pools import UNITS, unit_gradients
from gradlab.on_policy_terms import entropy_cotangent, has_entropy, shares_parameters, value_pull
from gradlab.rollout import Rollout
from gradlab.rollout_advantages import (
    can_be_made_anew,
    generalized_advantages,
    normalisation,
    parity,
    with_raw_advantages,
)

#: Largest relative difference of the advantages made anew that is still rounding of float32.
_ROUNDING = 1e-5
#: Share of the discounted weight that may lie at steps not seen without a word, and at most.
_BEYOND, _UNSEEN = 0.01, 0.2


@dataclass
class Waypoints:
    """Gradients Σ_t J_tᵀ v_t / Σ_t w_t of one rollout, from what is applied on; each is named for what it is rid of.

    Args:
        agent: a float64 snapshot of the agent that acted.
        rollout: its rollout.
        true_bootstrap: [R], what belongs in the place of the rollout's bootstrap; None where that is not known.

    Attributes:
        shift: m of the normalised advantage Â = (A − m)/s.
        scale: s, which all gradients are multiplied by.
        cotangents: v_t by waypoint, [N, m], in order.
        weights: w_t likewise, [N].
        same: term → why it is zero.
        absent: term → why it is not measured.
        notes: what a person should know.
    """

    agent: Agent
    rollout: Rollout
    true_bootstrap: Tensor | None = None
    cotangents: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rollout = with_raw_advantages(self.rollout)
        self.shift, self.scale = normalisation(self.rollout)
        self._scores, _ = scores_at(self.agent, self.rollout.obs, self.rollout.act)
        self._losses()
        self._normalisation()
        lack = can_be_made_anew(self.rollout)
        if lack:
            for term in ("GAE bias", "bootstrap", "state distribution"):
                self.absent[term] = f"the rollout does not hold its {lack}"
            return
        self._states(self._returns())

    def _add(self, name: str, advantage: Tensor, weights: Tensor | None = None, extra: Tensor | float = 0.0) -> None:
        weights = torch.ones_like(self._scores[:, 0]) if weights is None else weights.to(self._scores)
        self.cotangents[name] = self._scores * (weights * advantage.to(weights))[:, None] + extra
        self.weights[name] = weights

    def _losses(self) -> None:
        """What is applied, and the policy's own part of it."""
        loss, used = self.rollout.loss, self.scale * self.rollout.advantage.double()
        bonus, pulled = loss is not None and loss.entropy != 0, loss is not None and loss.value != 0
        if loss is None:
            self.absent |= dict.fromkeys(("entropy bonus", "value loss"), "the rollout does not hold its loss")
        elif not bonus:
            self.same["entropy bonus"] = "its coefficient is 0"
        elif not has_entropy(self.agent):
            self.absent["entropy bonus"] = (
                "the entropy of this policy has no closed form, and is not in what is applied"
            )
            bonus = False
        extra: Tensor | float = 0.0
        if loss is not None and bonus:
            extra = self.scale * loss.entropy * entropy_cotangent(self.agent, self.rollout.obs)
        self._add("applied", used, extra=extra)
        if bonus:
            self._add("entropy bonus", used)
        if pulled and shares_parameters(self.agent, self.rollout.obs):
            # No cotangent at the head: ``source`` adds the pull to what comes before.
            self._add("value loss", used)
        elif loss is not None:
            self.same["value loss"] = "the actor shares no parameter with V" if pulled else "its coefficient is 0"

    def _normalisation(self) -> None:
        """The advantages before they are normalised: made anew where that gives the algorithm's own."""
        raw, lack = self.rollout.raw_advantage, can_be_made_anew(self.rollout)
        self._before = self.rollout.advantage.double() if raw is None else raw.double()
        if not lack:
            gap = parity(replace(self.rollout, raw_advantage=self._before))
            if gap > _ROUNDING:
                self.notes.append(
                    f"the advantages made anew from rewards and V are off by {gap:.1e} from those used; the GAE bias "
                    "holds the difference"
                )
            else:
                self._before = generalized_advantages(self.rollout)
        if raw is None:
            self.absent["advantage shift"] = (
                "the rollout does not hold its raw_advantage, and none can be made that fits"
            )
        elif (self.shift, self.scale) == (0.0, 1.0):
            self.same["advantage shift"] = "advantages are not normalised"
        else:
            self._add("advantage shift", self._before)

    def _returns(self) -> Tensor:
        """The advantages with λ = 1, and true tails where they are given."""
        rollout = self.rollout
        assert rollout.bootstrap is not None
        assert rollout.loss is not None
        best = generalized_advantages(rollout, 1.0)
        if rollout.loss.gae_lambda == 1 and torch.equal(best, self._before):
            self.same["GAE bias"] = "λ is 1"
        else:
            self._add("GAE bias", best)
        cut = int((rollout.bootstrap != 0).sum())
        if self.true_bootstrap is not None:
            best = generalized_advantages(rollout, 1.0, self.true_bootstrap)
            self._add("bootstrap", best)
        elif cut:
            self.absent["bootstrap"] = f"V stands for what follows {cut} trajectories; pass true_bootstrap="
        else:
            self.same["bootstrap"] = "no trajectory is known to be cut off"
        return best

    def _states(self, advantage: Tensor) -> None:
        """The discounted distribution of states."""
        rollout = self.rollout
        assert rollout.loss is not None
        discount = rollout.loss.discount
        if discount == 1:
            self.same["state distribution"] = "γ is 1"
            return
        if rollout.age is None:
            self.absent["state distribution"] = "the rollout does not hold its age"
            return
        known = rollout.age >= 0
        begun = int(rollout.trajectory[known].unique().numel())
        if begun < 2:
            self.absent["state distribution"] = f"trajectories that begin in the rollout: {begun}; two are needed"
            return
        unseen = _unseen(rollout, known, discount)
        if unseen > _UNSEEN:
            self.absent["state distribution"] = (
                f"{unseen:.0%} of the discounted weight lies at steps of episodes that the rollout has none of; longer "
                "rollouts, or environments that are not in step with each other, have them"
            )
            return
        self._add("state distribution", advantage, discount ** rollout.age.clamp(min=0).double() * known)
        if begun < rollout.count:
            self.notes.append(
                f"state distribution: {rollout.count - begun} of {rollout.count} trajectories began before the "
                "rollout, so that their weights γᵗ are unknown; they are left out of its last gradient"
            )
        if unseen > _BEYOND:
            self.notes.append(
                f"state distribution: {unseen:.2g} of the discounted weight lies at steps of episodes that the rollout "
                "has none of"
            )

    def source(self) -> Source:
        """The waypoints as sums over units of whole trajectories, at most ``UNITS`` of them.

        The mean m that is subtracted from all advantages is a mean over trajectories itself: −m Σ_t J_tᵀ∇_h log π is a
        product of two means, and a trajectory has a say in both.
        """
        agent, rollout, names = self.agent, self.rollout, list(self.cotangents)
        # Neighbours go to different units, so that units are alike.
        unit = rollout.trajectory % min(UNITS, rollout.count)
        stacked = torch.stack([*self.cotangents.values(), self._scores])
        obs = agent.observations(rollout.obs)
        sums = unit_gradients(agent, obs, stacked, unit.to(obs.device)).double()
        if self.shift:
            centred = self._before.to(sums) - self._before.mean()
            influence = sums.new_zeros(len(sums)).index_add_(0, unit.to(sums.device), centred)
            for i in range(names.index("advantage shift")):
                sums[:, i] -= influence[:, None] * sums[:, -1].sum(0) / len(rollout)
        if "value loss" in names:
            members = [unit == one for one in range(len(sums))]
            pull = torch.stack([value_pull(agent, rollout, rows) * int(rows.sum()) for rows in members])
            for i in range(names.index("value loss")):
                sums[:, i] += self.scale * pull
        weights = torch.stack(list(self.weights.values()), dim=1).double().cpu()
        masses = weights.new_zeros(len(sums), len(names)).index_add_(0, unit.cpu(), weights)
        return Source(sums[:, :-1].cpu(), masses, tuple(range(len(names))), "trajectories")


def _unseen(rollout: Rollout, known: Tensor, discount: float) -> float:
    """Share of Σ_t γᵗ at steps t of an episode that no trajectory is at, though none is known to have ended by then."""
    assert rollout.age is not None
    assert rollout.bootstrap is not None
    age = rollout.age[known]
    there = torch.bincount(age) > 0
    missing = (1 - discount) * float((discount ** torch.arange(len(there)).double())[~there.cpu()].sum())
    last = rollout.lengths.cumsum(0) - 1
    cut = (rollout.bootstrap.to(last.device) != 0) & (rollout.age[last] == int(age.max()))
    return missing + (discount ** len(there) if bool(cut.any()) else 0.0)
