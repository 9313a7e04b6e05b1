"""What is read from a Tianshou buffer, and that reading leaves it alone."""

import numpy as np
import pytest
import torch
from tianshou.data import Batch, ReplayBuffer, VectorReplayBuffer
from tianshou.utils.torch_utils import policy_within_training_step

from gradlab.adapters import view
from gradlab.adapters.tianshou_buffer import stored_observations, stored_rollout
from gradlab.errors import GradlabError
from gradlab.testing.conformance import differences, digest


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("size", [200, 120], ids=["whole", "overwritten"])
def test_observations_are_distinct_stored_ones_by_our_own_generator(parts, size, make, fill, random_states):
    algorithm = make("td3")
    buffer = fill(algorithm, steps=200, parts=parts, size=size)
    before, states = digest(buffer=buffer), random_states()
    drawn = [stored_observations(buffer, 50, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (differences(before, digest(buffer=buffer)), random_states()) == ([], states)
    assert drawn[0].shape == (50, 3)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    stored = {tuple(row) for row in buffer[buffer.sample_indices(0)].obs}
    assert len({tuple(row) for row in drawn[0]}) == 50
    assert {tuple(row) for row in drawn[0]} <= stored
    every = stored_observations(buffer, size, np.random.default_rng(0))
    assert {tuple(row) for row in every} == stored


def test_none_of_too_few_or_of_empty_buffers(make, fill):
    generator = np.random.default_rng(0)
    buffer = fill(make("td3"), steps=40)
    assert stored_observations(buffer, 41, generator) is None
    assert stored_observations(ReplayBuffer(10), 1, generator) is None
    assert stored_observations(VectorReplayBuffer(10, 2), 1, generator) is None
    algorithm = make("ppo")
    assert stored_rollout(algorithm, view(algorithm), VectorReplayBuffer(10, 2)) is None


def test_none_of_observations_that_are_not_flat():
    generator = np.random.default_rng(0)
    nested, images = ReplayBuffer(10), ReplayBuffer(10)
    rest = {"act": np.zeros(2), "rew": 0.0, "terminated": False, "truncated": False}
    for _ in range(10):
        nested.add(Batch(obs={"a": np.zeros(3)}, obs_next={"a": np.zeros(3)}, **rest))
        images.add(Batch(obs=np.zeros((3, 3)), obs_next=np.zeros((3, 3)), **rest))
    assert stored_observations(nested, 2, generator) is None
    assert stored_observations(images, 2, generator) is None


class Kept:
    """What an update has worked out in the batch that it trains on."""

    def __init__(self, algorithm):
        inner = algorithm._preprocess_batch

        def preprocess(batch, buffer, indices):
            self.batch = inner(batch, buffer, indices)
            return self.batch

        algorithm._preprocess_batch = preprocess


@pytest.mark.parametrize(
    ("name", "space", "parts", "options"),
    [
        ("a2c", "asymmetric", 1, {}),
        ("a2c", "discrete", 4, {"gamma": 0.9, "gae_lambda": 0.7}),
        ("ppo", "asymmetric", 4, {"return_scaling": True, "advantage_normalization": False}),
        ("trpo", "asymmetric", 4, {}),
    ],
    ids=["a2c", "a2c-discrete", "ppo-scaled", "trpo"],
)
def test_a_rollout_is_what_the_update_works_out(name, space, parts, options, make, fill, spaces, random_states):
    algorithm = make(name, spaces[space], **options)
    algorithm.ret_rms.update(np.random.default_rng(0).normal(0, 3, 50))
    buffer = fill(algorithm, steps=280, parts=parts)
    before, states = digest(algorithm=algorithm, buffer=buffer), random_states()
    rollout = stored_rollout(algorithm, view(algorithm), buffer)
    assert (differences(before, digest(algorithm=algorithm, buffer=buffer)), random_states()) == ([], states)
    kept = Kept(algorithm)
    with policy_within_training_step(algorithm.policy):
        algorithm.update(buffer, batch_size=None, repeat=1)
    assert torch.equal(rollout.obs, torch.as_tensor(kept.batch.obs))
    act = rollout.act.argmax(-1) if space == "discrete" else rollout.act
    assert torch.equal(act, torch.as_tensor(kept.batch.act).to(act))
    for ours, theirs in ((rollout.advantage, "adv"), (rollout.target, "returns"), (rollout.value, "v_s")):
        assert torch.allclose(ours, kept.batch[theirs], rtol=1e-5, atol=1e-5)
    # 280 steps: whole episodes of 25 and what is left over, in each part.
    lengths = [25] * (280 // parts // 25) + ([280 // parts % 25] if 280 // parts % 25 else [])
    assert rollout.lengths.tolist() == lengths * parts


def test_a_rollout_without_stored_successors_is_the_same(make, fill):
    algorithm = make("a2c")
    full = fill(algorithm, steps=100)
    short = ReplayBuffer(100, ignore_obs_next=True)
    for index in range(100):
        short.add(full[index])
    # The library then takes the next step's observation, and the last one's own at an end.
    successors = short[short.sample_indices(0)].obs_next
    rollout = stored_rollout(algorithm, view(algorithm), short)
    assert np.array_equal(successors[:24], full.obs[1:25])
    assert torch.equal(rollout.obs, torch.as_tensor(full.obs[:100]))


def test_notes_say_where_advantages_are_normalised(make, fill):
    algorithm = make("ppo", advantage_normalization=True)
    buffer = fill(algorithm, steps=100)
    (note,) = stored_rollout(algorithm, view(algorithm), buffer, batch_size=32).notes
    assert note == ("advantages are normalised over the rollout's 100 steps; PPO does so within each minibatch of 32")
    assert stored_rollout(algorithm, view(algorithm), buffer, batch_size=100).notes == ()


def test_an_algorithm_without_a_value_has_no_rollout(make, fill):
    algorithm = make("td3")
    with pytest.raises(GradlabError, match="rollout: TD3 has no value function of obs"):
        stored_rollout(algorithm, view(algorithm), fill(algorithm))
