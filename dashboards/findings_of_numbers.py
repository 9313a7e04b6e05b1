"""What stands out in a run's gradient, landscape and curvature."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards import series as data
from dashboards.alarms import marks
from dashboards.answer import direction, printed_cosine
from dashboards.figures.curvature import WATCHED
from dashboards.finding import Facts, Finding, ends, share
from dashboards.rollout_answer import signal
from dashboards.said import interval, number, percent
from dashboards.words import CURVATURE, counted, estimator_label

#: A gap below this share of Q's range is not worth a word.
_GAP = 0.02
#: The most alarms that are named; the figure has all.
_NAMED = 3


def wrong_way(facts: Facts) -> Iterator[Finding]:
    """On how many states the critic points the wrong way."""
    said = direction(facts.series)
    if said is not None:
        remedy = "" if said.verdict == "good" else "The page Critic says where, and whether value or slope is off."
        yield Finding(said.verdict, said.text, "", remedy, "critic", "wrong-direction")


def opposed(facts: Facts) -> Iterator[Finding]:
    """Whether the whole policy gradient goes with the simulator's."""
    cosine = facts.newest("simulator", "deterministic/cosine")
    if cosine is None:
        return
    _, low, high = ends(cosine)
    # No cosine passes 1, whatever its interval does.
    between = interval(max(low, -1.0), min(high, 1.0))
    about = (
        f"Cosine {printed_cosine(cosine, '.2f')}, {between}; n = {counted(cosine, 'simulator')}, "
        f"step {int(cosine.step[0]):,}."
    ).replace("-", "−")
    place = ("critic", "simulator-error")
    if low > 0:
        yield Finding("good", "The critic's whole policy gradient goes with the simulator's.", about, "", *place)
    elif high < 0:
        remedy = "Train the critic more for each step of the actor, or look at what its targets are made of."
        yield Finding("bad", "The critic's whole policy gradient goes against the simulator's.", about, remedy, *place)
    else:
        text = "Whether the critic's whole policy gradient goes with the simulator's or against it is not resolved."
        yield Finding("unknown", text, about, "More states of the probe simulator would resolve it.", *place)


def rollout(facts: Facts) -> Iterator[Finding]:
    """How much of a rollout's gradient is signal."""
    said = signal(facts.series)
    if said is not None:
        remedy = "Longer rollouts have less noise; the noise scale says by how much." if said.verdict == "bad" else ""
        yield Finding(said.verdict, said.text, "", remedy, "gradient", "rollout-gradient")


def biased(facts: Facts) -> Iterator[Finding]:
    """Estimators that are biased against the critic's own gradient."""
    found = []
    for name in data.estimators(facts.series, "gradient", ["bias_squared"]):
        point = facts.newest("gradient", f"{name}/bias_squared")
        # An interval without width is of what has no error to estimate.
        if point is not None and point.low[0] > 0 and point.low[0] != point.high[0]:
            found.append((name, point))
    if not found:
        return
    found.sort(key=lambda one: -float(one[1].value[0]))
    named = [f"{estimator_label(name)} {number(ends(one)[0])} ({interval(*ends(one)[1:])})" for name, one in found]
    newest = found[0][1]
    yield Finding(
        "doubtful",
        "Some estimators are biased against the critic's own gradient.",
        f"By bias²: {'; '.join(named)}; n = {counted(newest, 'gradient')}, step {int(newest.step[0]):,}.",
        page="gradient",
        figure="gradient-error",
    )


def basins(facts: Facts) -> Iterator[Finding]:
    """How far the actor is from the best action by its own critic."""
    gap, own, basin = (
        facts.newest("landscape", name) for name in ("relative_gap", "relative_own_fit", "relative_basin_choice")
    )
    place = ("landscape", "landscape")
    if gap is not None and gap.low[0] > 0 and gap.value[0] >= _GAP:
        evidence = f"{share(gap, 'landscape')}; told from {percent(_GAP)} % on"
        if own is not None and basin is not None:
            larger = "its own fit" if own.value[0] >= basin.value[0] else "its choice of a basin"
            fit, choice = (percent(float(one.value[0])) for one in (own, basin))
            evidence += f"; most of it by {larger} (own fit {fit} %, basin choice {choice} %)"
        yield Finding("doubtful", "The actor leaves some of Q's range on the table.", f"{evidence}.", "", *place)
    best = facts.newest("landscape", "best_basin_share")
    if best is not None and best.high[0] < 0.5:
        text = "The actor stands in the basin of the best optimum on less than half of the states."
        remedy = "Following the gradient will not bring it there; a wider search of actions might."
        yield Finding("bad", text, f"On only {share(best, 'landscape')}.", remedy, *place)
    level = facts.newest("landscape", "level_share")
    if level is not None and level.low[0] > 0:
        text = "The critic tells the actor nothing on some of the states: Q is the same for every action."
        yield Finding("bad", text, f"On {share(level, 'landscape')}.", "", *place)


def curved(facts: Facts) -> Iterator[Finding]:
    """Where M/μ means little."""
    valid, interior = (facts.newest("curvature", name) for name in ("valid_share", "interior_share"))
    place = ("curvature", "curvature")
    if interior is not None and interior.high[0] < 0.5:
        text = "The actor's action lies at the bounds on more than half of the states."
        yield Finding("doubtful", text, f"It is inside on only {share(interior, 'curvature')}.", "", *place)
    if valid is not None and valid.high[0] < 0.5:
        text = "M/μ means something on less than half of the states: elsewhere Q is not concave."
        yield Finding("doubtful", text, f"On only {share(valid, 'curvature')}.", "", *place)


def alarms(facts: Facts) -> Iterator[Finding]:
    """Where a number departs from the run's own history, from the newest."""
    found = []
    for name in WATCHED:
        one = data.select(facts.series, "curvature", name)
        newest = [] if one is None else marks(one, CURVATURE[name].label)[-_NAMED:]
        found += [] if one is None else [(one.step[mark.index], mark) for mark in newest]
    for _, mark in sorted(found, key=lambda one: -one[0])[:_NAMED]:
        yield Finding(
            "doubtful", f"{mark.text[0]}.", f"{'; '.join(mark.text[1:])}.", "", page="curvature", figure="curvature"
        )
