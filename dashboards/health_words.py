"""What the numbers of the probe ``health`` are called and mean."""

from __future__ import annotations

from dashboards.words import Word

#: Numbers of the probe ``health``.
HEALTH = {
    "actor/saturated_share": Word(
        "saturated",
        "Share of the action's coordinates so deep in the actor's squash that it passes less than 1 % of a gradient: "
        "beyond 0.995 of a tanh.",
        "share",
    ),
    "actor/stuck_share": Word(
        "stuck", "Share of them that are saturated although the critic asks them back into the box.", "share"
    ),
    "actor/passed": Word(
        "gradient passed",
        "Share of the critic's action gradient that passes the actor's squash: Σ|slope · ∇_a Q| / Σ|∇_a Q|.",
        "share",
    ),
    "actor/change": Word(
        "actor moved",
        "‖Δθ‖/‖θ‖ of the actor's parameters since the measurement before. Exact: there is nothing random in it.",
        "signed-log",
    ),
    "critic/change": Word(
        "critics moved", "‖Δθ‖/‖θ‖ of all critics' parameters since the measurement before. Exact.", "signed-log"
    ),
    "replay/td_error": Word(
        "TD error, replay",
        "Root of the mean of δ², δ = r + γQ'(s', π(s')) − Q(s, a), over steps of the replay; Q' is the smallest target "
        "critic.",
        "log",
    ),
    "visited/td_error": Word("TD error, visited", "The same over the steps that the run took of late.", "log"),
    "visited/td_ratio": Word(
        "visited / replay",
        "Mean δ² of the steps the run took of late over that of the replay's: 1 where they fit.",
        "log",
    ),
    "replay/novel_share": Word(
        "unlike the replay",
        "Share of the states visited of late that are farther from every state of the replay than 95 % of the "
        "replay's are from each other; 5 % would be by chance.",
        "share",
    ),
    "replay/entered_share": Word(
        "entered the replay",
        "Share of the run's latest steps that are in its replay. Exact: 100 % in most algorithms.",
        "share",
    ),
    "replay/action_distance": Word(
        "distance, replay",
        "Mean ‖a − π(s)‖/√p over steps of the replay, in half widths of the action box: how far its actions are from "
        "the actor's own.",
        "linear",
    ),
    "visited/action_distance": Word(
        "distance, visited", "The same over the steps that the run took of late: its exploration.", "linear"
    ),
}
