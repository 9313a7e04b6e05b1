"""An estimator against a reference: bias, variance, mean squared error, direction, scale and signal-to-noise.

All in parameter space, at fixed states, for one minibatch gradient g_d = (1/B) Σ_i J_iᵀ v_di. Inner products of
gradients are inner products of cotangents under the tangent kernel, g_d·g_e = v_dᵀ K v_e / B², so no parameter
gradient is ever formed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.inference.confidence import ReferenceNoise
from gradlab.inference.gram import GradientError, assemble, error_from_gram
from gradlab.inference.inner_products import PAIRS, Products
from gradlab.objective import Objective
from gradlab.products import all_same
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.checked import check
from gradlab.statistics.variance import gradient_variance
from gradlab.tangent import TangentKernel

__all__ = ["GradientError", "error_from_gram", "gradient_error", "gradient_variance"]


def gradient_error(
    agent: Agent,
    obs: Any,
    v: Tensor,
    ref: ReferenceCotangent,
    *,
    kernel: TangentKernel | None = None,
    objective: Objective | None = None,
    allow_mismatch: bool = False,
) -> GradientError:
    """Bias, variance, mean squared error, cosine, norm ratio and signal-to-noise ratio against a reference.

    ‖bias‖² is the U-statistic Σ_{d≠e}(g_d−r)·(g_e−r)/(D(D−1)) minus tr Var(r); ‖E g‖² and ‖r‖² inside the ratios are
    debiased in the same way, and a ratio is NaN (unresolved) where one of them is not positive. Standard errors:
    a bias-corrected jackknife over whole draws, and the reference's own noise (components independent) by the
    delta method, in quadrature. Formulas in ``gradlab.inference.jackknife``. Intervals invert the distribution of a
    squared norm where a symmetric one would not hold; see ``gradlab.inference.confidence``.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n].
        v: cotangents [D, B, m], independent draws; four or more for every number to have a standard error.
        ref: the reference at the same states. States where it is not valid are left out of everything.
        kernel: ``tangent_kernel(agent, obs)`` at all B states, to share it between estimators. Where it has only
            blocks, each draw costs a backward and a forward product instead, in the model's dtype, and the
            reference's share of the standard errors is an upper bound.
        objective: the objective that v estimates the gradient of; the one that ``Estimator.draw`` left on v as
            ``v.objective``, or else the agent's own, when None. Where its discount or entropy is not the reference's,
            the two gradients are of different things and are refused; what is only smoothed or cut off is noted.
        allow_mismatch: compare them all the same; every number and the notes then say so.

    Raises:
        GradlabError: shapes do not fit, no state is valid, a draw is not finite, or the reference is for another
            objective.

    Example:
        >>> from gradlab.objective import Objective
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
        >>> truth = torch.ones(1, 1, dtype=torch.float64)
        >>> ref = ReferenceCotangent(truth, torch.zeros_like(truth), "critic", Objective())
        >>> v = torch.tensor([1.0, 3.0, 2.0, 4.0]).reshape(4, 1, 1)
        >>> error = gradient_error(agent, torch.ones(1, 1), v, ref)
        >>> round(error.variance.value, 3), round(error.bias_squared.value, 3), error.cosine.value > 0.99
        (1.667, 1.833, True)
    """
    given = check(agent, obs, v, ref, kernel=kernel, objective=objective, allow_mismatch=allow_mismatch)
    draws, r, kernel = given.draws, given.mean, given.kernel
    constant = all_same(draws)
    error = (draws[:1] if constant else draws).double() - r
    mean = error.mean(0)
    centred = error - mean if len(error) > 1 else torch.zeros_like(error)
    vectors = torch.cat([mean[None], r[None], centred])
    flat, against = vectors.flatten(1), given.product(vectors)
    inner = flat @ against[:2].T
    e, Ke = flat[2:], against[2:]
    # For parameter vectors a = Jᵀα/B and b = Jᵀβ/B: aᵀΩb = Σ_ik stderr_ik² (Kα)_ik (Kβ)_ik / B⁴.
    scaled = against * given.stderr.flatten()

    def noise_along(c: Tensor) -> tuple[float, float]:
        vector = c.sum() * (scaled[0] + scaled[1]) + c @ scaled[2:]
        return float(vector @ vector), float(vector @ scaled[1])

    products = Products(
        draws=len(draws),
        mean_squared=inner[0, 0],
        cross=inner[0, 1],
        reference_squared=inner[1, 1],
        squares=(e * Ke).sum(1),
        with_mean=inner[2:, 0],
        with_reference=inner[2:, 1],
        times=lambda c: e @ (c @ Ke),
        gram=e @ Ke.T if len(error) <= PAIRS else None,
        gram_squared=_gram_squared(e, Ke),
        noise_along=noise_along,
    )
    noise = _reference_noise(kernel, given.stderr, scaled, len(error))
    return assemble(products, noise, given.label)


def _gram_squared(e: Tensor, Ke: Tensor) -> float:
    """Σ_de (e_d·e_e)² = ‖E (EK)ᵀ‖_F² of D draws [D, B·m], in whichever of two forms is smaller.

    Where there are more draws than numbers in a cotangent it is tr(EᵀE (EK)ᵀ(EK)), linear in D.
    """
    if e.shape[1] < len(e):
        return float(((e.T @ e) * (Ke.T @ Ke)).sum())
    return sum(float((rows @ Ke.T).square().sum()) for rows in e.split(PAIRS))


def _reference_noise(kernel: TangentKernel, stderr: Tensor, scaled: Tensor, draws: int) -> ReferenceNoise:
    if not bool(stderr.any()):
        return ReferenceNoise()
    states = kernel.states
    variances = stderr.square()
    trace = float((kernel.blocks.diagonal(dim1=1, dim2=2) * variances).sum()) / states**2
    spread = float(scaled[2:].square().sum()) / (draws - 1) if draws > 1 else 0.0
    square = 0.0
    if kernel.matrix is not None:
        weights = variances.flatten()
        square = float(torch.einsum("i,ij,j->", weights, kernel.matrix.square(), weights)) / states**4
    error, cross, reference = (float(scaled[a] @ scaled[b]) for a, b in ((0, 0), (0, 1), (1, 1)))
    return ReferenceNoise(trace, square, spread, error, cross, reference)
