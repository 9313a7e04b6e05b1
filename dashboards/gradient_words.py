"""What the numbers of an estimator's error taken apart are called, and what they mean."""

from __future__ import annotations

from dashboards.words import Word

#: Numbers of the probe ``estimators`` by what is after the last slash.
PARTS = {
    "state_variance": Word(
        "states",
        "Variance of a single sample's gradient that comes from which state it is at, tr Var_s E[g | s]: no estimator "
        "can lower it, only more states. Unbiased, so it may be negative.",
        "signed-log",
    ),
    "draw_variance": Word(
        "draws",
        "Variance of a single sample's gradient at a given state, E_s tr Var[g | s]: what the estimator's own random "
        "numbers add, and a better one would not.",
        "signed-log",
    ),
    "total_variance": Word(
        "variance of a sample", "Trace of the covariance of one sample's gradient, the sum of both parts.", "log"
    ),
    "gradient_squared": Word(
        "signal", "‖E g‖², the squared norm of the expected gradient; unbiased, so it may be negative.", "signed-log"
    ),
    "noise_scale": Word(
        "critical batch size",
        "tr Var g / ‖E g‖², the noise scale: the batch size at which noise is as large as signal (SNR 1). Below it a "
        "larger batch pays, far above it hardly.",
        "log",
    ),
    "from_states": Word("from states", "Share of a sample's variance that comes from sampling states.", "share"),
    "best_radius": Word(
        "best radius",
        "The radius μ with the smallest mean squared error of those tried, in the critic's action units; the interval "
        "is that of 1,000 resamples of whole draws.",
        "log",
    ),
}

#: Numbers of each layer, by what is after the last slash.
LAYERS = {
    "variance": Word("noise", "A layer's part of the variance of one minibatch gradient over the draws.", "log"),
    "bias_squared": Word("bias²", "A layer's part of ‖E g − g_ref‖²; unbiased, so it may be negative.", "signed-log"),
    "reference_squared": Word("signal", "A layer's part of ‖g_ref‖²; parts of all layers add up to the whole.", "log"),
}

PAIRED = Word(
    "paired difference",
    "MSE(a) − MSE(b) of one minibatch gradient at the same states, draw d of both from the same random numbers: what "
    "they share cancels. Each interval is 95 % by itself.",
    "signed-log",
)

CONTRIBUTION = Word(
    "contribution",
    "b · (applied − truth), a term's part of the squared total error: contributions add up to it. Negative where the "
    "term undoes some of the others. Unbiased: what is noise of the estimate is taken off.",
    "signed-log",
)

#: Terms of the error ledger in the order of its chain, by their names in the store.
TERMS = {
    "estimator_noise": Word(
        "estimator noise", "The applied gradient less the estimator's expectation at the same minibatch.", "signed-log"
    ),
    "minibatch_noise": Word(
        "minibatch noise",
        "The estimator's expectation at the minibatch less that over the replay buffer.",
        "signed-log",
    ),
    "state_distribution": Word(
        "state distribution",
        "The same over the replay buffer less that over the policy's own discounted states: off-policy data, and γᵗ.",
        "signed-log",
    ),
    "closed_gates": Word(
        "closed gates", "What leaving out the states where the reference cannot be trusted changes.", "signed-log"
    ),
    "smoothing": Word(
        "smoothing", "The estimator's expectation less the critic's own gradient: its own bias.", "signed-log"
    ),
    "critic_error": Word(
        "critic error", "The critic's own gradient less that of true returns, of finitely many rewards.", "signed-log"
    ),
    "truncation": Word("truncation", "What the rewards after the reference's horizon would change.", "signed-log"),
    "entropy": Word("entropy", "The entropy bonus that the stated objective has not, or has besides.", "signed-log"),
}
TOTAL = Word("total", "‖applied − truth‖², the squared error of the gradient the optimizer applied.", "signed-log")
TRUTH = Word("truth", "‖truth‖²: an error as large is as bad as no update at all.", "signed-log")


def ledger_words(kind: str) -> dict[str, Word]:
    """The ledger's numbers by their names in the store.

    Args:
        kind: ``contribution`` or ``norm_squared``.

    Example:
        >>> list(ledger_words("contribution"))[:2]
        ['ledger/estimator_noise/contribution', 'ledger/minibatch_noise/contribution']
    """
    found = {f"ledger/{name}/{kind}": word for name, word in {**TERMS, "total": TOTAL}.items()}
    return found | ({"ledger/truth/norm_squared": TRUTH} if kind == "norm_squared" else {})
