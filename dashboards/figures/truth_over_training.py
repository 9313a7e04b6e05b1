"""Figures over training: phantoms, the spectrum, flips and the bound, and the critic's values and gradient."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.panels import panels
from dashboards.style import Theme
from dashboards.truth_words import CRITIC_GRADIENT, PHANTOM, SMOOTHNESS, VALUE, eigenvalue_word
from dashboards.words import Word

PHANTOM_ROWS = (("phantom/value_phantom", "phantom/slope_phantom"), ("phantom/promised", "phantom/real_gain"))
SMOOTHNESS_ROWS = (
    ("flip_rate", "reversal_share", "spike_share", "violated_share"), ("free_ratio", "policy_jacobian", "observed")
)  # fmt: skip
VALUE_ROWS = (("value/bias", "value/rmse"), ("value/slope",), ("value/correlation",))
GRADIENT_ROWS = (("deterministic/cosine",), ("deterministic/norm_ratio",), ("deterministic/bias_squared",))


def phantoms(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "phantoms") -> go.Figure:
    """Shares of the critic's optima that are none in truth, and what the best one promises and gains.

    Example:
        >>> phantoms({}).layout.annotations[0].text
        'phantom optima: not measured in this run'
    """
    nothing = "phantom optima: not measured in this run"
    return panels(series, "returns", PHANTOM_ROWS, PHANTOM, theme=theme, uirevision=uirevision, nothing=nothing)


def spectrum(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "spectrum") -> go.Figure:
    """Eigenvalues of ∂²Q/∂a² over training, medians over states.

    Example:
        >>> spectrum({}).layout.annotations[0].text
        'spectrum: not measured in this run'
    """
    words = spectrum_words(series)
    rows = [tuple(words)] if words else [("eigenvalue/1",)]
    known = words or {"eigenvalue/1": eigenvalue_word(1, 1)}
    nothing = "spectrum: not measured in this run"
    return panels(series, "curvature", rows, known, theme=theme, uirevision=uirevision, nothing=nothing)


def spectrum_words(series: data.SeriesSet) -> dict[str, Word]:
    """The eigenvalues that a run has, by name, from the highest to the lowest.

    Example:
        >>> spectrum_words({})
        {}
    """
    ends = (key.name.partition("/")[2] for key in series if key.probe == "curvature" and key.name.startswith("eigenv"))
    ranks = sorted({int(end) for end in ends if end.isdecimal()})
    return {f"eigenvalue/{rank}": eigenvalue_word(rank, ranks[-1]) for rank in ranks}


def smoothness(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "smoothness") -> go.Figure:
    """How often ∇ₐQ flips along episodes, and M/μ beside the sensitivity that was seen there.

    Example:
        >>> smoothness({}).layout.annotations[0].text
        'flips along episodes: not measured in this run'
    """
    nothing = "flips along episodes: not measured in this run"
    rows = SMOOTHNESS_ROWS
    return panels(series, "smoothness", rows, SMOOTHNESS, theme=theme, uirevision=uirevision, nothing=nothing)


def value_error(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "value-error") -> go.Figure:
    """Bias and error of Q against simulated returns, and how well it is calibrated.

    Example:
        >>> value_error({}).layout.annotations[0].text
        'values against returns: not measured in this run'
    """
    nothing = "values against returns: not measured in this run"
    return panels(series, "returns", VALUE_ROWS, VALUE, theme=theme, uirevision=uirevision, nothing=nothing)


def critic_gradient(series: data.SeriesSet, theme: Theme = "light", uirevision: str = "critic-gradient") -> go.Figure:
    """The critic's policy gradient against the simulator's: direction, scale and distance.

    Example:
        >>> critic_gradient({}).layout.annotations[0].text
        "waiting for the simulator's first measurement"
    """
    nothing = "waiting for the simulator's first measurement"
    rows = GRADIENT_ROWS
    return panels(series, "simulator", rows, CRITIC_GRADIENT, theme=theme, uirevision=uirevision, nothing=nothing)
