"""What second derivatives of Q say at every state: M, μ, their ratio, spectra and directions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_tensor
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.hessians.at_actions import SecondDerivatives
from gradlab.statistics.medians import median, share

NO_MATRICES = (
    "sensitivity: of so many actions no matrices are formed; pass matrices=True to form them, or use "
    "gradlab.hessians.hessian_products"
)


@dataclass(frozen=True)
class Sensitivity:
    """Curvature of Q per state; everything float64.

    Attributes:
        mixed_partial: M = ‖∇²_as Q‖₂, the largest singular value, [B]; NaN where it was refused.
        mixed_frobenius: ‖∇²_as Q‖_F, [B]; NaN of many actions.
        curvature: μ = −λ_max(∇²_aa Q), [B]; positive where Q has a strict maximum's shape in every action direction.
        ratio: M/μ, [B]; NaN where the action Hessian is not negative definite, for there it bounds nothing.
        condition: λ_min/λ_max of ∇²_aa Q, [B], at least 1; NaN where it is not negative definite.
        policy_jacobian: ‖∂π/∂s‖₂ of the actor, [B]; exact at any scale. NaN where there is no ``jacobian``.
        valid: whether ∇²_aa Q is negative definite, [B], bool.
        interior: whether the action is farther from every face of the box than the scale, so that no evaluation left
            the box; farther than 10⁻³ of the width when exact. [B], bool.
        eigenvalues: of ∇²_aa Q, ascending, [B, p]; of many actions the lowest and the highest alone, [B, 2].
        action_hessian: ∇²_aa Q, [B, p, p]; None of many actions, whose matrices are never formed.
        mixed_hessian: ∇²_as Q, [B, p, n]; None where it was refused, and of many actions.
        jacobian: ∂π/∂s, [B, p, n]; None of images, and of an actor whose features are computed without gradients.
        actions: where it was measured, in the critic's units, [B, p].
        scale: the length δ at which second derivatives were taken, in the critic's action units; None when exact.
        at: what the actions are: ``actor``, ``optimum`` or ``given actions``.
        critic: which critic: ``followed`` or ``critic i``.
        coordinates: what units observations and actions are in, in words.
        refused: why there is no ∂/∂s, in a line; empty where there is.
    """

    mixed_partial: Tensor
    mixed_frobenius: Tensor
    curvature: Tensor
    ratio: Tensor
    condition: Tensor
    policy_jacobian: Tensor
    valid: Tensor
    interior: Tensor
    eigenvalues: Tensor
    action_hessian: Tensor | None
    mixed_hessian: Tensor | None
    jacobian: Tensor | None
    actions: Tensor
    scale: float | None
    at: str = "actor"
    critic: str = "followed"
    coordinates: str = "the critic's actions, observations as the agent takes them"
    refused: str = ""

    @property
    def valid_share(self) -> Estimate:
        """Share of states with a negative definite action Hessian."""
        return share(self.valid)

    @property
    def interior_share(self) -> Estimate:
        """Share of states whose action is not saturated."""
        return share(self.interior)

    def directions(self) -> tuple[Tensor, Tensor]:
        """The unit vectors along which ∇_a Q moves most with the state: in the action [B, p] and in the state [B, n].

        The first singular vectors of ∇²_as Q; their sign makes the state's largest component positive.

        Raises:
            GradlabError: ∂/∂s was refused, or no matrices were formed.
        """
        left, _, right = torch.linalg.svd(self.matrices()[1], full_matrices=False)
        state, action = right[:, 0], left[..., 0]
        largest = state.gather(1, state.abs().argmax(-1, keepdim=True))
        sign = torch.where(largest < 0, -1.0, 1.0).to(state)
        return action * sign, state * sign

    def in_units(self, obs: Any = None, act: Any = None, *, name: str) -> Sensitivity:
        """The same curvature with observations and actions in other units.

        With s = u_s ∘ z and a = u_a ∘ b, ∂²Q/∂b∂z = u_a ∂²Q/∂a∂s u_sᵀ, ∂²Q/∂b² = u_a ∂²Q/∂a² u_aᵀ, and ∂π_b/∂z =
        ∂π/∂s ∘ u_s / u_a. M, μ and their ratio are not the same in all units, and neither is "most sensitive": say
        which. Raw observations of an agent that takes (s − mean)/std have u_s = 1/std; one standard deviation of each
        feature as its unit has u_s = obs.std(0), where a feature that does not vary has no part.

        Args:
            obs: u_s, how many of the agent's units one new unit of each feature is, [n], not negative; 1 if None.
            act: u_a likewise of the actions, [p], above zero.
            name: what the new coordinates are, in words.

        Raises:
            GradlabError: a shape does not fit, or a unit is negative, zero (of actions) or not finite.

        Example:
            >>> from gradlab.agent import Agent
            >>> from gradlab.curvature import sensitivity
            >>> q = lambda obs, act: (obs * act).sum(-1) - act.square().sum(-1)
            >>> found = sensitivity(Agent(torch.nn.Linear(1, 1), [q], [-9.0], [9.0]), torch.zeros(1, 1))
            >>> found.ratio.item(), found.in_units(obs=[10.0], name="millimetres").ratio.item()
            (0.5, 5.0)
        """
        hessian, mixed, jacobian = self.action_hessian, self.mixed_hessian, self.jacobian
        if hessian is None:
            raise GradlabError(NO_MATRICES)
        p = hessian.shape[-1]
        u_a = _units("act", act, p, hessian)
        if not bool((u_a > 0).all()):
            raise GradlabError("act: a unit of zero; give a positive length for each action coordinate")
        hessian = u_a[:, None] * hessian * u_a
        if mixed is not None:
            mixed = u_a[:, None] * mixed * _units("obs", obs, mixed.shape[-1], hessian)
        if jacobian is not None:
            jacobian = jacobian * _units("obs", obs, jacobian.shape[-1], hessian) / u_a[:, None]
        found = of_derivatives(
            SecondDerivatives(hessian, mixed, self.refused), jacobian, self.actions, self.interior, scale=self.scale
        )
        return replace(found, at=self.at, critic=self.critic, coordinates=name)

    def summary(self, seed: int = 0) -> dict[str, Estimate]:
        """Medians over states with bootstrap standard errors, and shares of states.

        Args:
            seed: of the bootstrap's own generator.

        Returns:
            ``mixed_partial``, ``mixed_frobenius``, ``curvature`` and ``policy_jacobian`` over all states; ``ratio`` and
            ``condition`` over the valid ones; ``ratio_interior`` and ``ratio_saturated`` over those of them whose
            action is, and is not, inside the box; ``valid_share``, ``valid_share_interior``, ``valid_share_saturated``
            and ``interior_share``. Where ∂/∂s was refused, what needs it is left out.
        """
        inside, valid = self.interior, self.valid
        medians = {
            "mixed_partial": self.mixed_partial,
            "mixed_frobenius": self.mixed_frobenius,
            "curvature": self.curvature,
            "ratio": self.ratio[valid],
            "ratio_interior": self.ratio[valid & inside],
            "ratio_saturated": self.ratio[valid & ~inside],
            "condition": self.condition[valid],
            "policy_jacobian": self.policy_jacobian,
        }
        needs_state = {"mixed_partial", "mixed_frobenius", "ratio", "ratio_interior", "ratio_saturated"}
        if self.refused:
            medians = {name: values for name, values in medians.items() if name not in needs_state}
        if self.jacobian is None:
            del medians["policy_jacobian"]
        found = {name: median(values, seed) for name, values in medians.items()}
        shares = {
            "valid_share": valid,
            "valid_share_interior": valid[inside],
            "valid_share_saturated": valid[~inside],
            "interior_share": inside,
        }
        return {**found, **{name: share(mask) for name, mask in shares.items()}}

    def matrices(self) -> tuple[Tensor, Tensor]:
        """∇²_aa Q [B, p, p] and ∇²_as Q [B, p, n].

        Raises:
            GradlabError: there are none: ∂/∂s was refused, or there are too many actions.
        """
        if self.refused:
            raise GradlabError(f"there is no ∂/∂s: {self.refused}")
        if self.action_hessian is None or self.mixed_hessian is None:
            raise GradlabError(NO_MATRICES)
        return self.action_hessian, self.mixed_hessian


def of_derivatives(
    found: SecondDerivatives,
    jacobian: Tensor | None,
    actions: Tensor,
    interior: Tensor,
    *,
    scale: float | None,
    at: str = "actor",
    critic: str = "followed",
) -> Sensitivity:
    """``Sensitivity`` out of second derivatives [B, p, p] and [B, p, n] and the actor's Jacobian [B, p, n]."""
    # Rounding of the derivatives, in their own dtype, must not make a flat direction a curved one.
    rounding = 64 * torch.finfo(found.action.dtype).eps
    hessian = found.action.double()
    mixed = None if found.mixed is None else found.mixed.double()
    nothing = torch.full((len(hessian),), math.nan, dtype=torch.float64, device=hessian.device)
    shape = {"actions": actions.double(), "interior": interior, "scale": scale, "at": at, "critic": critic}
    return of_spectra(
        torch.linalg.eigvalsh(hessian),
        nothing if mixed is None else spectral_norm(mixed),
        rounding,
        jacobian,
        mixed_frobenius=nothing if mixed is None else torch.linalg.matrix_norm(mixed),
        action_hessian=hessian,
        mixed_hessian=mixed,
        refused=found.refused,
        **shape,
    )


