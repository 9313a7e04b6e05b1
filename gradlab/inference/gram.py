"""An error in parameter space from nothing but inner products of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate, Scale
from gradlab.inference.confidence import ReferenceNoise, Spread, interval_ends, snr_interval, variance_interval
from gradlab.inference.inner_products import PAIRS, Label, Products
from gradlab.inference.jackknife import LeftOut, Moments, jackknife_variance, leave_out
from gradlab.inference.similarity import minibatch_cosine, pairwise_cosine

_UNKNOWN = Estimate(math.nan, math.nan, 0)


@dataclass(frozen=True)
class GradientError:
    """An estimator's error against a reference, in parameter space, for one minibatch gradient g.

    Attributes:
        bias_squared: ‖E g − r‖², without the noise of draws and reference; may be negative, never clipped.
        variance: trace of the covariance of g over draws.
        mse: E‖g − r‖² = bias_squared + variance.
        cosine: of E g and r: the direction, whatever the scale.
        norm_ratio: ‖E g‖/‖r‖: the scale, whatever the direction.
        snr: ‖E g‖²/variance, of one draw; infinite without variance.
        reference_norm_squared: ‖r‖², without the reference's noise.
        states: number of states behind it, those where the reference is valid.
        notes: what a person should know: states left out, ratios that cannot be given, objectives that differ.
        minibatch_cosine: E cos(g, r): the direction of the one gradient that an optimizer step takes.
        pairwise_cosine: E cos(g, g′) of two independent draws, which needs no reference
            (A. Ilyas et al. 2020, *A closer look at deep policy gradients*, section 2.1).
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
    minibatch_cosine: Estimate = _UNKNOWN
    pairwise_cosine: Estimate = _UNKNOWN

    def __str__(self) -> str:
        lines = {
            "bias²": self.bias_squared,
            "variance": self.variance,
            "MSE": self.mse,
            "cosine": self.cosine,
            "norm ratio": self.norm_ratio,
            "SNR": self.snr,
            "minibatch cosine": self.minibatch_cosine,
            "pairwise cosine": self.pairwise_cosine,
        }
        return "\n".join([*(f"{name:16}  {estimate}" for name, estimate in lines.items()), *self.notes])


def error_from_gram(
    gram: Tensor,
    with_reference: Tensor,
    reference_squared: Tensor | float,
    *,
    noise: ReferenceNoise | None = None,
    reference: str = "reference",
    objective: str = "",
    reference_samples: int = 0,
    states: int = 0,
    notes: tuple[str, ...] = (),
) -> GradientError:
    """The error of D independent gradients g_d against r, from their inner products alone.

    For gradients whose parts are not the states of one batch, such as whole trajectories. The statistics and
    intervals are those of ``gradient_error``; the difference g_d − r is taken between inner products here, which costs
    the digits by which ‖g_d − r‖² is smaller than ‖r‖².

    Args:
        gram: g_d·g_e, [D, D], float64.
        with_reference: g_d·r, [D].
        reference_squared: r·r, the reference's noise included.
        noise: what the reference's covariance Ω adds, with w̄ = ḡ − r; none when the reference is exact.
        reference: what r is, in words.
        objective: the objective, in words.
        reference_samples: independent samples behind r.
        states: states behind the gradients, for the record.
        notes: notes to keep.

    Raises:
        GradlabError: shapes do not fit, or an inner product is not finite.

    Example:
        >>> g, r = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 1.0], [2.0, -1.0]]).double(), torch.ones(2).double()
        >>> error = error_from_gram(g @ g.T, g @ r, r @ r)
        >>> round(error.variance.value, 3), round(error.bias_squared.value, 3)
        (1.333, 1.667)
    """
    gram, x = gram.double(), with_reference.to(gram.device, torch.float64)
    draws = len(x)
    if x.ndim != 1 or draws == 0 or gram.shape != (draws, draws):
        raise GradlabError(
            f"inner products: gram {tuple(gram.shape)} and with_reference {tuple(x.shape)}; "
            "they must be [draws, draws] and [draws], not empty"
        )
    rho = torch.as_tensor(reference_squared, dtype=torch.float64, device=gram.device)
    bad = ~(torch.isfinite(gram.diagonal()) & torch.isfinite(x))
    if bool(bad.any()) or not bool(torch.isfinite(gram).all() & torch.isfinite(rho)):
        where = f"{int(bad.sum())} of {draws} draws, first draw {int(bad.nonzero()[0])}" if bool(bad.any()) else "r"
        raise GradlabError(f"inner products: NaN or infinite for {where}; mend the estimator or leave those out")
    errors = gram - x[:, None] - x[None, :] + rho
    constant = draws > 1 and bool((gram == gram[0, 0]).all())
    kept = errors[:1, :1] if constant else errors
    rows = kept.mean(1)
    mean_squared = rows.mean()
    centred = kept - rows[:, None] - rows[None, :] + mean_squared
    along = (x[:1] if constant else x) - x.mean()
    products = Products(
        draws=draws,
        mean_squared=mean_squared,
        cross=x.mean() - rho,
        reference_squared=rho,
        squares=centred.diagonal(),
        with_mean=rows - mean_squared,
        with_reference=torch.zeros_like(rows) if constant else along,
        times=lambda c: centred @ c,
        gram=centred if len(rows) <= PAIRS else None,
        gram_squared=float(centred.square().sum()),
    )
    return assemble(products, noise or ReferenceNoise(), Label(reference, objective, reference_samples, states, notes))


