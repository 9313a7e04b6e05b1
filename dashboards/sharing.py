"""Answers that several open pages ask for are made once: a question says all that its answer depends on but the store.

What a page shows is known by the page alone and comes with its questions. Of two pages that show the same the questions
are the same, byte for byte, and so is what the callbacks make of them while the store stays what it is.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from hashlib import blake2b
from threading import Lock

from dash import Dash
from flask import Response, request

from dashboards.calling import Answer, caller
from dashboards.parts import ages, now
from dashboards.records import Records

#: Bytes of answers that are kept: some hundreds of figures.
_ROOM = 32 * 2**20
#: The moment of a pulse, by which nothing is drawn.
_MOMENT = re.compile(rb'("id":"pulse","property":"n_intervals","value":)\d+')


class Answers:
    """The newest answers, by what they depend on; safe from many threads.

    Args:
        room: bytes that are kept at most.

    Example:
        >>> answers = Answers()
        >>> [answers.get("key", lambda: Answer(200, b"made once")).body for _ in range(2)], len(answers)
        ([b'made once', b'made once'], 1)
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._size = 0
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._coming: dict[Hashable, Future[Answer]] = {}
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer of a key: kept, being made by another thread, which is waited for, or made now.

        Args:
            key: all that it depends on.
            make: makes it. What it raises is raised for those who wait, too, and nothing is kept then.
        """
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
            coming = self._coming.get(key)
            mine = self._coming[key] = Future() if coming is None else coming
        if coming is not None:
            return coming.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._coming[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._coming[key]
            self._kept[key] = made
            self._size += len(made.body)
            while self._size > self._room:
                self._size -= len(self._kept.popitem(last=False)[1].body)
        mine.set_result(made)
        return made

    def __len__(self) -> int:
        return len(self._kept)


def share(app: Dash, records: Records) -> Answers:
    """Lets an app answer equal questions once, for as long as the store stays what it is.

    Args:
        app: the app, with its callbacks.
        records: what is known of the store.
    """
    views = app.server.view_functions
    (name,) = [name for name in views if name.endswith("_dash-update-component")]
    dispatch = views[name]

    def by_dash(question: bytes) -> Response:
        # Among several questions of one request it is to see its own.
        with app.server.test_request_context(name, method="POST", data=question, content_type="application/json"):
            made: Response = dispatch()
        return made

    answers, call = Answers(), caller(app, by_dash)

    def answer(question: bytes) -> Answer:
        view = records.view()
        if view.condition not in ("ok", "empty") or records.troubled:
            # What cannot be read now may be put right without a change that the store tells of.
            return call(question)
        # The moment of a pulse says nothing; ages do.
        asked = blake2b(_MOMENT.sub(rb"\1", question, count=1), digest_size=16).digest()
        key = (asked, view.token, ages(view.runs, now()))
        return answers.get(key, lambda: call(question))

    def one() -> Response:
        return Response(*reversed(answer(request.get_data())), mimetype="application/json")

    def line(question: bytes) -> bytes:
        try:
            return b"%d %b" % answer(question)
        except Exception:
            # The others are answered nonetheless, as they would be alone.
            app.server.logger.exception("Exception on %s", name)
            return b"500 "

    def together() -> Response:
        return Response(b"\n".join(map(line, request.get_data().split(b"\n"))), mimetype="text/plain")

    views[name] = one
    # assets/together.js asks here: a question a line, and an answer a line with its status before it.
    app.server.add_url_rule(f"{name}/together", "together", together, methods=["POST"])
    return answers
