"""The rollout as the library keeps it: what its advantages are made from, and one step on it against its p.grad."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import gradlab
from gradlab import Rollout, policy_update
from gradlab.adapters import view
from gradlab.adapters.stable_baselines3_rollout import loss_of, stored_rollout
from gradlab.rollout_advantages import normalisation, parity
from gradlab.statistics.policy_update import surrogate_gradient

#: Of one step's gradient: roundings of the library's float32, where the terms of unnormalised advantages nearly cancel.
TOLERANCE = 2e-6


class AtRolloutEnd(BaseCallback):
    """Keeps every rollout, and what the library says of its environments there."""

    def __init__(self, action):
        super().__init__()
        self.action, self.found = action, []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.found.append(self.action(self.model))


def rollouts_of(train_on_policy, algorithm, env, action=stored_rollout, count=2, **options):
    model = train_on_policy(algorithm, env, **options)
    callback = AtRolloutEnd(action)
    model.learn(count * model.n_steps * model.n_envs, callback=callback, reset_num_timesteps=False)
    return model, callback.found


@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_its_advantages_can_be_made_anew(algorithm, kind, train_on_policy, drift, boxes, record_property):
    env = DummyVecEnv([lambda: drift(*boxes["unit"])] * 3) if kind == "box" else "CartPole-v1"
    _, found = rollouts_of(train_on_policy, algorithm, env, gae_lambda=0.8)
    record_property("relative_error", max(parity(rollout) for rollout in found))
    for rollout in found:
        assert parity(rollout) <= 1e-6
        assert rollout.loss.gae_lambda == 0.8
        # Wrong settings do not pass.
        for wrong in ({"gae_lambda": 0.85}, {"discount": 0.9}):
            assert parity(replace(rollout, loss=replace(rollout.loss, **wrong))) > 1e-3
        assert parity(replace(rollout, reward=-rollout.reward)) > 1e-3
        shift, scale = normalisation(rollout)
        if algorithm is A2C:
            assert (shift, scale) == (0.0, 1.0)
        else:
            assert shift == pytest.approx(float(rollout.raw_advantage.mean()), rel=1e-4, abs=1e-4)
            assert scale == pytest.approx(float(rollout.raw_advantage.std()), rel=1e-4)


def test_its_loss_is_the_models(train_on_policy):
    def clip(left):
        return 0.1 + 0.1 * left

    options = {"clip_range": clip, "ent_coef": 0.01, "vf_coef": 0.3, "clip_range_vf": 0.4}

    def both(model):
        return stored_rollout(model).loss, model

    model, found = rollouts_of(train_on_policy, PPO, "CartPole-v1", both, **options)
    losses = [loss for loss, _ in found]
    assert {(loss.entropy, loss.value, loss.value_clip, loss.discount) for loss in losses} == {(0.01, 0.3, 0.4, 0.96)}
    # The schedule as training reads it.
    assert losses[-1].clip == pytest.approx(float(model.clip_range(model._current_progress_remaining)))
    _, (loss, *_) = rollouts_of(train_on_policy, A2C, "CartPole-v1", lambda model: stored_rollout(model).loss)
    assert loss.clip is None


def test_what_follows_the_last_row_and_how_old_an_episode_is(train_on_policy, drift, boxes):
    """Three environments of 25 steps, rollouts of 32: the second begins at step 7 of an episode."""
    env = VecNormalize(DummyVecEnv([lambda: drift(*boxes["unit"])] * 3))

    def both(model):
        values = model.policy.predict_values(torch.as_tensor(model._last_obs)).detach().flatten()
        return stored_rollout(model), values

    model, found = rollouts_of(train_on_policy, PPO, env, both, rollouts=1, n_steps=32)
    rollout, values = found[0]
    lengths = rollout.lengths.tolist()
    assert lengths == [18, 14] * 3
    ages = rollout.age.split(lengths)
    assert (ages[0] == -1).all()
    assert torch.equal(ages[1], torch.arange(14))
    assert (rollout.bootstrap[::2] == 0).all()
    torch.testing.assert_close(rollout.bootstrap[1::2].float(), model.gamma * values, rtol=1e-4, atol=1e-4)
    assert any("VecNormalize" in note for note in rollout.notes)
    # The third ends with an episode.
    _, found = rollouts_of(train_on_policy, PPO, env, stored_rollout, rollouts=1, count=1, n_steps=25)
    assert (found[0].bootstrap == 0).all()
    assert (found[0].age >= 0).all()


def test_a_ledger_of_its_rollout_adds_up(train_on_policy, drift, boxes):
    env = DummyVecEnv([lambda: drift(*boxes["unit"])] * 4)

    def ledger(model):
        rollout = stored_rollout(model)
        return gradlab.rollout_ledger(view(model), rollout), rollout

    _, found = rollouts_of(train_on_policy, PPO, env, ledger, ent_coef=0.01, gamma=0.8)
    ledger, rollout = found[-1]
    assert ledger.residual < 1e-10
    assert {term.name for term in ledger.terms if term.missing} == {"sampling noise", "bootstrap", "remaining"}
    assert not any("off by" in note for note in ledger.notes)
    assert ledger.scale == pytest.approx(float(rollout.raw_advantage.std()), rel=1e-4)


# One step on it ---------------------------------------------------------------------------------------------------


class Steps:
    """At each optimizer step, the library's gradient of the actor against minus the Agent's."""

    def __init__(self, model, wrong=None):
        self.model, self.wrong = model, wrong or {}
        self.errors, self.ratios, self.clipped = [], [], []
        inner = model.rollout_buffer.get

        def get(batch_size=None):
            for batch in inner(batch_size):
                self.batch = batch
                yield batch

        model.rollout_buffer.get = get
        model.policy.optimizer.register_step_pre_hook(self.before_step)

    def before_step(self, *_):
        model, batch = self.model, self.batch
        agent, rollout = view(model), self.rollout(batch)
        theirs = {name: p.grad for name, p in model.policy.named_parameters() if "value" not in name}
        ours = surrogate_gradient(agent, rollout)
        a, b = (torch.cat([part.double().flatten() for part in x.values()]) for x in (ours, theirs))
        self.errors.append(float((a + b).norm() / b.norm()))
        with torch.no_grad():
            discrete = not hasattr(model.policy, "log_std")
            act = batch.actions.long().flatten() if discrete else batch.actions
            log_prob = model.policy.evaluate_actions(batch.observations, act)[1]
        ratio = (log_prob - batch.old_log_prob).exp()
        self.ratios.append(float((ratio - 1).abs().max()))
        if rollout.loss.clip and len(rollout) > 2:
            update = policy_update(agent, rollout)
            outside = float(((ratio - 1).abs() > rollout.loss.clip).double().mean())
            change = log_prob - batch.old_log_prob
            divergence = float(((change.exp() - 1) - change).mean())
            self.clipped.append((update.clipped.value, update.outside.value, outside, update.kl.value, divergence))

    def rollout(self, batch):
        model = self.model
        advantage = batch.advantages
        if model.normalize_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        act = batch.actions
        if not hasattr(model.policy, "log_std"):
            act = torch.nn.functional.one_hot(act.long().flatten(), int(model.action_space.n)).float()
        return Rollout(
            batch.observations,
            act,
            advantage,
            batch.returns,
            batch.old_values,
            torch.arange(len(act)),
            log_prob=batch.old_log_prob,
            loss=replace(loss_of(model), **self.wrong),
        )


def steps_of(train_on_policy, algorithm, env, wrong=None, **options):
    options = {"max_grad_norm": np.inf, "ent_coef": 0.02} | options
    if algorithm is PPO:
        # Large steps, so that the clip acts.
        options = {"learning_rate": 3e-2, "clip_range": 0.05, "n_epochs": 4} | options
    model = train_on_policy(algorithm, env, **options)
    steps = Steps(model, wrong)
    model.learn(2 * model.n_steps * model.n_envs, reset_num_timesteps=False)
    return steps


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("normalise", [False, True], ids=["as-they-are", "normalised"])
def test_every_minibatch_of_ppo(kind, normalise, train_on_policy, drift, boxes, record_property):
    env = drift(*boxes["asymmetric"]) if kind == "box" else "CartPole-v1"
    steps = steps_of(train_on_policy, PPO, env, normalize_advantage=normalise)
    record_property("relative_error", [min(steps.errors), max(steps.errors)])
    assert len(steps.errors) == 2 * 4 * 2
    # The first minibatch of each rollout, where the ratio is one, and all later ones.
    assert steps.ratios[0] < 1e-5
    assert steps.ratios[8] < 1e-5
    assert max(steps.ratios) > 0.1
    assert max(steps.errors) <= TOLERANCE
    assert max(clipped for clipped, *_ in steps.clipped) > 0
    for clipped, outside, their_outside, kl, their_kl in steps.clipped:
        assert clipped <= outside == pytest.approx(their_outside)
        assert kl == pytest.approx(their_kl, abs=2e-6)


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_every_step_of_a2c(kind, train_on_policy, drift, boxes, record_property):
    env = drift(*boxes["asymmetric"]) if kind == "box" else "CartPole-v1"
    steps = steps_of(train_on_policy, A2C, env, normalize_advantage=True)
    record_property("relative_error", [min(steps.errors), max(steps.errors)])
    assert len(steps.errors) == 2
    assert max(steps.errors) <= TOLERANCE


@pytest.mark.parametrize("wrong", [{"clip": None}, {"clip": 0.3}, {"entropy": -0.2}], ids=str)
def test_another_loss_is_noticed(wrong, train_on_policy, drift, boxes):
    steps = steps_of(train_on_policy, PPO, drift(*boxes["unit"]), wrong, ent_coef=0.2)
    assert max(steps.errors) > 1e-3
