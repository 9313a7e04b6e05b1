"""Which run is meant: by id, by name, and what is said where that is not clear."""

from __future__ import annotations

import pytest

from gradlab.errors import GradlabError
from gradlab.store import open_store
from gradlab.store.chosen import chosen_run


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "gradlab.db") as opened:
        yield opened


def test_by_id_by_name_and_the_newest(store):
    for name in ("one", "two", "7", "one"):
        store.start_run(name).finish()
    assert chosen_run(store).id == 4
    assert chosen_run(store, 2).name == "two"
    assert chosen_run(store, "2").name == "two"
    assert chosen_run(store, "two").id == 2
    # No run has the id 7.
    assert chosen_run(store, "7").id == 3


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("one", "is the name of 2 runs, 4 (one), 1 (one); give the id of one"),
        ("thre", "is not in store"),
        (9, "has 4 (one), 3 (7), 2 (two), 1 (one); give an id or a name"),
        (1.5, "is a float"),
        (True, "is a bool"),
    ],
    ids=["two of a name", "no such name", "no such id", "a float", "a truth"],
)
def test_what_is_not_clear_is_one_line(store, run, said):
    for name in ("one", "two", "7", "one"):
        store.start_run(name).finish()
    with pytest.raises(GradlabError) as error:
        chosen_run(store, run)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_without_runs_says_so(store):
    with pytest.raises(GradlabError, match="has no run yet"):
        chosen_run(store)
    for number in range(9):
        store.start_run(f"run {number}").finish()
    with pytest.raises(GradlabError, match=r"5 \(run 4\) and 4 older"):
        chosen_run(store, "none")
