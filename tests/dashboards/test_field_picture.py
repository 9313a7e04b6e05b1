"""The address of the field's pictures: what it answers is that step's, and what it refuses."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from dashboards import create_app

ADDRESS = "/field/picture"


@pytest.fixture
def served(store_path, recorder):
    for step in (1000, 2000, 3000):
        recorder.record(step)
    app = create_app(str(store_path), refresh=0.0)
    records = app.server.config["GRADLAB_RECORDS"]
    records.looking_at([1])
    yield app.server.test_client(), records
    records.close()


def asked(served, **said):
    client, records = served
    whole = {"run": 1, "epoch": records.epoch, "theme": "light", "room": 3, **said}
    return client.get(ADDRESS, query_string=whole, headers={"Host": "127.0.0.1"})


def values(trace) -> np.ndarray:
    packed = trace["z"]
    shape = [int(one) for one in packed["shape"].split(",")]
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).reshape(shape)


@pytest.mark.parametrize(("step", "shown"), [(1000, 1000), (2400, 2000), (10**12, 3000), ("", 3000), ("x", 3000)])
@pytest.mark.parametrize(("critic", "state"), [(0, 0), (2, 3)])
def test_it_answers_with_the_picture_nearest_to_the_step(served, step, shown, critic, state):
    answer = asked(served, step=step, critic=critic, state=state)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in answer.headers
    assert answer.json["step"] == shown
    _, records = served
    number = next(number for at, number in records.fields(1) if at == shown)
    np.testing.assert_array_equal(
        values(answer.json["figure"]["data"][0]), records.arrays(number)["q"].values[critic, state]
    )


def test_panels_beside_each_other_need_room(served):
    wide, narrow = (asked(served, step=1000, beside="critics", room=room).json for room in (3, 1))
    assert [
        len([one for one in answer["figure"]["data"] if one["type"] == "heatmap"]) for answer in (wide, narrow)
    ] == [
        3,
        3,
    ]
    assert int(wide["style"]["height"][:-2]) < int(narrow["style"]["height"][:-2])
    assert "same Q" in wide["note"]


@pytest.mark.parametrize(
    "said",
    [{"critic": "-1"}, {"state": "9" * 40}, {"plane": "²"}, {"beside": "<b>"}, {"room": "0"}, {"compare": "7,,x"},
     {"theme": "'"}],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_what_goes_without_saying(served, said):
    assert asked(served, step=2000, **said).json["step"] == 2000


def test_without_a_picture_it_says_what_is_waited_for(served):
    answer = asked(served, run=7).json
    assert answer["step"] is None
    assert "waiting for" in answer["figure"]["layout"]["annotations"][0]["text"]


def test_a_page_of_another_store_and_other_hosts_get_nothing(served):
    assert asked(served, epoch="of another").status_code == 409
    client, records = served
    for headers, status in (({"Host": "evil.example"}, 400), ({"Host": "127.0.0.1", "Origin": "http://evil"}, 403)):
        answer = client.get(ADDRESS, query_string={"run": 1, "epoch": records.epoch}, headers=headers)
        assert answer.status_code == status
