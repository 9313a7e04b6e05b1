"""Words for what the pages on the landscape, on curvature and on the critic's truth draw beside the first numbers."""

from __future__ import annotations

from dashboards.words import Word

PERSISTENCE = Word(
    "optima over persistence",
    "Mean number of local optima a state that are at least so persistent: an optimum's persistence is its height over "
    "the best pass to a higher one, as a share of Q's range over the box.",
    "linear",
)

#: Numbers of a surrogate, after ``surrogate/i/``.
SURROGATES = {
    "optima": Word(
        "optima left",
        "Mean number of optima a state that are left on Ψᵢ = max(Q, τᵢ) (SAVO). Ψ₀ is Q; Ψ₁ is cut at the actor's own "
        "action, each further one at where ascent on the one before ends, from a random action.",
        "linear",
    ),
    "vanishing_share": Word(
        "flat",
        "Share of the action box where the surrogate's gradient vanishes: an actor there learns nothing.",
        "share",
    ),
    "best_share": Word(
        "reaches the best",
        "Chance that ascent on the surrogate from a random action reaches the best optimum, over the states where one "
        "is left.",
        "share",
    ),
}

PHANTOM = {
    "phantom/value_phantom": Word(
        "phantoms by value",
        "Share of the optima that the critic calls better than the actor's action whose simulated return is worse; the "
        "interval reaches to where all that are unresolved were phantoms.",
        "share",
    ),
    "phantom/slope_phantom": Word(
        "phantoms by slope",
        "Share of the critic's optima from which the simulated return rises within 5 % of the box's width.",
        "share",
    ),
    "phantom/promised": Word(
        "promised",
        "What the critic says its best optimum gains over the actor's action; mean over states.",
        "signed-log",
    ),
    "phantom/real_gain": Word("real gain", "What that optimum gains in simulated return.", "signed-log"),
}

SMOOTHNESS = {
    "flip_rate": Word(
        "flip rate",
        "Share of steps and coordinates at which ∇ₐQ changes its sign along the agent's own episodes (PAVE).",
        "share",
    ),
    "reversal_share": Word("reversals", "Share of steps at which ∇ₐQ turns by more than a right angle.", "share"),
    "spike_share": Word(
        "spikes", "Share of steps where ∇ₐQ changes more than ten times as fast with the state as it typically does.",
        "share",
    ),
    "free_ratio": Word(
        "bound M/μ",
        "Median of M/μ of coordinates that are not at a face of the box, at steps of the agent's episodes where μ > 0.",
        "log",
    ),
    "policy_jacobian": Word("‖∂π/∂s‖ there", "The actor's own sensitivity at the same steps.", "log"),
    "observed": Word("‖Δa‖/‖Δs‖", "How fast actions were seen to move with the state from step to step.", "log"),
    "violated_share": Word(
        "bound violated",
        "Share of steps where the actor moves faster than M/μ: it is not at its critic's maximum.",
        "share",
    ),
}  # fmt: skip

VALUE = {
    "value/bias": Word("bias of Q", "Mean of Q(s, π(s)) − simulated return: positive is overestimation.", "signed-log"),
    "value/rmse": Word(
        "RMSE of Q", "Root of the mean squared error of Q(s, π(s)), without the noise of the simulated returns.", "log"
    ),
    "value/slope": Word(
        "calibration slope",
        "Slope of simulated return over Q: 1 is calibrated; below 1 the critic exaggerates differences between states, "
        "above 1 it understates them.",
        "linear",
    ),
    "value/correlation": Word(
        "correlation", "Correlation over states of Q and simulated return, without the noise of the latter.", "cosine"
    ),
}

#: Of a step along the critic's gradient, after ``step/ℓ/``.
STEP = {
    "predicted": Word(
        "predicted",
        "Q(s, a′) − Q(s, π(s)) by the critic, where a′ is one step from π(s) along ∇ₐQ; mean over states.",
        "signed-log",
    ),
    "realised": Word(
        "realised",
        "The difference of the simulated returns of a′ and π(s), with the same random numbers; mean over states.",
        "signed-log",
    ),
    "ratio": Word(
        "realised / predicted", "1 is a promise that is kept; below 0 the step makes the return worse.", "linear"
    ),
    "worse": Word("worse", "Share of states where that step makes the simulated return worse.", "share"),
}

CRITIC_GRADIENT = {
    "deterministic/cosine": Word(
        "cosine", "Cosine between the critic's policy gradient and the simulator's: direction alone.", "cosine"
    ),
    "deterministic/norm_ratio": Word("norm ratio", "Its length over the simulator's: scale alone; 1 is right.", "log"),
    "deterministic/bias_squared": Word(
        "bias²", "Squared distance of the critic's policy gradient from the simulator's; may be negative.", "signed-log"
    ),
}

#: Names that the probes ``landscape`` and ``curvature`` store beside those of ``dashboards.words``, up to the slash.
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def eigenvalue_word(rank: int, last: int) -> Word:
    """The word for an eigenvalue of ∂²Q/∂a², the first being the highest.

    Example:
        >>> eigenvalue_word(1, 2).label, eigenvalue_word(2, 2).label
        ('λ₁ highest', 'λ₂ lowest')
    """
    which = " highest" if rank == 1 else " lowest" if rank == last else ""
    meaning = "Median over states of this eigenvalue of ∂²Q/∂a²; where the highest is below zero Q is concave there."
    return Word(f"λ{str(rank).translate(_SUBSCRIPTS)}{which}", meaning, "signed-log")