def of_spectra(
    eigenvalues: Tensor, mixed_partial: Tensor, rounding: Tensor | float, jacobian: Tensor | None, **rest: Any
) -> Sensitivity:
    """``Sensitivity`` out of eigenvalues of ∇²_aa Q, ascending [B, k], M [B], and the actor's Jacobian.

    Args:
        eigenvalues: all of them, or the lowest and the highest.
        mixed_partial: M.
        rounding: error of the highest eigenvalue, relative to the largest in size; a number or [B].
        jacobian: ∂π/∂s [B, p, n], or None.
        rest: the other attributes.
    """
    least, largest = eigenvalues[:, 0], eigenvalues[:, -1]
    valid = largest < -rounding * eigenvalues.abs().amax(-1)
    nothing = torch.full_like(largest, math.nan)
    exact_jacobian = None if jacobian is None else jacobian.double()
    return Sensitivity(
        mixed_partial=mixed_partial,
        curvature=0.0 - largest,  # never −0
        ratio=torch.where(valid, mixed_partial / -largest, nothing),
        condition=torch.where(valid, least / largest, nothing),
        policy_jacobian=nothing if exact_jacobian is None else spectral_norm(exact_jacobian),
        valid=valid,
        eigenvalues=eigenvalues,
        jacobian=exact_jacobian,
        **rest,
    )


