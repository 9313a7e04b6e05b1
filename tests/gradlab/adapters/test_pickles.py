"""Pickles read without running what they name."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest

from gradlab.adapters.pickles import StandIn, is_pickle, plain, represented
from gradlab.errors import GradlabError

ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float64": np.array(0.5),
    "bytes swapped": np.arange(3).astype(">f4"),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    "whole numbers": np.arange(3),
    "truths": np.array([True, False]),
    "empty": np.zeros((0, 3)),
}


class Runs:
    def __reduce__(self):
        return print, ("code from the file has run",)


class Holds:
    def __init__(self):
        self.numbers = np.arange(3.0)
        self.inner = {"runs": Runs()}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", list(ARRAYS))
def test_arrays_are_what_was_written(name, protocol):
    data = pickle.dumps(OrderedDict(a=ARRAYS[name], b=[ARRAYS[name], 1]), protocol=protocol)
    assert is_pickle(data[:2])
    if protocol == 2:
        # It spells bytes by a codec, which is looked up.
        with pytest.raises(GradlabError, match=r"a pickle that names _codecs\.encode"):
            plain(data, "here")
        return
    found = plain(data, "here")
    assert np.array_equal(found["a"], ARRAYS[name])
    assert np.array_equal(found["b"][0], ARRAYS[name])
    assert found["a"].dtype == ARRAYS[name].dtype.newbyteorder("=")


def test_numbers_of_numpys_are_what_was_written():
    numbers = [np.float32(0.1), np.int64(-3), np.bool_(True)]
    found = plain(pickle.dumps(numbers), "here")
    assert found == numbers
    assert [number.dtype for number in found] == [number.dtype for number in numbers]


@pytest.mark.parametrize(
    "held",
    [Runs(), {"a": Runs()}, [print], np.array([Runs()], dtype=object), np.array(["a"])],
    ids=["call", "in-a-dictionary", "function", "array-of-objects", "array-of-text"],
)
def test_everything_else_is_refused_and_does_not_run(held, capsys):
    data = pickle.dumps(held)
    with pytest.raises(GradlabError) as error:
        plain(data, "here")
    assert str(error.value).startswith("here: a pickle that ")
    assert "\n" not in str(error.value)
    assert "has run" not in capsys.readouterr().out


@pytest.mark.parametrize("code", ["O", "V8", "U4", "f4,f4", "(2,)f4", "M8[s]"])
def test_arrays_of_anything_but_numbers_are_refused(code):
    class Array:
        def __reduce__(self):
            return np._core.numeric._frombuffer, (b"12345678", Kind(), (1,), "C")

    class Kind:
        def __reduce__(self):
            return np.dtype, (code, False, True)

    with pytest.raises(GradlabError, match="damaged or cut short"):
        plain(pickle.dumps(Array()), "here")


def test_objects_are_represented_and_nothing_of_theirs_runs(capsys):
    found = represented(pickle.dumps({"holds": Holds(), "class": Holds}), "here")
    assert isinstance(found["holds"], StandIn)
    assert found["holds"].name == f"{__name__}.Holds"
    assert np.array_equal(found["holds"].state["numbers"], np.arange(3.0))
    runs = found["holds"].state["inner"]["runs"]
    assert (runs.name, runs.given) == ("builtins.print", ("code from the file has run",))
    assert issubclass(found["class"], StandIn)
    assert capsys.readouterr().out == ""


def test_damage_is_refused():
    data = pickle.dumps({"a": np.arange(9.0)})
    for end in range(len(data)):
        for read in (plain, represented):
            with pytest.raises(GradlabError, match=r"^here: a pickle that"):
                read(data[:end], "here")


def test_what_is_no_pickle():
    assert not is_pickle(b"")
    assert not is_pickle(b"\x80")
    assert not is_pickle(b"\x80\x06")
    assert not is_pickle(b"PK\x03\x04")
