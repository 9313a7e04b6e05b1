"""Observations out of TorchRL's replay buffers, without their samplers."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.data import (
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    TensorDictReplayBuffer,
)
from torchrl.envs import Compose, DoubleToFloat, ObservationNorm

from gradlab import GradlabError
from gradlab.adapters.torchrl_replay import refuse_transforms, stored_observations
from gradlab.testing.conformance import differences, digest

STORAGES = {"tensor": LazyTensorStorage, "memmap": LazyMemmapStorage, "list": ListStorage, "stack": LazyStackStorage}


def rows(first, count):
    """Row k has the observation (k, k + 0.5)."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return TensorDict({"observation": torch.stack([numbers, numbers + 0.5], -1), "td_error": numbers}, [count])


def filled(storage, count=30, size=40):
    buffer = TensorDictReplayBuffer(storage=storage(size), batch_size=8)
    for first in range(0, count, 10):
        buffer.extend(rows(first, min(10, count - first)))
    return buffer


@pytest.mark.parametrize("kind", STORAGES)
def test_distinct_stored_rows(kind):
    buffer = filled(STORAGES[kind])
    found = stored_observations(buffer, 30, np.random.default_rng(0))
    assert found.shape == (30, 2)
    assert sorted(found[:, 0].tolist()) == list(range(30))
    assert torch.equal(found[:, 1] - found[:, 0], torch.full((30,), 0.5))
    few = stored_observations(buffer, 5, np.random.default_rng(1))
    assert len(set(few[:, 0].tolist())) == 5
    assert torch.equal(few, stored_observations(buffer, 5, np.random.default_rng(1)))
    assert stored_observations(buffer, 31, np.random.default_rng(0)) is None


def test_a_full_ring_holds_the_latest():
    buffer = filled(LazyTensorStorage, count=70)
    found = stored_observations(buffer, 40, np.random.default_rng(0))
    assert sorted(found[:, 0].tolist()) == list(range(30, 70))


def test_an_empty_buffer_has_too_few():
    assert stored_observations(ReplayBuffer(storage=LazyTensorStorage(10)), 1, np.random.default_rng(0)) is None


@pytest.mark.parametrize("kind", ["tensor", "memmap"])
def test_what_is_given_is_a_copy(kind):
    buffer = filled(STORAGES[kind])
    stored_observations(buffer, 30, np.random.default_rng(0)).zero_()
    assert buffer[:]["observation"][:, 0].tolist() == list(range(30))


def test_trajectories_side_by_side():
    buffer = ReplayBuffer(storage=LazyTensorStorage(40, ndim=2), batch_size=8)
    buffer.extend(rows(0, 24).reshape(6, 4))
    assert len(buffer) == 24
    found = stored_observations(buffer, 24, np.random.default_rng(0))
    assert sorted(found[:, 0].tolist()) == list(range(24))
    assert stored_observations(buffer, 25, np.random.default_rng(0)) is None


def test_padded_steps_are_left_out():
    data = rows(0, 20)
    data["collector", "mask"] = torch.arange(20) % 4 != 0
    buffer = ReplayBuffer(storage=LazyTensorStorage(40))
    buffer.extend(data)
    found = stored_observations(buffer, 15, np.random.default_rng(0))
    assert {int(k) % 4 for k in found[:, 0].tolist()} == {1, 2, 3}
    assert stored_observations(buffer, 16, np.random.default_rng(0)) is None


def test_the_buffer_and_the_random_states_are_left_alone(random_states):
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(40), batch_size=8)
    buffer.extend(rows(0, 30))
    buffer.sample()

    def state():
        return digest(sampler=buffer._sampler, held=dict(buffer._storage._storage[:30].items()), writer=buffer._writer)

    before, random_before, attributes = state(), random_states(), set(vars(buffer._storage))
    stored_observations(buffer, 8, np.random.default_rng(0))
    assert differences(before, state()) == []
    assert random_states() == random_before
    assert set(vars(buffer._storage)) == attributes
    buffer.sample()
    assert random_states() != random_before


def test_another_key():
    buffer = filled(LazyTensorStorage)
    assert stored_observations(buffer, 3, np.random.default_rng(0), key="td_error").shape == (3, 1)
    with pytest.raises(GradlabError, match="the buffer holds no 'state'; name the key"):
        stored_observations(buffer, 3, np.random.default_rng(0), key="state")


def test_transforms_that_change_observations_are_refused():
    buffer = filled(LazyTensorStorage)
    refuse_transforms(buffer, "observation")
    buffer.append_transform(Compose(DoubleToFloat(in_keys=["observation"])))
    refuse_transforms(buffer, "observation")
    buffer.append_transform(ObservationNorm(loc=0.0, scale=2.0, in_keys=["observation"], out_keys=["observation"]))
    refuse_transforms(buffer, "state")
    with pytest.raises(GradlabError, match="the buffer's ObservationNorm changes 'observation' when it is sampled"):
        refuse_transforms(buffer, "observation")
