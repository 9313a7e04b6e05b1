"""Small d3rlpy algorithms, and datasets of transitions to train them on."""

import contextlib
import io
import random
import warnings

import numpy as np
import pytest
import torch

with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import d3rlpy
from d3rlpy.algos import CQLConfig, DDPGConfig, IQLConfig, SACConfig, TD3Config, TD3PlusBCConfig
from d3rlpy.dataset import FIFOBuffer, MDPDataset, ReplayBuffer
from d3rlpy.logging import NoopAdapterFactory
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.preprocessing import MinMaxActionScaler, MinMaxObservationScaler, StandardObservationScaler

import probes
from probes.callbacks.d3rlpy import prepare, sampler

CONFIGS = {
    "ddpg": DDPGConfig,
    "td3": TD3Config,
    "sac": SACConfig,
    "td3+bc": TD3PlusBCConfig,
    "cql": CQLConfig,
    "iql": IQLConfig,
}
LOW, HIGH = np.float32([-0.5, -2.0]), np.float32([1.5, 0.25])


def dataset_of(episodes=8, length=25, obs=3, low=LOW, high=HIGH):
    """Episodes of random numbers; actions go from corner to corner of the box."""
    numbers = np.random.default_rng(5)
    count = episodes * length
    actions = numbers.uniform(low, high, size=(count, len(low))).astype(np.float32)
    actions[0], actions[1] = low, high
    ends = np.arange(count) % length == length - 1
    return MDPDataset(
        observations=(3 + 2 * numbers.normal(size=(count, obs))).astype(np.float32),
        actions=actions,
        rewards=numbers.normal(size=count).astype(np.float32),
        terminals=ends & (np.arange(count) % (2 * length) < length),
        timeouts=ends & (np.arange(count) % (2 * length) >= length),
    )


def built(name, *, activation="relu", scaled=None, box=True, encoder=None, **options):
    """An algorithm that has not been built; ``scaled``: "standard" or "unit", of its observations."""
    factory = VectorEncoderFactory(hidden_units=[16, 12], activation=activation, **encoder or {})
    networks = ["actor_encoder_factory", "critic_encoder_factory"]
    networks += ["value_encoder_factory"] if name == "iql" else []
    scalers = {"standard": StandardObservationScaler, "unit": MinMaxObservationScaler}
    options = dict.fromkeys(networks, factory) | {"batch_size": 32} | options
    if scaled:
        options["observation_scaler"] = scalers[scaled]()
    if box:
        options["action_scaler"] = MinMaxActionScaler()
    torch.manual_seed(3)
    return CONFIGS[name](**options).create()


def ready(name, dataset=None, **options):
    """An algorithm with networks and fitted scalers."""
    algorithm = built(name, **options)
    prepare(algorithm, dataset or dataset_of())
    return algorithm


def fit(algorithm, dataset, steps, **options):
    """The library's own training, seeded, without files."""
    d3rlpy.seed(3)
    algorithm.fit(
        dataset,
        n_steps=steps,
        n_steps_per_epoch=steps,
        logger_adapter=NoopAdapterFactory(),
        show_progress=False,
        **options,
    )


def fit_online(algorithm, env, steps, store, chosen):
    """The library's own training online, seeded, without files, with probes: the buffer and the monitor."""
    d3rlpy.seed(3)
    buffer = ReplayBuffer(FIFOBuffer(1000), env=env)
    with probes.attach(algorithm, store, probes=chosen, budget=None, sampler=sampler(buffer)) as monitor:
        algorithm.fit_online(
            env,
            buffer,
            n_steps=steps,
            n_steps_per_epoch=steps,
            logger_adapter=NoopAdapterFactory(),
            show_progress=False,
        )
    return buffer, monitor


@pytest.fixture
def make():
    return built


@pytest.fixture
def made():
    """A function that makes an algorithm which is ready to be viewed."""
    return ready


@pytest.fixture
def data():
    return dataset_of


@pytest.fixture
def train():
    return fit


@pytest.fixture
def train_online():
    return fit_online


@pytest.fixture
def random_states():
    """A function that describes the global random states of python, numpy and torch."""

    def states():
        numpy = np.random.get_state()
        return (random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state().numpy().tobytes())

    return states