def spectral_norm(matrix: Tensor) -> Tensor:
    """The largest singular value of matrices [B, p, n], [B], by the smaller of their two Gram matrices.

    Squaring costs no digits of the largest value, and takes a third of the time of a singular value decomposition.

    Example:
        >>> spectral_norm(torch.diag(torch.tensor([3.0, 4.0]))[None])
        tensor([4.])
    """
    if matrix.shape[-1] == 0 or matrix.shape[-2] == 0:
        return matrix.new_zeros(len(matrix))
    # Squares would leave the range of numbers, were the largest entry not brought to one first.
    size = matrix.abs().amax((-2, -1)).clamp_min(torch.finfo(matrix.dtype).tiny)
    matrix = matrix / size[:, None, None]
    gram = matrix @ matrix.mT if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT @ matrix
    norm: Tensor = torch.linalg.eigvalsh(gram)[:, -1].clamp_min(0).sqrt() * size
    return norm


def _units(name: str, given: Any, count: int, like: Tensor) -> Tensor:
    if given is None:
        return torch.ones(count).to(like)
    units = real_tensor(name, given).detach().to(like)
    # NaN must fail too.
    if units.shape != (count,) or not bool(((units >= 0) & torch.isfinite(units)).all()):
        raise GradlabError(f"{name}: shape {tuple(units.shape)}, negative or NaN; give a length for each of {count}")
    return units
