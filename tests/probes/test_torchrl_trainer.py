"""A TorchRL Trainer brings its loss, its optimizer, its replay buffer and its clock."""

import logging

import pytest
import torch
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymEnv, ObservationNorm, StepCounter, TransformedEnv
from torchrl.modules import MLP, IndependentNormal, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss, SACLoss, SoftUpdate
from torchrl.objectives.value import GAE
from torchrl.trainers import ReplayBufferTrainer, TargetNetUpdaterHook, Trainer

import probes
from gradlab.errors import GradlabError
from gradlab.store import open_store
from probes.callbacks.torchrl import rollout_hook

pytestmark = pytest.mark.filterwarnings("ignore")


def mlp(inputs, outputs):
    return MLP(in_features=inputs, out_features=outputs, num_cells=[16], activation_class=nn.Tanh)


def actor(spec, distribution, scale, **options):
    layers = nn.Sequential(mlp(3, 2 if isinstance(scale, NormalParamExtractor) else 1), scale)
    return ProbabilisticActor(
        TensorDictModule(layers, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=distribution,
        distribution_kwargs=options,
        return_log_prob=True,
    )


def environment():
    env = TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(8))
    env.set_seed(0)
    return env


def trainer_of(loss, env, policy, frames, total, **options):
    return Trainer(
        collector=Collector(env, policy, frames_per_batch=frames, total_frames=total),
        total_frames=total,
        frame_skip=1,
        loss_module=loss,
        progress_bar=False,
        save_trainer_interval=10**9,
        **options,
    )


def sac_trainer():
    torch.manual_seed(0)
    env = environment()
    space = env.action_spec.space
    policy = actor(env.action_spec, TanhNormal, NormalParamExtractor(), low=space.low, high=space.high)
    loss = SACLoss(policy, ValueOperator(mlp(4, 1), in_keys=["observation", "action"]))
    loss.make_value_estimator(gamma=0.95)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    trainer = trainer_of(loss, env, policy, 32, 320, optimizer=optimizer, optim_steps_per_batch=4)
    ReplayBufferTrainer(TensorDictReplayBuffer(storage=LazyTensorStorage(1000), batch_size=16)).register(trainer)
    trainer.register_op("post_optim", TargetNetUpdaterHook(SoftUpdate(loss, tau=0.01)))
    return trainer


def ppo_trainer():
    torch.manual_seed(0)
    env = environment()
    policy = actor(env.action_spec, IndependentNormal, AddStateIndependentNormalScale(1))
    loss = ClipPPOLoss(policy, ValueOperator(mlp(3, 1), in_keys=["observation"]))
    loss.make_value_estimator(gamma=0.95, lmbda=0.9)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    trainer = trainer_of(loss, env, policy, 64, 256, optimizer=optimizer, optim_steps_per_batch=1, num_epochs=3)
    advantages = GAE(gamma=0.95, lmbda=0.9, value_network=loss.critic_network)
    trainer.register_op("pre_epoch", lambda batch: advantages(batch))
    trainer.register_op("process_optim_batch", lambda batch: batch)
    return trainer


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.loss_module.parameters()])


def test_off_policy_a_trainer_needs_one_line(tmp_path):
    without = sac_trainer()
    without.train()
    trainer = sac_trainer()
    with probes.attach(
        trainer, tmp_path / "run.db", probes=[probes.Gradient(every=64, states=16, draws=4)], budget=None
    ) as monitor:
        trainer.train()
        assert monitor.status.step == 320
        assert (monitor.status.measured, monitor.status.failed) == ({"gradient": 6}, {})
    assert torch.equal(weights(without), weights(trainer))
    assert not trainer.optimizer._optimizer_step_post_hooks
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.algorithm, run.library) == ("SAC", "torchrl")
        assert [row.step for row in store.measurements(run=run.id)] == [32, 64, 128, 192, 256, 320]


def test_on_policy_a_trainer_needs_two(tmp_path):
    without = ppo_trainer()
    without.train()
    trainer = ppo_trainer()
    with probes.attach(trainer, tmp_path / "run.db", probes=[probes.OnPolicy(every=10)], budget=None) as monitor:
        trainer.register_op("pre_epoch", rollout_hook(monitor, trainer))
        trainer.train()
        # Once a batch, though there are three epochs.
        assert (monitor.status.measured, monitor.status.failed) == ({"on-policy": 4}, {})
    assert torch.equal(weights(without), weights(trainer))
    with open_store(tmp_path / "run.db") as store:
        assert [row.step for row in store.measurements(probe="on-policy")] == [64, 128, 192, 256]
        assert set(store.scalars().samples.tolist()) == {8}


def test_a_batch_that_cannot_be_read_ends_the_measuring_and_not_the_training(tmp_path, caplog):
    trainer = ppo_trainer()
    trainer._pre_epoch_ops.clear()
    with (
        caplog.at_level(logging.ERROR, "gradlab"),
        probes.attach(trainer, tmp_path / "run.db", probes=[probes.OnPolicy(every=10)], budget=None) as monitor,
    ):
        # Before GAE.
        trainer.register_op("pre_epoch", rollout_hook(monitor, trainer))
        trainer.train()
        assert monitor.status.measured == {}
    assert "gradlab stops measuring this run; training goes on" in caplog.text


def test_the_optimizer_is_the_actors(tmp_path):
    trainer = sac_trainer()
    loss = trainer.loss_module
    critics = torch.optim.Adam(loss.qvalue_network_params.parameters())
    own = torch.optim.Adam(loss.actor_network_params.parameters())

    class Stepper:
        optimizer_critic, optimizer_actor = None, None

    trainer.optimizer, trainer.optimization_stepper = None, Stepper()
    vars(trainer.optimization_stepper).update(optimizer_critic=critics, optimizer_actor=own)
    trainer._modules.clear()
    with probes.attach(trainer, tmp_path / "run.db", probes=[]):
        assert (len(critics._optimizer_step_post_hooks), len(own._optimizer_step_post_hooks)) == (0, 1)


def test_the_trainers_logger_gets_the_numbers(tmp_path):
    class Logger:
        def __init__(self):
            self.written = []

        def log_scalar(self, name, value, step=None):
            self.written.append((name, step))

    trainer = sac_trainer()
    trainer.logger = Logger()
    with probes.attach(
        trainer, tmp_path / "run.db", probes=[probes.Gradient(every=200, states=16, draws=4)], budget=None, mirror=True
    ):
        trainer.train()
    steps = {step for name, step in trainer.logger.written if name.startswith("gradlab/gradient/")}
    assert steps == {32, 224}


def test_a_simulator_is_left_out_where_the_environment_changes_observations(tmp_path):
    wanted = [probes.Simulator("Pendulum-v1")]
    trainer = sac_trainer()
    with probes.attach(trainer, tmp_path / "run.db", probes=wanted) as monitor:
        assert monitor.left_out == {}
    trainer.collector.env.append_transform(ObservationNorm(loc=0.0, scale=2.0, in_keys=["observation"]))
    with probes.attach(trainer, tmp_path / "run.db", probes=wanted) as monitor:
        assert "the environment's ObservationNorm changes its observations" in monitor.left_out["simulator"]


def test_a_loss_that_is_not_supported_is_refused_in_one_line(tmp_path):
    from torchrl.objectives import DQNLoss

    with pytest.raises(GradlabError, match="torchrl DQNLoss is not supported"):
        probes.attach(DQNLoss(nn.Linear(3, 2), action_space="one-hot"), tmp_path / "run.db")
