"""Runs that cannot work: an actor that cannot move, a critic that does not learn, a replay that is another policy's.

Thresholds are where healthy runs do not come and sick ones do: examples/sick_runs.py trains
both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dashboards import series as data
from dashboards.finding import Facts, Finding, amount, ends, share
from dashboards.said import number, percent, times

#: The actor is saturated from this share of its action's coordinates on, by the lower end of the interval, ...
SATURATED = 0.5
#: ... and gone where moreover no more than this share of the critic's gradient passes, by the upper end.
PASSED = 0.2
#: A network stands still that moves less than this share of what the other does.
STILL = 0.01
#: Visited states are strange to the replay from this share on, by the lower end; by chance it would be 0.05.
NOVEL = 0.15
#: The replay takes in what the run does where so many of the latest steps are in it.
ENTERED = 0.5

_PLACE = ("", "health")


def sickness(facts: Facts) -> Iterator[Finding]:
    """What is broken in the run's parts, by its newest measurement of the probe ``health``."""
    for detect in (_critic, _actor, _saturated, _replay):
        yield from detect(facts)


def _still(facts: Facts, name: str, other: str) -> tuple[int, int, float] | None:
    """Since when a network has stood still while the other moves, at how many measurements, and the other's last move.

    Measured at the newest step of both; None where it moves, or where neither does.
    """
    mine, others = (data.select(facts.series, "health", f"{one}/change") for one in (name, other))
    if mine is None or others is None:
        return None
    steps, here, there = np.intersect1d(mine.step, others.step, return_indices=True)
    stands = (others.value[there] > 0) & (mine.value[here] <= STILL * others.value[there])
    if not len(steps) or not stands[-1]:
        return None
    begin = len(stands) - int(np.argmin(stands[::-1])) if not stands.all() else 0
    return int(steps[begin]), len(stands) - begin, float(others.value[there][-1])


def _critic(facts: Facts) -> Iterator[Finding]:
    found = _still(facts, "critic", "actor")
    if found is None:
        return
    since, count, moved = found
    mine = facts.newest("health", "critic/change")
    assert mine is not None
    evidence = (
        f"‖Δθ‖/‖θ‖ of the critics is {_exact(float(mine.value[0]))} at the measurement of step {int(mine.step[0]):,} "
        f"while the actor's is {number(moved)}; so {times(count)} in a row, from step {since:,} on. "
        f"Told where it is below {percent(STILL)} % of the actor's."
    )
    evidence += _growth(facts, since)
    yield Finding(
        "bad",
        f"The critic is frozen: it has not learned since before step {since:,}, while the actor goes on climbing it.",
        evidence,
        "See that the critic's optimizer holds the parameters of the critic in use (not those of a copy), that its "
        "learning rate is not zero and that nothing has switched off their gradients.",
        *_PLACE,
    )


def _growth(facts: Facts, since: int) -> str:
    """How the TD error has gone since."""
    error = data.select(facts.series, "health", "replay/td_error")
    if error is None:
        return ""
    before, now = error.pick(error.step <= since), facts.newest("health", "replay/td_error")
    if not len(before) or now is None or int(before.step[-1]) == int(now.step[0]):
        return ""
    return f" The TD error on the replay was {number(float(before.value[-1]))} then and is {amount(now, 'health')}."


def _actor(facts: Facts) -> Iterator[Finding]:
    found = _still(facts, "actor", "critic")
    # An actor that gets no gradient through its squash stands still for that, which is told of by itself; one that is
    # not stepped yet may be meant to begin later.
    if found is None or found[1] < 2 or _saturated_at(facts):
        return
    since, count, moved = found
    yield Finding(
        "bad",
        f"The actor is frozen: it has not moved since before step {since:,}, while the critic goes on learning.",
        f"‖Δθ‖/‖θ‖ of the actor is below {percent(STILL)} % of the critics' {number(moved)}, {times(count)} in a row.",
        "See that the actor's optimizer holds its parameters and is stepped, and that its loss depends on them.",
        *_PLACE,
    )


