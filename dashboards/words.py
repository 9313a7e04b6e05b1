"""What each number is called, what it means, and on which scale it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from dashboards.series import Series


class Word(NamedTuple):
    """One number of the dashboard.

    Attributes:
        label: its short name.
        meaning: its definition, in a sentence.
        scale: ``log`` for positive numbers, ``signed-log`` for those that may be negative, ``linear``, ``share``
            for what lies in [0, 1], ``cosine`` for what lies in [−1, 1].
    """

    label: str
    meaning: str
    scale: Literal["log", "signed-log", "linear", "share", "cosine"]


#: Metrics of an estimator's gradient against a reference, in the order they are offered.
METRICS = {
    "bias_squared": Word(
        "bias²",
        "‖E g − g_ref‖² in parameter space, by a U-statistic minus the reference's own noise: "
        "unbiased, so it may be negative when the bias is not resolved.",
        "signed-log",
    ),
    "variance": Word("variance", "Trace of the covariance of the estimator's gradient over its own draws.", "log"),
    "mse": Word("MSE", "Mean squared error E‖g − g_ref‖² = bias² + variance.", "signed-log"),
    "cosine": Word(
        "cosine",
        "Cosine between the estimator's mean gradient and the reference: direction alone; 1 is right.",
        "cosine",
    ),
    "norm_ratio": Word(
        "norm ratio",
        "‖mean gradient‖ / ‖reference‖: scale alone; 1 is right, and a constant factor is harmless.",
        "log",
    ),
    "snr": Word(
        "SNR", "Signal to noise ‖E g‖² / tr Var g for one gradient; below 1 noise is larger than signal.", "signed-log"
    ),
}
DEFAULT_METRICS = ("bias_squared", "variance", "cosine")

#: Where an estimator's error is taken against what: probe → name and meaning.
REFERENCES = {
    "gradient": Word(
        "critic", "Against the critic's own gradient: the estimator's error alone, the critic taken as given.", "linear"
    ),
    "simulator": Word(
        "simulator", "Against finite differences through the simulator: the critic's error is included.", "linear"
    ),
}

LANDSCAPE = {
    "optima": Word(
        "local optima", "Mean number of local maxima of Q(s, ·) per state; the box's boundary counts.", "linear"
    ),
    "births": Word(
        "births", "Local optima per state that were none, or too shallow to find, at the measurement before.", "linear"
    ),
    "deaths": Word("deaths", "Local optima per state of the measurement before that are none any more.", "linear"),
    "gap": Word("gap", "Q at the best local optimum minus Q at the actor's action; mean over states.", "signed-log"),
    "own_fit": Word(
        "own fit", "The part of the gap that climbing on from the actor's action would gain.", "signed-log"
    ),
    "basin_choice": Word(
        "basin choice",
        "The part of the gap that is left then: the actor is in the basin of a lower optimum.",
        "signed-log",
    ),
    "relative_gap": Word("relative gap", "The gap as a share of the range of Q over the action box.", "share"),
    "best_basin_share": Word(
        "in best basin",
        "Share of states where gradient ascent from the actor's action reaches the best optimum; where the critic is "
        "level there is none, and the state does not count.",
        "share",
    ),
    "level_share": Word(
        "level",
        "Share of states where Q(s, ·) is the same at every action but for rounding: it tells the actor nothing, and "
        "the gap is 0 by that alone.",
        "share",
    ),
    "boundary_share": Word("on boundary", "Share of states whose best action lies on the action box.", "share"),
    "actor_changed": Word(
        "basin changed",
        "Share of states where the optimum that the actor's ascent reaches is another one than at the measurement "
        "before.",
        "share",
    ),
}

CURVATURE = {
    "ratio": Word(
        "M/μ", "Median of M/μ where μ > 0: bounds how fast the best action moves with the state (PAVE).", "log"
    ),
    "mixed_partial": Word("M", "‖∂²Q/∂a∂s‖: how much ∇_a Q changes with the state.", "log"),
    "curvature": Word(
        "μ", "Smallest curvature −λ_max(∂²Q/∂a²); positive only where Q is concave in the action.", "signed-log"
    ),
    "policy_jacobian": Word("‖∂π/∂s‖", "Spectral norm of the actor's Jacobian: how fast its action does move.", "log"),
    "valid_share": Word(
        "states with μ > 0",
        "Share of states where ∂²Q/∂a² is negative definite: only there M/μ means something.",
        "share",
    ),
    "interior_share": Word("interior actions", "Share of states where the actor's action is not saturated.", "share"),
    "exact_ratio": Word("exact M/μ", "M/μ by exact second derivatives; only a smooth critic has it.", "log"),
    "exact_mixed_partial": Word("exact M", "M by exact second derivatives.", "log"),
    "exact_curvature": Word("exact μ", "μ by exact second derivatives.", "signed-log"),
    "ratio_interior": Word("M/μ, interior", "M/μ of the states where no action coordinate is saturated.", "log"),
    "ratio_saturated": Word("M/μ, saturated", "M/μ of the states where an action coordinate is saturated.", "log"),
    "valid_share_interior": Word("μ > 0, interior", "Share with μ > 0 of states with interior actions.", "share"),
    "valid_share_saturated": Word("μ > 0, saturated", "Share with μ > 0 of states with saturated actions.", "share"),
    "mixed_frobenius": Word(
        "‖∂²Q/∂a∂s‖_F", "The Frobenius norm of ∂²Q/∂a∂s: all directions together, where M is the largest.", "log"
    ),
    "condition": Word(
        "condition", "λ_min/λ_max of ∂²Q/∂a² where μ > 0: how unequally Q is curved in the action.", "log"
    ),
    "mixed_regulariser": Word(
        "mixed regulariser",
        "E‖∇_a Q(s + ε, a) − ∇_a Q(s, a)‖², ε of standard deviation 0.01: PAVE's first term.",
        "log",
    ),
    "hinge": Word(
        "hinge",
        "E max(0, vᵀ∂²Q/∂a² v + 1) over random signs v: PAVE's third term, zero where Q is curved enough.",
        "signed-log",
    ),
}

WRONG_DIRECTION = Word(
    "wrong direction",
    "Share of states where the critic's ∇_a Q makes an obtuse angle with the simulator's: "
    "following it makes the return worse.",
    "share",
)

#: What is drawn of costs, which are sums and no estimates.
COST = {
    "spent": Word("spent", "Seconds that a probe's measurements took, together, and their share of wall time.", "log"),
    "planned": Word(
        "planned", "What they would have taken had none been left out: mean cost × times due / wall time.", "log"
    ),
    "budget": Word("budget", "The share of wall time that training may wait for probes.", "log"),
}

#: What is seen in a picture of the field, which is of one state and one critic.
FIELD = {
    "q": Word("Q", "The critic's value of each action of the plane, in one state; brighter is higher.", "linear"),
    "arrow": Word(
        "arrows",
        "∇_a Q, the direction in which the critic says that the action gets better; lengths are √‖∇_a Q‖, the largest "
        "0.9 of a cell.",
        "linear",
    ),
    "optimum": Word(
        "optima",
        "Local maxima of Q(s, ·) that were found on the whole action box; the star is the best of them.",
        "linear",
    ),
    "persistence": Word(
        "persistence",
        "How far Q must fall on the way from an optimum to a higher one, as a share of the range of Q over the action "
        "box. The larger the mark the more persistent its optimum; small ones may be ripples of the network.",
        "linear",
    ),
    "hollow": Word(
        "hollow stars and crosses",
        "Optima that are off the plane which is shown: they are drawn where they project to, and Q there is another "
        "than theirs. Only agents with more than two actions have such.",
        "linear",
    ),
    "actor": Word("actor", "The action that the actor takes in this state.", "linear"),
    "trail": Word(
        "actor before", "The actions that the actor took in this state at the pictures before this one.", "linear"
    ),
    "ascent": Word("ascent", "The path of gradient ascent on Q from the actor's action.", "linear"),
    "simulated": Word(
        "simulated",
        "The return of taking each action once and following the actor's policy from then on, in the task's own "
        "simulator; every few pictures it is stored beside the learned Q.",
        "linear",
    ),
    "difference": Word(
        "learned − simulated",
        "The learned Q less the simulated one, each less its mean over the plane, on the simulated grid: where it is "
        "red the critic promises too much, where it is blue too little. The simulated Q counts fewer rewards.",
        "linear",
    ),
}

#: Numbers of the probe ``on-policy``.
ON_POLICY = {
    "score-function/snr": Word(
        "SNR",
        "Signal to noise ‖E G‖² / tr Var G of the whole rollout's policy gradient, by trajectories; below 1 most of it "
        "is noise. Unbiased, so it may be negative where it is not resolved.",
        "signed-log",
    ),
    "score-function/gradient_squared": Word(
        "‖E G‖²", "Squared norm of the mean gradient: the signal. Unbiased, so it may be negative.", "signed-log"
    ),
    "score-function/variance": Word("tr Var G", "Variance of the rollout's gradient: the noise.", "signed-log"),
    "score-function/noise_scale": Word(
        "noise scale",
        "The batch size, in steps, whose gradient has as much noise as signal (the critical batch size): below it a "
        "larger batch pays, far above it hardly.",
        "log",
    ),
    "value/explained_variance": Word(
        "explained variance",
        "1 − Var(target − V) / Var target: 1 is a perfect fit, 0 that of a constant. Targets bootstrap on V: it says "
        "how well V fits, not how true it is.",
        "linear",
    ),
    "value/rmse": Word("V's RMSE", "Root of the mean of (V − target)²; targets bootstrap on V.", "signed-log"),
    "value/bias": Word("V's bias", "Mean of V − target; targets bootstrap on V.", "signed-log"),
    "policy/entropy": Word("entropy", "Entropy of the policy in nats: the mean of −log π(a|s).", "linear"),
    "ledger/gae_bias": Word(
        "bias of GAE(λ)",
        "‖b‖² of what λ < 1 adds to the mean gradient: zero where V is right. In units of ‖E G‖², unbiased: it may be "
        "negative.",
        "signed-log",
    ),
    "ledger/state_distribution": Word(
        "missing γᵗ", "‖b‖² of what weighing all steps alike, without γᵗ, adds to the mean gradient.", "signed-log"
    ),
    "ledger/entropy_bonus": Word("entropy bonus", "‖b‖² of the gradient of the entropy bonus.", "signed-log"),
    "ledger/value_loss": Word(
        "V's loss", "‖b‖² of the pull of V's loss on parameters that V and the actor share.", "signed-log"
    ),
    "clipping/share": Word(
        "clipped", "Share of steps whose gradient clipping takes away where the update before has come to.", "share"
    ),
    "clipping/removed": Word(
        "clipped off",
        "‖b‖² of the gradient that clipping takes away where the update before has come to.",
        "signed-log",
    ),
    "clipping/unclipped": Word("without clipping", "‖g‖² of the gradient there without clipping.", "signed-log"),
    "policy/kl": Word("KL", "KL(π_old‖π) of the update before, in nats.", "log"),
}

_ESTIMATORS = {
    "deterministic": "deterministic (DPG)",
    "zeroth-order-2": "zeroth order, two-point",
    "zeroth-order-1": "zeroth order, one-point",
    "zeroth-order-antithetic": "zeroth order, antithetic",
    "score-function": "score function",
    "score-function-baseline": "score function, baseline",
    "reparameterized": "reparameterised",
}


#: What numbers are against that take the steps a run took of late: their n counts stretches of successive ones.
STRETCHES = "the run's latest steps"

#: What the samples of a probe are: what its n counts.
#: In place of a probe: numbers of several runs together, of which n counts the runs.
RUNS = "several runs"
_SAMPLES = {
    RUNS: "runs",
    "gradient": "draws",
    "estimators": "draws",
    "simulator": "episodes",
    "landscape": "states",
    "curvature": "states",
    "smoothness": "episodes",
    "returns": "episodes",
    "on-policy": "trajectories",
    "health": "states",
}


def samples(probe: str, reference: str) -> str:
    """What n counts: states of one episode are not independent, so against the simulator it counts episodes.

    Example:
        >>> samples("gradient", "critic"), samples("my-own", "simulator, H=50"), samples("landscape", "")
        ('draws', 'episodes', 'states')
    """
    if reference == STRETCHES:
        return "stretches"
    if probe == "estimators" and not reference:
        # What is against nothing there, such as a noise scale, is a mean over states.
        return "states"
    return "episodes" if "simulator" in reference else _SAMPLES.get(probe, "samples")


def counted(series: Series, probe: str) -> str:
    """The n of the newest point of a series, and what it counts: ``16 episodes``."""
    return f"{int(series.samples[-1])} {samples(probe, series.reference)}"


def estimator_label(name: str) -> str:
    """An estimator's name for people.

    Example:
        >>> estimator_label("zeroth-order-2"), estimator_label("my-own")
        ('zeroth order, two-point', 'my own')
    """
    return _ESTIMATORS.get(name, name.replace("-", " "))


def escape(text: str) -> str:
    """Text from a store as plotly is to show it: its pseudo-HTML is switched off.

    Example:
        >>> escape("<b>run</b>")
        '&lt;b&gt;run&lt;/b&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
