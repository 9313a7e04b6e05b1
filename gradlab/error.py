"""An estimator against a reference: bias, variance, mean squared error, direction, scale and signal-to-noise.

All in parameter space, at fixed states, for one minibatch gradient g_d = (1/B) Σ_i J_iᵀ v_di. Inner products of
gradients are inner products of cotangents under the tangent kernel, g_d·g_e = v_dᵀ K v_e / B², so no parameter
gradient is ever formed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.confidence import ReferenceNoise, Spread, interval_ends, variance_interval
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate, Scale
from gradlab.jackknife import LeftOut, Moments, jackknife_variance, leave_out
from gradlab.products import all_same, check_cotangents, check_draws, kernel_product
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import TangentKernel, tangent_kernel
from gradlab.variance import gradient_variance

#: Draws up to which every pair is left out too, for the jackknife's own correction; more are rows at a time.
_PAIRS = 2048

__all__ = ["GradientError", "gradient_error", "gradient_variance"]


@dataclass(frozen=True)
class GradientError:
    """An estimator's error against a reference, in parameter space, for one minibatch gradient.

    Attributes:
        bias_squared: ‖E g − r‖², without the noise of draws and reference; may be negative, never clipped.
        variance: trace of the covariance of g over draws.
        mse: E‖g − r‖² = bias_squared + variance.
        cosine: of E g and r: the direction, whatever the scale.
        norm_ratio: ‖E g‖/‖r‖: the scale, whatever the direction.
        snr: ‖E g‖²/variance, of one draw; infinite without variance.
        reference_norm_squared: ‖r‖², without the reference's noise.
        states: number of states behind it, those where the reference is valid.
        notes: what a person should know: states left out, ratios that cannot be given.
    """

    bias_squared: Estimate
    variance: Estimate
    mse: Estimate
    cosine: Estimate
    norm_ratio: Estimate
    snr: Estimate
    reference_norm_squared: Estimate
    states: int
    notes: tuple[str, ...] = ()


def gradient_error(
    agent: Agent, obs: Any, v: Tensor, ref: ReferenceCotangent, *, kernel: TangentKernel | None = None
) -> GradientError:
    """Bias, variance, mean squared error, cosine, norm ratio and signal-to-noise ratio against a reference.

    ‖bias‖² is the U-statistic Σ_{d≠e}(g_d−r)·(g_e−r)/(D(D−1)) minus tr Var(r); ‖E g‖² and ‖r‖² inside the ratios are
    debiased in the same way, and a ratio is NaN (unresolved) where one of them is not positive. Standard errors:
    a bias-corrected jackknife over whole draws, and the reference's own noise (components independent) by the
    delta method, in quadrature. Formulas in ``gradlab.jackknife``. Intervals invert the distribution of a squared norm
    where a symmetric one would not hold; see ``gradlab.confidence``.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        obs: observations [B, n].
        v: cotangents [D, B, m], independent draws; four or more for every number to have a standard error.
        ref: the reference at the same states. States where it is not valid are left out of everything.
        kernel: ``tangent_kernel(agent, obs)`` at all B states, to share it between estimators. Where it has only
            blocks, each draw costs a backward and a forward product instead, in the model's dtype, and the
            reference's share of the standard errors is an upper bound.

    Raises:
        GradlabError: shapes do not fit, no state is valid, or a draw is not finite.

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
    obs = agent.observations(obs)
    if len(ref.mean) != len(obs):
        raise GradlabError(f"reference {ref.name}: has {len(ref.mean)} states, the batch has {len(obs)}")
    valid = ref.valid.to(obs.device)
    if not bool(valid.any()):
        raise GradlabError(
            f"reference {ref.name}: its gate is closed at all {len(obs)} states; nothing to compare with"
        )
    check_draws(v, len(obs), ref.mean.shape[1], valid)
    r, stderr = (x.to(obs.device, torch.float64)[valid] for x in (ref.mean, ref.stderr))
    if not bool(torch.isfinite(torch.stack([r, stderr])).all()):
        raise GradlabError(f"reference {ref.name}: NaN or infinite at states it calls valid; close its gate there")
    if kernel is not None:
        check_cotangents(v, kernel.states, kernel.head_size)
        kernel = kernel if bool(valid.all()) else kernel.select(valid)
    obs, draws = obs[valid], v.detach().to(obs.device)[:, valid]
    kernel = kernel or tangent_kernel(agent, obs)

    constant = all_same(draws)
    error = (draws[:1] if constant else draws).double() - r
    mean = error.mean(0)
    centred = error - mean if len(error) > 1 else torch.zeros_like(error)
    vectors = torch.cat([mean[None], r[None], centred])
    products = kernel.product(vectors) if kernel.matrix is not None else kernel_product(agent, obs, vectors)
    flat, against = vectors.flatten(1), products.flatten(1) / len(obs) ** 2
    inner = flat @ against[:2].T
    squares = (flat[2:] * against[2:]).sum(1)
    noise = _reference_noise(kernel, stderr, products, len(error))
    moments = Moments(
        draws=len(draws),
        mean_squared=inner[0, 0],
        spread=squares.sum(),
        cross=inner[0, 1],
        reference_squared=inner[1, 1],
        reference_noise=inner.new_tensor(noise.trace),
    )
    with_mean, with_reference = inner[2:, 0], inner[2:, 1]
    gram = flat[2:] @ against[2:].T if len(error) <= _PAIRS else None
    spread = Spread(with_mean, with_reference, *_gram_sums(flat[2:], against[2:], with_reference))
    left_out = leave_out(moments, squares, gram, with_mean, with_reference) if len(error) > 2 else None
    return _assemble(moments, left_out, spread, squares, constant, noise, ref, int(valid.sum()))