def _squared_norm_variance(plug_in: float, square: float) -> float:
    return max(4 * plug_in - 2 * square, 2 * plug_in, square)


def assemble(products: Products, noise: ReferenceNoise, label: Label) -> GradientError:
    """Every number of a ``GradientError``, with standard errors and intervals."""
    draws, constant = products.draws, products.constant
    moments = Moments(
        draws=draws,
        mean_squared=products.mean_squared,
        spread=products.squares.sum(),
        cross=products.cross,
        reference_squared=products.reference_squared,
        reference_noise=products.cross.new_tensor(noise.trace),
    )
    left_out: LeftOut | None = None
    if len(products.squares) > 2:
        left_out = leave_out(moments, products.squares, products.gram, products.with_mean, products.with_reference)

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
        return Estimate(value, stderr, draws, label.reference, label.objective, scale, caveat=label.caveat)

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
        which = f"{label.reference}'s" if true <= 0 else "the estimator's mean"
        notes.append(
            f"unresolved: the squared norm of {which} gradient is not above its noise; no cosine or norm ratio"
        )
    if draws == 1:
        notes.append("one draw: no variance, bias, cosine of the mean or interval; draw at least four")
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
        ends = {"variance": variance_interval(variance.value, variance.stderr, products.squares)}
        along = products.with_reference
        spread = Spread(
            products.squares, products.with_mean, along, products.gram_squared, float(along @ products.times(along))
        )
        ends |= interval_ends(moments, spread, noise, ends["variance"], to_cosine)
        found |= {name: _with_ends(found[name], *each) for name, each in ends.items()}
        low, high = snr_interval(found["snr"].value, found["snr"].stderr, products.squares)
        if math.isfinite(low):
            found["snr"] = replace(found["snr"], ends=(low, high))
    found["reference_norm_squared"] = Estimate(
        true,
        math.sqrt(to_norm),
        label.reference_samples or draws,
        label.reference,
        label.objective,
        caveat=label.caveat,
    )
    norms = products.norms_squared.clamp_min(0).sqrt()
    found["minibatch_cosine"] = minibatch_cosine(products, norms, true, noise, label)
    found["pairwise_cosine"] = pairwise_cosine(products, norms, label)
    return GradientError(**found, states=label.states, notes=(*label.notes, *notes))


def _with_ends(estimate: Estimate, low: float, high: float) -> Estimate:
    if not math.isfinite(estimate.value):
        return estimate
    # An interval that reaches down to "none" goes on to where the symmetric one ends, since values may be negative.
    symmetric = replace(estimate, scale="linear").interval()[0] if low == 0 else low
    return replace(estimate, ends=(min(low, symmetric), high))
