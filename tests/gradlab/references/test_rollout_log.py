"""The file of finished rollouts survives being cut anywhere, and is refused where it is of something else."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.references.rollouts.log import RolloutLog

IDENTITY = {"agent": "1", "states": "2", "settings": "3", "versions": "mujoco 4.0"}


def block(i: int) -> dict[str, np.ndarray]:
    return {"values": np.full((2, 3), float(i)), "kind": np.array(i)}


def kept(path) -> list[int]:
    with RolloutLog(path, IDENTITY) as log:
        return [int(found["kind"]) for found in log.blocks()]


def test_blocks_come_back_in_their_order(tmp_path):
    path = tmp_path / "in" / "folders" / "that.are.new"
    for i in range(3):
        with RolloutLog(path, IDENTITY) as log:
            log.append(block(i))
    assert kept(path) == [0, 1, 2]
    with RolloutLog(path, IDENTITY) as log:
        found = list(log.blocks())
    np.testing.assert_array_equal(found[2]["values"], np.full((2, 3), 2.0))


def test_a_file_cut_at_any_byte_keeps_what_was_finished_and_goes_on(tmp_path):
    path = tmp_path / "a.rollouts"
    sizes = []
    with RolloutLog(path, IDENTITY) as log:
        sizes.append(path.stat().st_size)
        for i in range(2):
            log.append(block(i))
            sizes.append(path.stat().st_size)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        finished = sum(end >= size for size in sizes[1:])
        with RolloutLog(path, IDENTITY) as log:
            log.append(block(7))
        assert kept(path) == [*range(finished), 7]


def test_a_damaged_block_and_all_after_it_are_given_up(tmp_path):
    path = tmp_path / "a.rollouts"
    with RolloutLog(path, IDENTITY) as log:
        log.append(block(0))
        begin = path.stat().st_size
        log.append(block(1))
        log.append(block(2))
    damaged = bytearray(path.read_bytes())
    damaged[begin + 40] ^= 1
    path.write_bytes(damaged)
    assert kept(path) == [0]
    assert path.stat().st_size == begin


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({**IDENTITY, "agent": "x"}, "of other agent"),
        ({**IDENTITY, "states": "x"}, "of other states"),
        ({**IDENTITY, "settings": "x"}, "of other settings"),
        ({**IDENTITY, "versions": "mujoco 4.1"}, r"versions \(mujoco 4.0, now mujoco 4.1\)"),
    ],
)
def test_a_file_of_another_reference_is_refused_and_left_alone(tmp_path, identity, message):
    path = tmp_path / "a.rollouts"
    with RolloutLog(path, IDENTITY) as log:
        log.append(block(0))
    before = path.read_bytes()
    with pytest.raises(GradlabError, match=message) as caught:
        RolloutLog(path, identity)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("something dear to somebody")
    with pytest.raises(GradlabError, match="a file of another kind"):
        RolloutLog(path, IDENTITY)
    assert path.read_text() == "something dear to somebody"
    with pytest.raises(GradlabError, match="name a file that can be written"):
        RolloutLog(tmp_path, IDENTITY)
    with RolloutLog(tmp_path / "a", IDENTITY), pytest.raises(GradlabError, match="in use by another process"):
        RolloutLog(tmp_path / "a", IDENTITY)
