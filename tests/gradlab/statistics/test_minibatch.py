"""What is asked of a noise scale beyond its numbers, which the tests of the split have."""

from __future__ import annotations

import torch

from gradlab.agent import Agent
from gradlab.statistics.minibatch import noise_scale


def test_it_is_printed_a_number_a_line_and_then_what_must_be_known() -> None:
    generator = torch.Generator().manual_seed(0)
    agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
    obs = torch.ones(40, 1)
    for mean, said in ((3.0, 0), (0.0, 1)):
        found = noise_scale(agent, obs, mean + torch.randn(2, 40, 1, generator=generator))
        lines = str(found).splitlines()
        numbers = (found.scale, found.from_states, found.split.total, found.split.gradient_squared)
        assert [line.split("  ")[0] for line in lines[:4]] == ["noise scale", "from states", "variance", "‖E g‖²"]
        assert [line[12:].strip() for line in lines[:4]] == [str(number) for number in numbers]
        assert tuple(lines[4:]) == found.notes
        assert len(found.notes) == said