def _gram_sums(flat: Tensor, against: Tensor, with_reference: Tensor) -> tuple[float, float]:
    """Σ_de G_de² and Σ_de x_d G_de x_e of the Gram matrix G, a block of rows at a time."""
    squared = sum(float((rows @ against.T).square().sum()) for rows in flat.split(_PAIRS))
    combined = with_reference @ flat
    return squared, float(combined @ (with_reference @ against))


def _reference_noise(kernel: TangentKernel, stderr: Tensor, products: Tensor, draws: int) -> ReferenceNoise:
    if not bool(stderr.any()):
        return ReferenceNoise()
    states = kernel.states
    variances = stderr.square()
    trace = float((kernel.blocks.diagonal(dim1=1, dim2=2) * variances).sum()) / states**2
    # For parameter vectors a = Jᵀα/B and b = Jᵀβ/B: aᵀΩb = Σ_ik stderr_ik² (Kα)_ik (Kβ)_ik / B⁴.
    scaled = (products * stderr).flatten(1) / states**2
    spread = float(scaled[2:].square().sum()) / (draws - 1) if draws > 1 else 0.0
    square = 0.0
    if kernel.matrix is not None:
        weights = variances.flatten()
        square = float(torch.einsum("i,ij,j->", weights, kernel.matrix.square(), weights)) / states**4
    error, cross, reference = (float(scaled[a] @ scaled[b]) for a, b in ((0, 0), (0, 1), (1, 1)))
    return ReferenceNoise(trace, square, spread, error, cross, reference)


def _squared_norm_variance(plug_in: float, square: float) -> float:
    return max(4 * plug_in - 2 * square, 2 * plug_in, square)


