"""Arguments of the wrong kind: each check takes what is right, as what it must be, and refuses the rest in one line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gradlab import arguments
from gradlab.agent import Agent
from gradlab.errors import GradlabError, first_line

NAN = math.nan


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3), torch.tensor(3), torch.tensor([3.0])])
def test_whole_numbers_of_any_library_are_ints(value):
    found = arguments.whole_number("count", value, 1)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.float64(0.25), torch.tensor(0.25)])
def test_real_numbers_of_any_library_are_floats(value):
    found = arguments.real_number("radius", value, above=0.0)
    assert found == 0.25
    assert type(found) is float


REFUSED = [
    *[("whole_number", (value, 1)) for value in (0, -1, 2.5, "3", None, NAN, math.inf, True, [1], torch.ones(2))],
    *[("real_number", (value, 0.0)) for value in (-0.1, "1", None, NAN, math.inf, True, [1.0], torch.ones(2), 1j)],
    *[("time_allowed", (value,)) for value in (-1, NAN, "5", True, [])],
    *[("switch", (value,)) for value in ("yes", 1, 0, None, torch.tensor(True))],
    *[
        ("step_sizes", (value, (1e-3, 1e-4)))
        for value in (
            1e-5,
            (),
            [1e-5],
            [1e-6, 1e-5],
            [1e-5, 1e-5],
            ["a", "b"],
            "ab",
            [NAN, 1e-6],
            [1e-3, 0.0],
            [1, 0.1],
        )
    ],
    *[("real_tensor", (value,)) for value in (None, "a", [[1], [1, 2]], torch.ones(2, dtype=torch.cfloat), [1j], {})],
    *[("file_path", (value,)) for value in (3, "", b"a", True)],
    *[("listener", (value,)) for value in (3, "print")],
]


@pytest.mark.parametrize(("check", "given"), REFUSED)
def test_what_is_wrong_is_refused_in_one_line(check, given):
    name = "steps" if check == "step_sizes" else "it"
    with pytest.raises(GradlabError, match=rf"^{name}: .*; ") as caught:
        getattr(arguments, check)(*(() if check == "step_sizes" else (name,)), *given)
    assert "\n" not in str(caught.value)


def test_above_is_not_at():
    assert arguments.real_number("radius", 1e-300, above=0.0) == 1e-300
    with pytest.raises(GradlabError, match="radius: 0; give a finite number above 0"):
        arguments.real_number("radius", 0, above=0.0)


def test_what_is_right_goes_through():
    assert arguments.time_allowed("seconds", None) is None
    assert arguments.time_allowed("seconds", 0) == 0.0
    assert arguments.time_allowed("seconds", math.inf) == math.inf
    assert arguments.switch("entropy", np.bool_(False)) is False
    assert arguments.step_sizes(None, (1e-3, 1e-4)) == (1e-3, 1e-4)
    assert arguments.step_sizes(np.array([1e-2, 1e-3]), (1e-3, 1e-4)) == (1e-2, 1e-3)
    given = torch.ones(2, requires_grad=True)
    assert arguments.real_tensor("actions", given) is given
    assert arguments.real_tensor("actions", np.ones(2, dtype=np.float32)).dtype == torch.float64
    assert arguments.file_path("resume", Path("a")) == Path("a")
    assert arguments.listener("progress", print) is print


def test_long_values_and_errors_of_many_lines_are_cut_to_one():
    assert len(arguments.shown(list(range(1000)))) == 60
    assert "\n" not in arguments.shown(torch.ones(5, 5))
    assert first_line(ValueError("one.\ntwo")) == "ValueError: one"
    assert first_line(KeyError()) == "KeyError"


@pytest.mark.parametrize("discount", [NAN, -0.1, 1.1, "0.9", None])
def test_a_discount_is_a_number_from_0_to_1(discount):
    with pytest.raises(GradlabError, match=r"discount: .*γ is a number from 0 to 1"):
        Agent(torch.nn.Linear(1, 1), [], [-1], [1], discount)