def _saturated_at(facts: Facts) -> int:
    """At how many of the newest measurements in a row the actor was saturated, and no gradient passed."""
    saturated, passed = (data.select(facts.series, "health", f"actor/{name}") for name in ("saturated_share", "passed"))
    if saturated is None or passed is None:
        return 0
    _, here, there = np.intersect1d(saturated.step, passed.step, return_indices=True)
    deep = (saturated.low[here] >= SATURATED) & (passed.high[there] <= PASSED)
    return int(np.cumprod(deep[::-1]).sum())


def _saturated(facts: Facts) -> Iterator[Finding]:
    count = _saturated_at(facts)
    saturated, stuck, passed = (
        facts.newest("health", f"actor/{name}") for name in ("saturated_share", "stuck_share", "passed")
    )
    if not count or saturated is None or passed is None:
        return
    evidence = (
        f"Saturated: {share(saturated, 'health')} of the action's coordinates, told from {percent(SATURATED)} % on; of "
        f"the critic's gradient {percent(ends(passed)[0])} % passes the squash, told up to {percent(PASSED)} %; so "
        f"{times(count)} in a row."
    )
    if stuck is not None:
        evidence += f" On {percent(ends(stuck)[0])} % of the coordinates the critic asks the action back inside."
    if count == 1:
        text = "The actor is saturated at the newest measurement: many healthy runs are when training begins."
        yield Finding("doubtful", text, evidence, "Wait for the next measurement.", *_PLACE)
        return
    yield Finding(
        "bad",
        "The actor is saturated: its actions lie so deep in the squash that no gradient reaches it.",
        evidence,
        "Start it anew with a smaller last layer or a lower learning rate, or penalise what goes into the squash; "
        "training on will not bring it back.",
        *_PLACE,
    )


def _replay(facts: Facts) -> Iterator[Finding]:
    entered, novel = (facts.newest("health", f"replay/{name}") for name in ("entered_share", "novel_share"))
    strange = ""
    if novel is not None:
        strange = (
            f"Of the states visited of late {share(novel, 'health')} are unlike every state of the replay; 5 % would "
            f"be by chance, told from {percent(NOVEL)} % on."
        )
    if entered is not None and float(entered.value[0]) < ENTERED:
        evidence = (
            f"Of the run's latest steps {percent(float(entered.value[0]))} % are in the replay (step "
            f"{int(entered.step[0]):,}; told below {percent(ENTERED)} %)."
        )
        yield Finding(
            "bad",
            "The replay is far off policy: it is not refreshed, what the run does now does not enter it.",
            f"{evidence} {strange}{_far(facts)}",
            "See that new steps are added to the buffer that training samples from; if it is a fixed data set by "
            "intent, use an offline algorithm, which keeps the actor near it.",
            *_PLACE,
        )
    elif novel is not None and novel.low[0] >= NOVEL:
        yield Finding(
            "bad",
            "The replay is far off policy: states that the run visits are not in it.",
            f"{strange}{_far(facts)}",
            "Let newer steps weigh more (a smaller buffer, more steps of the environment for each update), or begin "
            "with data nearer to the policy.",
            *_PLACE,
        )


def _far(facts: Facts) -> str:
    """How far the replay's actions are from the actor's, and how well the critic fits what the run visits."""
    stored, own = (facts.newest("health", f"{one}/action_distance") for one in ("replay", "visited"))
    ratio = facts.newest("health", "visited/td_ratio")
    said = ""
    if stored is not None and own is not None:
        said += (
            f" Its actions are {number(float(stored.value[0]))} half widths of the box from the actor's own; the run's "
            f"{number(float(own.value[0]))}."
        )
    if ratio is not None:
        said += f" The squared TD error where the run is, over that on the replay: {amount(ratio, 'health')}."
    return said


def _exact(value: float) -> str:
    return "exactly 0" if value == 0 else number(value)