def _assemble(
    moments: Moments,
    left_out: LeftOut | None,
    spread: Spread,
    squares: Tensor,
    constant: bool,
    noise: ReferenceNoise,
    ref: ReferenceCotangent,
    states: int,
) -> GradientError:
    draws = moments.draws

    def estimate(statistic: Callable[[Moments], Tensor], scale: Scale, from_reference: float = 0.0) -> Estimate:
        value = float(statistic(moments))
        over_draws = 0.0 if constant else math.nan
        if left_out is not None:
            # Between certain bias and none, a cosine near one needs the caution; found by measuring coverage.
            over_draws = jackknife_variance(moments, left_out, statistic, 0.5 if scale == "fisher" else 1.0)
        stderr = math.sqrt(over_draws + from_reference) if math.isfinite(value) else math.nan
        if scale == "fisher" and not abs(value) + 1.5 * stderr < 1:
            # artanh never reaches one, which is the truth of an unbiased estimator.
            scale = "linear"
        return Estimate(value, stderr, draws, ref.name, str(ref.objective), scale)

    # Variances that the reference's noise adds: 4bᵀΩb + 2 tr Ω² to a squared norm of b. The plug-in w̄ᵀΩw̄ holds the
    # noise of w̄ itself, tr(ΩΣ)/D + tr Ω², which is taken off, with the floors of the jackknife.
    to_error = _squared_norm_variance(noise.error - noise.with_spread / draws, noise.square)
    to_norm = _squared_norm_variance(noise.reference, noise.square)
    gradient, true = float(moments.gradient_squared), float(moments.true_squared)
    notes, to_cosine, to_ratio = [], 0.0, 0.0
    if gradient > 0 and true > 0:
        cosine, ratio = float(moments.cosine), float(moments.norm_ratio)
        # ∂cosine/∂r = E g/(‖E g‖‖r‖) − cosine r/‖r‖², with E g = w̄ + r.
        a = 1 / math.sqrt(gradient * true)
        b = a - cosine / true
        plug_in = a**2 * noise.error + 2 * a * b * noise.cross + b**2 * noise.reference
        # As the jackknife does, half of the quadratic part is taken off.
        quadratic = cosine**2 * noise.square / (2 * true**2)
        to_cosine = max(plug_in - a**2 * noise.with_spread / draws - quadratic / 2, quadratic / 2)
        to_ratio = to_norm * (ratio / (2 * true)) ** 2
    elif draws > 1:
        which = f"{ref.name}'s" if true <= 0 else "the estimator's mean"
        notes.append(
            f"unresolved: the squared norm of {which} gradient is not above its noise; no cosine or norm ratio"
        )
    if states < len(ref.mean):
        notes.append(f"{len(ref.mean) - states} of {len(ref.mean)} states left out: {ref.name}'s gate is closed there")
    found = {
        "bias_squared": estimate(lambda x: x.bias_squared, "linear", to_error),
        "variance": estimate(lambda x: x.variance, "inverse"),
        "mse": estimate(lambda x: x.mse, "log", to_error),
        "cosine": estimate(lambda x: x.cosine, "fisher", to_cosine),
        "norm_ratio": estimate(lambda x: x.norm_ratio, "log", to_ratio),
        "snr": estimate(lambda x: x.snr, "log"),
    }
    if left_out is not None or (constant and noise.trace > 0):
        variance = found["variance"]
        ends = {"variance": variance_interval(variance.value, variance.stderr, squares)}
        ends |= interval_ends(moments, spread, noise, ends["variance"], to_cosine)
        found |= {name: _with_ends(found[name], *each) for name, each in ends.items()}
    true_norm = Estimate(true, math.sqrt(to_norm), ref.samples or draws, ref.name, str(ref.objective))
    return GradientError(**found, reference_norm_squared=true_norm, states=states, notes=tuple(notes))


def _with_ends(estimate: Estimate, low: float, high: float) -> Estimate:
    if not math.isfinite(estimate.value):
        return estimate
    # An interval that reaches down to "none" goes on to where the symmetric one ends, since values may be negative.
    symmetric = replace(estimate, scale="linear").interval()[0] if low == 0 else low
    return replace(estimate, ends=(min(low, symmetric), high))
