"""How alike single gradients point: with the reference, and with each other."""

from __future__ import annotations

import math

from torch import Tensor

from gradlab.estimate import Estimate
from gradlab.inference.confidence import ReferenceNoise, skewed_interval, trace_of_square
from gradlab.inference.inner_products import Label, Products
from gradlab.inference.intervals import Noise, squared_norm_interval
from gradlab.inference.jackknife import corrected_variance


def minibatch_cosine(
    products: Products, norms: Tensor, true_squared: float, noise: ReferenceNoise, label: Label
) -> Estimate:
    """E cos(g, r): the mean over draws of the cosine between one gradient and the reference.

    For isotropic noise in d dimensions it is about √(λ/(λ + d)), λ = ‖E g‖²d/tr Var g, so it says how noisy a
    step is, where the cosine of E g says whether the mean of steps goes the right way. g_d·r/‖g_d‖ is linear in r; its
    norm is taken without the reference's noise. The reference's share of the standard error is the delta method's.
    The interval knows the skewness and the tails that the draws' cosines show, which a dozen draws hardly do.

    Args:
        products: inner products of the draws.
        norms: ‖g_d‖, [D′].
        true_squared: ‖r‖² without the reference's noise.
        noise: of the reference.
        label: what the numbers are against.

    Returns:
        The estimate; NaN where ‖r‖ is not above its noise or some gradient is zero, which has no direction.
    """
    draws = products.draws
    if not (true_squared > 0 and bool((norms > 0).all())):
        return Estimate(math.nan, math.nan, draws, label.reference, label.objective, caveat=label.caveat)
    cosines = products.with_gradients / norms / math.sqrt(true_squared)
    value = float(cosines.mean())
    over_draws = 0.0 if products.constant else math.nan
    if len(cosines) > 1:
        over_draws = float(cosines.var()) / draws
    stderr = math.sqrt(over_draws + _from_reference(products, norms, value, true_squared, noise))
    estimate = Estimate(value, stderr, draws, label.reference, label.objective, caveat=label.caveat)
    # Near one cosines are skewed: the tail lies below.
    return _within(estimate, skewed_interval(value, stderr, cosines) if len(cosines) > 1 else estimate.interval())


def _from_reference(products: Products, norms: Tensor, value: float, true: float, noise: ReferenceNoise) -> float:
    """∂value/∂r = ū/‖r‖ − value·r/‖r‖², with ū the mean of the unit vectors g_d/‖g_d‖; its variance under Ω."""
    if not noise.trace > 0:
        return 0.0
    weights = 1 / norms / len(norms)
    if products.noise_along is None:
        # No component of the reference is noisier than √(tr Ω²), and tr Ω² is at most (tr Ω)².
        largest = math.sqrt(noise.square) if noise.square > 0 else noise.trace
        length = float((weights * products.against(weights)).sum())
        slope = length - 2 * value**2 + value**2 * float(products.reference_squared) / true
        return float(slope / true * largest)
    along, cross = products.noise_along(weights)
    plug_in = along / true - 2 * value * cross / true**1.5 + value**2 * noise.reference / true**2
    # The plug-in's r is noisy too, by about the quadratic part; taking that off cost coverage where r is the noisy one.
    return float(max(plug_in, value**2 * noise.square / (2 * true**2)))


def pairwise_cosine(products: Products, norms: Tensor, label: Label) -> Estimate:
    """E cos(g, g′) of two independent draws, a U-statistic over pairs; it needs no reference.

    With û = g/‖g‖ it is ‖E û‖², so its interval is that of a squared norm. For isotropic noise it is the square of
    ``minibatch_cosine`` (A. Ilyas et al. 2020, *A closer look at deep policy gradients*, section 2.1).

    Args:
        products: inner products of the draws.
        norms: ‖g_d‖, [D′].
        label: what the numbers are against.
    """
    draws = products.draws

    def estimate(value: float, stderr: float) -> Estimate:
        return Estimate(value, stderr, draws, objective=label.objective, caveat=label.caveat)

    if products.constant:
        return estimate(1.0, 0.0) if float(norms[0]) > 0 else estimate(math.nan, math.nan)
    if draws < 2 or not bool((norms > 0).all()):
        return estimate(math.nan, math.nan)
    weights = 1 / norms
    # û_d·Σ_e û_e, and each draw's cosines with the others.
    rows = weights * products.against(weights) - 1
    total = float(rows.sum())
    value = total / (draws * (draws - 1))
    if draws < 4:
        return estimate(value, math.nan)
    one = (total - 2 * rows) / ((draws - 1) * (draws - 2))
    if products.gram is None:
        result = estimate(value, math.sqrt(corrected_variance(draws, one, None)))
        return _within(result, result.interval())
    unit = _unit_gram(products, weights)
    two = (total - 2 * (rows[:, None] + rows[None, :]) + 2 * unit) / ((draws - 2) * (draws - 3))
    result = estimate(value, math.sqrt(corrected_variance(draws, one, two)))
    # Of the unit vectors: the mean's squared norm, their covariance's trace and what lies along the mean.
    means = unit.mean(1)
    plug_in = float(means.mean())
    centred = unit - means[:, None] - means[None, :] + plug_in
    trace = 1 - value
    square = trace_of_square(trace, float(centred.square().sum()) / (draws - 1) ** 2, draws - 1)
    along = float((means - plug_in).square().sum()) / ((draws - 1) * draws)
    low, high = squared_norm_interval(plug_in, Noise(trace / draws, square / draws**2, along), draws)
    return _within(result, (low if low > 0 else min(low, result.interval()[0]), high))


def _unit_gram(products: Products, weights: Tensor) -> Tensor:
    assert products.gram is not None
    along = products.with_mean + products.with_reference
    mean = products.mean_squared + 2 * products.cross + products.reference_squared
    gram = mean + along[:, None] + along[None, :] + products.gram
    return (gram * weights[:, None] * weights[None, :]).fill_diagonal_(1.0)


def _within(estimate: Estimate, ends: tuple[float, float]) -> Estimate:
    """The estimate with these ends, kept to what a cosine can be, and holding the value."""
    if not all(math.isfinite(end) for end in ends):
        return estimate
    low, high = (min(max(end, -1.0), 1.0) for end in ends)
    return Estimate(
        estimate.value,
        estimate.stderr,
        estimate.samples,
        estimate.reference,
        estimate.objective,
        ends=(min(low, estimate.value), max(high, estimate.value)),
        caveat=estimate.caveat,
    )
