"""Training by d3rlpy with probes attached is bit for bit the training without them."""

import gymnasium
import numpy as np
import pytest

import probes
from gradlab.adapters import view
from gradlab.errors import GradlabError
from gradlab.store import open_store
from gradlab.testing.conformance import compare, differences, digest
from probes.callbacks.d3rlpy import prepare, sampler


class FieldHere(probes.Field):
    """In the training process, where it could do harm; how often the other process gets round to it is chance."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=20, states=2, resolution=5, arrows=3, starts=2),
        probes.Gradient(every=10, states=16, draws=8),
        probes.Curvature(every=20, states=4),
        LandscapeHere(every=40, states=2, starts=2),
        probes.OnPolicy(every=10),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddpg", "td3", "sac", "td3+bc"])
def test_training_is_bit_identical_with_probes(name, make, data, train, tmp_path):
    def training(attach):
        dataset = data()
        algorithm = make(name, scaled="standard")
        prepare(algorithm, dataset)
        attach((algorithm, dataset))
        train(algorithm, dataset, 60)
        # Beside its episodes, the dataset holds memory that was never written.
        return {"algorithm": algorithm, "episodes": list(dataset.episodes)}

    monitors = []

    def attach(pair):
        monitors.append(
            probes.attach(
                pair[0], tmp_path / "run.db", probes=everything_often(), budget=None, sampler=sampler(pair[1])
            )
        )
        return monitors[0]

    found = compare(training, attach)
    assert found.changed == [], found
    assert found.compared > 100
    assert found.failed == {}
    assert set(found.measured) == {"field", "gradient", "curvature", "landscape"}
    assert set(monitors[0].left_out) == {"on-policy"}
    with open_store(tmp_path / "run.db") as store:
        (row,) = store.runs()
        assert (row.algorithm.lower().replace("plus", "+"), row.library) == (name, "d3rlpy")
        steps = [measured.step for measured in store.measurements(run=row.id, probe="gradient")]
        # TD3's actor is updated every second step, from the first on.
        assert steps == ([1, 11, 21, 31, 41, 51] if name.startswith("td3") else [1, 10, 20, 30, 40, 50, 60])


def test_preparing_is_what_fit_does(make, data, train, random_states):
    runs = []
    for prepared in (False, True):
        dataset, algorithm = data(), make("sac", scaled="standard")
        np.random.seed(0)
        if prepared:
            prepare(algorithm, dataset)
            assert view(algorithm).obs_size == 3
        train_unseeded(algorithm, dataset, train)
        runs.append(digest(algorithm=algorithm) | {"states": repr(random_states())})
    assert differences(*runs) == []


def train_unseeded(algorithm, dataset, train):
    """As the fixture does, without seeding anew what preparing has drawn from."""
    from d3rlpy.logging import NoopAdapterFactory

    options = {"logger_adapter": NoopAdapterFactory(), "show_progress": False}
    algorithm.fit(dataset, n_steps=5, n_steps_per_epoch=5, **options)


@pytest.mark.slow
def test_training_online(make, tmp_path, train_online):
    env = gymnasium.make("Pendulum-v1")
    env.reset(seed=3)
    algorithm = make("sac", box=False)
    algorithm.build_with_env(env)
    buffer, monitor = train_online(algorithm, env, 120, tmp_path / "run.db", [probes.Gradient(every=20, states=16)])
    assert monitor.status.failed == {}
    assert monitor.status.measured["gradient"] >= 4
    assert buffer.transition_count > 100


def test_observations_are_those_of_the_dataset(data, random_states):
    dataset = data()
    stored = {tuple(row) for episode in dataset.episodes for row in np.asarray(episode.observations)}
    before = random_states()
    found = sampler(dataset)(40, np.random.default_rng(0))
    assert random_states() == before
    assert found.shape == (40, 3)
    assert len({tuple(row) for row in found}) == 40
    assert {tuple(row) for row in found} <= stored
    assert sampler(dataset)(10_000, np.random.default_rng(0)) is None
    assert (sampler(dataset)(5, np.random.default_rng(1)) != sampler(dataset)(5, np.random.default_rng(2))).any()


def test_a_sampler_is_asked_for(made, tmp_path, data):
    with pytest.raises(GradlabError, match="is no ReplayBuffer; of a mixture give its primary_replay_buffer"):
        sampler([1, 2])
    algorithm = made("td3")
    with probes.attach(algorithm, tmp_path / "run.db", probes=[probes.Gradient(every=1)], budget=None) as monitor:
        monitor.step(1)
    assert monitor.status.measured == {}
