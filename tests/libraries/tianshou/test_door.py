"""What probes.attach takes of Tianshou, and what it says of what it does not."""

import time
from types import SimpleNamespace

import gymnasium
import pytest
from tianshou.algorithm import TD3BC
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.env import SubprocVectorEnv, VectorEnvNormObs
from tianshou.trainer import OfflineTrainerParams

import probes
from gradlab.errors import GradlabError
from gradlab.store import open_store
from probes.callbacks import door_of
from probes.callbacks.tianshou import environment_id


def optimizer(trainer):
    return trainer.algorithm._optimizers[0]._optim


def hooks(trainer):
    return len(optimizer(trainer)._optimizer_step_post_hooks) + len(optimizer(trainer)._optimizer_step_pre_hooks)


@pytest.mark.parametrize("name", ["td3", "sac", "ppo", "trpo"])
def test_a_hook_comes_with_the_monitor_and_goes_with_it(name, train, tmp_path):
    trainer = train(name)
    assert hooks(trainer) == 0
    monitor = probes.attach(trainer, tmp_path / "run.db", probes=[probes.Gradient(), probes.OnPolicy()])
    assert hooks(trainer) == 1
    monitor.close()
    assert hooks(trainer) == 0


def test_what_the_store_says_of_the_run(train, tmp_path):
    trainer = train("td3", gamma=0.9)
    probes.attach(trainer, tmp_path / "run.db", probes=[probes.Gradient()]).close()
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.algorithm, run.environment, run.library) == ("TD3", "Pendulum-v1", "tianshou")
        assert run.config["model"]["gamma"] == 0.9
        assert run.config["model"]["update_actor_freq"] == 2


def test_the_environments_name(train):
    for wrap in (lambda env: env, VectorEnvNormObs):
        assert environment_id(train("td3", wrap=wrap).params.training_collector.env) == "Pendulum-v1"


def test_normalised_observations_are_not_simulated(train, tmp_path):
    chosen = [probes.Gradient(), probes.Simulator("Pendulum-v1")]
    with probes.attach(train("td3", wrap=VectorEnvNormObs), tmp_path / "run.db", probes=chosen) as monitor:
        assert monitor.left_out == {"simulator": "VectorEnvNormObs changes observations, and a simulator has others"}
    with probes.attach(train("td3"), tmp_path / "run.db", probes=[probes.Gradient()]) as monitor:
        assert monitor.left_out == {}


def test_the_trainers_own_logger_is_a_mirror(train, tmp_path):
    trainer = train("td3", steps=20)
    written = []
    writer = SimpleNamespace(add_scalar=lambda tag, value, step: written.append((tag, step)))
    trainer._logger.writer = writer
    probe = probes.Gradient(states=16, draws=8)
    with probes.attach(trainer, tmp_path / "run.db", probes=[probe], budget=None, mirror=True):
        trainer.run()
    assert ("gradlab/gradient/deterministic/bias_squared", 10) in written


def test_environments_in_other_processes_have_no_name():
    env = SubprocVectorEnv([lambda: gymnasium.make("Pendulum-v1")])
    assert environment_id(env) == ""
    env.close()


def test_rollouts_of_trpo_by_a_trainer_are_left_out(train, tmp_path):
    """Its optimizer is the critic's, and steps after the policy has moved."""
    with probes.attach(train("trpo"), tmp_path / "run.db", probes=[probes.OnPolicy()]) as monitor:
        assert monitor.left_out == {"on-policy": "the run has no rollouts that gradlab can read"}


def test_an_algorithm_alone_needs_a_sampler(train, tmp_path, caplog):
    trainer = train("td3", steps=20)
    with probes.attach(trainer.algorithm, tmp_path / "run.db", probes=[probes.Gradient(every=1)]) as monitor:
        trainer.run()
    assert monitor.status.measured == {}
    assert "does not know its buffer; pass the trainer, or sampler=sampler(buffer)" in caplog.text


def test_a_policy_is_refused(make):
    with pytest.raises(GradlabError, match="is a policy alone"):
        probes.attach(make("td3").policy)


def test_a_trainer_of_an_algorithm_that_is_not_supported_is_refused(make, fill):
    known = make("td3")
    rate = AdamOptimizerFactory()
    algorithm = TD3BC(policy=known.policy, policy_optim=rate, critic=known.critic, critic_optim=rate)
    params = OfflineTrainerParams(buffer=fill(known), max_epochs=1, epoch_num_steps=1)
    with pytest.raises(GradlabError, match="tianshou TD3BC is not supported"):
        probes.attach(algorithm.create_trainer(params))


def test_what_is_not_the_librarys_has_no_door():
    assert door_of("a string") is None


def test_an_agent_goes_to_the_other_process(train, tmp_path):
    """What is measured there is sent there, and needs nothing of the library."""
    trainer = train("sac", steps=20)
    probe = probes.Field(every=10, states=1, resolution=5, arrows=3, starts=2)
    monitor = probes.attach(trainer, tmp_path / "run.db", probes=[probe], budget=None)
    end = time.monotonic() + 120
    # How often that process gets round to measuring is chance; training is run again until it has.
    while not monitor.status.measured and not monitor.status.failed and time.monotonic() < end:
        monitor.step(trainer.params.training_collector.collect_step)
        trainer.run(reset_collectors=False)
    monitor.close()
    assert monitor.status.failed == {}
    assert monitor.status.measured["field"] >= 1
