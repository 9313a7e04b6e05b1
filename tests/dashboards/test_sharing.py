"""Equal questions of several pages are answered once, and never by what the store was before."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from dashboards import create_app, figures
from dashboards.sharing import Answer, Answers
from dashboards.showing import TOKENS
from gradlab.store import open_store

_JSON = "application/json"
# What a callback is asked for in these tests, by its first output.
ASKED = (
    "token.data", "page-body.children", "answer.children", "tiles.children", "cost.figure", "health-course.figure",
    "others.children", "gradient.figure", "error-parts.figure", "estimator.data", "landscape.figure", "wrong.figure",
    "run-facts.children", "help.opened", "critic.data",
)  # fmt: skip


class Page:
    """A page without a browser: asks callbacks as one does, and remembers what it was told."""

    def __init__(self, app: Any) -> None:
        self._client = app.server.test_client()
        self._specs = self._client.get("/_dash-dependencies").json
        self.said: dict[str, Any] = {
            "page.data": {"path": "gradient", "query": {}}, "scheme.data": "light", "room.data": 3, "seen.data": {},
            "follow.checked": True, "compare.value": [], "search.value": "", "slider.min": 0, "slider.max": 0,
            "slider.value": 0, "metrics.value": ["mse"], "reference.value": "gradient", "pulse.n_intervals": 1,
        }  # fmt: skip

    def ask(self, output: str) -> dict[str, Any]:
        """The answer of the callback that has this output."""
        answer = self._client.post("/_dash-update-component", data=self.question(output), content_type=_JSON)
        if answer.status_code == 204:
            return {}
        assert answer.status_code == 200
        found = answer.json["response"]
        self.said |= {f"{part}.{name}": value for part, props in found.items() for name, value in props.items()}
        return found

    def together(self, *questions: str) -> list[tuple[str, str]]:
        """Status and body of the answers to several questions that travel together."""
        asked = "\n".join(questions)
        answer = self._client.post("/_dash-update-component/together", data=asked, content_type=_JSON)
        assert answer.status_code == 200
        return [(line[:3], line[4:]) for line in answer.text.split("\n")]

    def question(self, output: str) -> str:
        """What a page asks of that callback."""
        (spec,) = [one for one in self._specs if output in one["output"].strip(".").split("...")]
        outputs = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in _parts(spec["output"])]
        several = spec["output"].startswith("..")
        body = {"output": spec["output"], "outputs": outputs if several else outputs[0], "changedPropIds": []}
        for what in ("inputs", "state"):
            asked = [{name: one[name] for name in ("id", "property")} for one in spec[what]]
            body[what] = [{**one, "value": self.said.get(f"{one['id']}.{one['property']}")} for one in asked]
        return json.dumps(body, separators=(",", ":"))

    def pulse(self) -> dict[str, Any]:
        """What the shell asks every second."""
        self.said["pulse.n_intervals"] += 1
        found = self.ask("token.data")
        self.said |= {f"token-{part}.data": self.said["token.data"] for part in TOKENS}
        return found


@pytest.mark.parametrize("way", ["with orjson", "without"])
def test_callbacks_are_answered_as_dash_answers_them(recorder, store_path, monkeypatch, way):
    recorder.record(1000)
    moment = time.time()
    monkeypatch.setattr("dashboards.parts.time.time", lambda: moment)
    if way == "without":
        monkeypatch.setattr("dashboards.calling.orjson", None)
    ours = _answers(store_path)
    monkeypatch.setattr("dashboards.calling._own_way", lambda *_: False)
    theirs = _answers(store_path)
    for output in ASKED:
        assert ours[output] == theirs[output]
        assert ours[output] or output == "help.opened"


def _answers(store_path: Any) -> dict[str, Any]:
    """Of an app that has answered nothing yet, what each callback gives."""
    app = create_app(str(store_path), refresh=0.0)
    page = Page(app)
    found = {}
    for output in ASKED:
        found[output] = page.ask(output)
        page.said |= {f"token-{part}.data": page.said["token.data"] for part in TOKENS}
    app.server.config["GRADLAB_RECORDS"].close()
    return found


def _parts(output: str) -> list[str]:
    return output.strip(".").split("...")


@pytest.fixture
def app(store_path):
    made = create_app(str(store_path), refresh=0.0)
    yield made
    made.server.config["GRADLAB_RECORDS"].close()


@pytest.fixture
def drawn(monkeypatch):
    """Counts how often the figure is drawn."""
    found = []
    draw = figures.gradient_error
    monkeypatch.setattr(figures, "gradient_error", lambda *args, **more: found.append(args) or draw(*args, **more))
    return found


def test_two_pages_cause_one_drawing_of_each_measurement(recorder, app, drawn):
    recorder.record(1000)
    pages = [Page(app) for _ in range(2)]
    for count in (1, 2):
        pulses = [page.pulse() for page in pages]
        assert pulses[0] == pulses[1] != {}
        answers = [page.ask("gradient.figure") for page in pages]
        assert answers[0] == answers[1] != {}
        assert len(drawn) == count
        recorder.record(1000 + 1000 * count)


def test_what_differs_is_drawn_for_each(recorder, app, drawn):
    recorder.record(1000)
    light, dark = Page(app), Page(app)
    dark.said["scheme.data"] = "dark"
    looks = []
    for page in (light, dark):
        page.pulse()
        looks.append(page.ask("gradient.figure")["gradient"]["figure"]["layout"]["font"]["color"])
    assert looks[0] != looks[1]
    assert len(drawn) == 2


def test_a_question_that_stays_the_same_is_answered_by_the_store_as_it_is(recorder, app, drawn):
    """Without a new token, as when its answer was lost: what was written since is in it nonetheless."""
    recorder.record(1000)
    page = Page(app)
    page.pulse()
    ends = []
    for step in (2000, 3000):
        page.said.pop("gradient-shown.data", None)
        page.ask("gradient.figure")
        ends.append(page.said["gradient-shown.data"]["key"])
        recorder.record(step)
    assert ends[0] != ends[1]
    assert len(drawn) == 2


def test_a_replaced_store_is_not_answered_from_what_was_kept(recorder, app, drawn, store_path, tmp_path):
    recorder.record(1000)
    pages = [Page(app), Page(app)]
    for page in pages:
        page.pulse()
        page.ask("gradient.figure")
    assert "TD3" in json.dumps(pages[0].said["runs.children"])
    other = tmp_path / "other.db"
    with open_store(other) as store:
        store.start_run(name="other")
    for ending in ("", "-wal", "-shm"):
        store_path.with_name(store_path.name + ending).unlink(missing_ok=True)
    other.rename(store_path)
    for page in pages:
        assert "other" in json.dumps(page.pulse()["runs"])
        assert "waiting for the first measurement" in json.dumps(page.ask("gradient.figure"))
    assert len(drawn) == 2


def test_what_cannot_be_read_is_tried_again_for_the_same_question(recorder, app, store_path):
    """Put right without a change that the store tells of: a question that was answered before is asked anew."""
    recorder.record(1000)
    page = Page(app)
    page.pulse()
    records = app.server.config["GRADLAB_RECORDS"]
    ((_, number),) = records.fields(1)
    with closing(sqlite3.connect(store_path)) as connection:
        (kept,) = connection.execute(
            "select data from arrays where measurement_id = ? and name = 'q'", (number,)
        ).fetchone()

        def store(data):
            connection.execute("update arrays set data = ? where measurement_id = ? and name = 'q'", (data, number))
            connection.commit()

        store(b"not an array")
        assert not records.arrays(number)
        before = len(app.server.config["GRADLAB_ANSWERS"])
        page.ask("help.opened")
        assert len(app.server.config["GRADLAB_ANSWERS"]) == before
        store(kept)
    assert records.arrays(number)
    page.ask("help.opened")
    assert len(app.server.config["GRADLAB_ANSWERS"]) == before + 1


def test_a_silence_is_told_although_the_store_stays_what_it_is(recorder, app, monkeypatch):
    recorder.record(1000)
    page = Page(app)
    assert "silent" not in json.dumps(page.pulse())
    later = time.time() + 1000
    monkeypatch.setattr("dashboards.parts.time.time", lambda: later)
    assert "silent since 16 min" in json.dumps(page.pulse())


def test_questions_that_travel_together_are_answered_as_each_alone(recorder, app, monkeypatch):
    recorder.record(1000)
    moment = time.time()
    monkeypatch.setattr("dashboards.parts.time.time", lambda: moment)
    page = Page(app)
    page.pulse()
    questions = [page.question(output) for output in ("gradient.figure", "help.opened", "answer.children")]
    answers = page.together(*questions, questions[0].replace("gradient.figure", "nothing.figure"), questions[0])
    assert [status for status, _ in answers] == ["200", "200", "200", "500", "200"]
    assert answers[0] == answers[4]
    for output, (_, body) in zip(("gradient.figure", "help.opened", "answer.children"), answers, strict=False):
        assert page.ask(output) == json.loads(body)["response"]


def test_who_asks_while_an_answer_is_made_waits_for_it():
    answers, made, begun, go_on = Answers(), [], threading.Event(), threading.Event()

    def make() -> Answer:
        begun.set()
        assert go_on.wait(10)
        made.append(1)
        return Answer(200, b"made")

    found: list[Answer] = []
    threads = [threading.Thread(target=lambda: found.append(answers.get("key", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    other = answers.get("other", lambda: Answer(200, b"meanwhile"))
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert other.body == b"meanwhile"
    assert [one.body for one in found] == [b"made"] * 4
    assert len(made) == 1


def test_what_failed_is_tried_again():
    answers = Answers()

    def fail() -> Answer:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        answers.get("key", fail)
    assert answers.get("key", lambda: Answer(200, b"yes")).body == b"yes"


def test_no_more_is_kept_than_there_is_room_for():
    answers = Answers(room=100)
    for number in range(50):
        answers.get(number, lambda: Answer(200, bytes(10)))
    assert len(answers) <= 10
    assert answers.get(49, lambda: Answer(200, b"anew")).body == bytes(10)
    assert answers.get(0, lambda: Answer(200, b"anew")).body == b"anew"
