"""The on-policy probe's terms of the ledger and its clipping, from the library's own modules, step by step."""

import copy
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env

import gradlab
import probes
from gradlab.adapters.stable_baselines3_rollout import stored_rollout
from gradlab.ledger.rollout import term_norms
from gradlab.rollout_advantages import parity
from gradlab.store import open_store


class AtRolloutEnds(BaseCallback):
    def __init__(self, action):
        super().__init__()
        self.action, self.found = action, []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.found.append(self.action(self.model))


def model_of(algorithm, task="CartPole-v1", envs=4, n_steps=32, **options):
    if algorithm is not A2C:
        options.setdefault("batch_size", 32)
    options["policy_kwargs"] = {"net_arch": [6]}
    return algorithm("MlpPolicy", make_vec_env(task, n_envs=envs, seed=1), n_steps=n_steps, seed=3, **options)


def by_trajectory(model):
    """Of each trajectory: gradients with GAE(λ), with λ = 1, of the entropy, with λ = 1 and γᵗ; and the weights."""
    policy, buffer = copy.deepcopy(model.policy).double(), model.rollout_buffer
    parameters = [p for name, p in policy.named_parameters() if "value" not in name]
    with torch.no_grad():
        last = model.policy.predict_values(model.policy.obs_to_tensor(model._last_obs)[0]).flatten().double()
    raw = buffer.advantages.astype(float)
    scale = raw.std(ddof=1) if model.normalize_advantage else 1.0
    out = []
    for env in range(buffer.n_envs):
        full = 0.0
        rows = []
        for t in reversed(range(buffer.buffer_size)):
            end = t + 1 == buffer.buffer_size
            done = model._last_episode_starts[env] if end else buffer.episode_starts[t + 1, env]
            following = float(last[env]) if end else float(buffer.values[t + 1, env]) + full
            full = buffer.rewards[t, env] + (0.0 if done else model.gamma * following) - buffer.values[t, env]
            rows.append(full)
        rows.reverse()
        known = False
        for t in range(buffer.buffer_size):
            if t == 0 or buffer.episode_starts[t, env]:
                out.append(dict.fromkeys(("gae", "full", "entropy", "discounted", "steps", "weight"), 0.0))
                known, age = bool(buffer.episode_starts[t, env]), 0
            head = policy.action_net(
                policy.mlp_extractor.policy_net(torch.tensor(buffer.observations[t, env]).double())
            )
            distribution = torch.distributions.Categorical(logits=head)
            log_prob = distribution.log_prob(torch.tensor(buffer.actions[t, env][0]))
            score, entropy = (
                torch.cat([p.flatten() for p in torch.autograd.grad(x, parameters, retain_graph=True)])
                for x in (log_prob, distribution.entropy())
            )
            weight = model.gamma**age if known else 0.0
            one = out[-1]
            one["gae"] = one["gae"] + raw[t, env] / scale * score
            one["full"] = one["full"] + rows[t] / scale * score
            one["discounted"] = one["discounted"] + weight * rows[t] / scale * score
            one["entropy"] = one["entropy"] + model.ent_coef * entropy
            one["steps"] += 1
            one["weight"] += weight
            age += 1
    return out


def squared_norm(trajectories, vector):
    """‖b‖² of a vector of sums, less the trace of its jackknife covariance."""
    whole = vector(trajectories)
    without = torch.stack([vector(trajectories[:i] + trajectories[i + 1 :]) for i in range(len(trajectories))])
    n = len(trajectories)
    noise = (n - 1) / n * float((without - without.mean(0)).square().sum())
    return float(whole @ whole) - noise


def total(trajectories, name):
    return sum(one[name] for one in trajectories)


def mean(trajectories, name, weight="steps"):
    return total(trajectories, name) / total(trajectories, weight)


VECTORS = {
    "ledger/gae_bias": lambda x: mean(x, "gae") - mean(x, "full"),
    "ledger/state_distribution": lambda x: mean(x, "full") - mean(x, "discounted", "weight"),
    "ledger/entropy_bonus": lambda x: mean(x, "entropy"),
}


@pytest.mark.parametrize(
    ("algorithm", "options", "missing"),
    [
        (PPO, {"ent_coef": 0.1, "gae_lambda": 0.7}, set()),
        (TRPO, {}, {"ledger/entropy_bonus"}),
        (A2C, {"n_steps": 32}, {"ledger/entropy_bonus", "ledger/gae_bias"}),
    ],
    ids=["PPO", "TRPO", "A2C"],
)
def test_the_terms_are_those_of_loops(algorithm, options, missing):
    def both(model):
        found = probes.OnPolicy(trajectories=3).measure_rollout(
            gradlab.view(model).snapshot(), stored_rollout(model), torch.Generator()
        )
        return found, by_trajectory(model)

    callback = AtRolloutEnds(both)
    model_of(algorithm, **options).learn(256, callback=callback)
    found, trajectories = callback.found[-1]
    expected = {name: squared_norm(trajectories, vector) for name, vector in VECTORS.items() if name not in missing}
    assert {name for name in found.scalars if name.startswith("ledger/")} == set(expected)
    for name, value in expected.items():
        scale = abs(value) + found.scalars[name].stderr
        assert found.scalars[name].value == pytest.approx(value, abs=1e-3 * scale), name
        low, high = found.scalars[name].interval()
        assert low < found.scalars[name].value < high
    assert any("began before the rollout" in note for note in found.notes)


def test_the_short_ledger_is_the_long_one():
    def both(model):
        agent, rollout = gradlab.view(model), stored_rollout(model)
        return term_norms(agent, rollout)[0], gradlab.rollout_ledger(agent, rollout)

    callback = AtRolloutEnds(both)
    model_of(PPO, ent_coef=0.1, gamma=0.8).learn(128, callback=callback)
    norms, ledger = callback.found[0]
    assert set(norms) == {"entropy bonus", "advantage shift", "GAE bias", "state distribution"}
    for name, estimate in norms.items():
        long = ledger[name].norm_squared
        assert estimate.value * ledger.scale**2 == pytest.approx(long.value, rel=1e-9)
        assert estimate.stderr * ledger.scale**2 == pytest.approx(long.stderr, rel=1e-9)


@pytest.mark.parametrize("algorithm", [PPO, TRPO])
def test_an_update_is_measured_where_it_ended(algorithm, tmp_path):
    """In a run, from the second rollout on: against the library's own policy at the next rollout's end."""
    before = []

    def update(model):
        found = None
        if before:
            obs, act, advantage, old = before[-1]
            with torch.no_grad():
                change = model.policy.evaluate_actions(obs, act)[1] - old
            ratio, clip = change.exp(), 0.05
            flat = ((ratio > 1 + clip) & (advantage > 0)) | ((ratio < 1 - clip) & (advantage < 0))
            found = float(flat.double().mean()), float((ratio - 1 - change).mean())
        rollout = stored_rollout(model)
        before.append((rollout.obs, rollout.act.argmax(-1), rollout.advantage, rollout.log_prob))
        return found

    options = {"learning_rate": 1e-2, "clip_range": 0.05} if algorithm is PPO else {}
    model, theirs = model_of(algorithm, envs=8, n_steps=16, **options), AtRolloutEnds(update)
    monitor = probes.attach(model, store=tmp_path / "run.db", probes=[probes.OnPolicy(every=1)], budget=None)
    model.learn(4 * 128, callback=CallbackList([monitor, theirs]))
    with open_store(tmp_path / "run.db") as store:
        table = store.scalars(probe="on-policy")
    found = {"policy/kl": [], "clipping/share": []}
    for name, value in zip(table.name, table.value, strict=True):
        found.setdefault(name, []).append(value)
    expected = theirs.found[1:]
    np.testing.assert_allclose(found["policy/kl"], [kl for _, kl in expected], rtol=1e-3, atol=1e-6)
    if algorithm is PPO:
        np.testing.assert_allclose(found["clipping/share"], [share for share, _ in expected], atol=1e-9)
        assert max(share for share, _ in expected) > 0
        assert len(found["clipping/removed"]) == 3
    else:
        assert found["clipping/share"] == []


def test_a_ledger_that_cannot_be_made_is_a_note_and_the_rest_is_measured():
    def both(model):
        rollout = stored_rollout(model)
        bad = replace(rollout, raw_advantage=rollout.raw_advantage**2, previous=replace(rollout, log_prob=None))
        probe, agent = probes.OnPolicy(trajectories=3), gradlab.view(model)
        return [probe.measure_rollout(agent, one, torch.Generator()) for one in (rollout, bad)]

    callback = AtRolloutEnds(both)
    model_of(PPO).learn(128, callback=callback)
    good, bad = callback.found[0]
    assert [note for note in bad.notes if note.startswith("ledger: rollout: advantage is not")]
    assert set(bad.scalars) == {name for name in good.scalars if not name.startswith("ledger/")}


def test_episodes_go_on_from_one_rollout_to_the_next(tmp_path):
    """Pendulum's episodes have 200 steps, rollouts 120: the second begins at step 120, the third at step 40."""
    rollouts = []

    class Keep(probes.OnPolicy):
        def measure_rollout(self, agent, rollout, generator):
            rollouts.append(rollout)
            return super().measure_rollout(agent, rollout, generator)

    model = model_of(PPO, "Pendulum-v1", envs=2, n_steps=120, batch_size=60)
    chosen = [Keep(every=1, trajectories=3)]
    monitor = probes.attach(model, store=tmp_path / "run.db", probes=chosen, budget=None)
    model.learn(720, callback=monitor)
    ages = [rollout.age.reshape(2, 120) for rollout in rollouts]
    # Fewer than three trajectories in the first and third: not measured, but handed over all the same.
    for first, age in zip((0, 120, 40), ages, strict=True):
        assert torch.equal(age, ((first + torch.arange(120)) % 200).expand(2, 120))
    # Another run begins in mid-episode, and nothing is known of what was before.
    del rollouts[:]
    model.learn(240, callback=monitor, reset_num_timesteps=False)
    assert rollouts[0].previous is None
    assert rollouts[0].age.reshape(2, 120)[:, 0].tolist() == [-1, -1]


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_what_a_time_limit_cut_off_is_told_from_rewards(algorithm, tmp_path):
    """Pendulum never ends: with limits of 30 steps, rollouts of 64 hold two of them in each environment."""
    rollouts, rewards = [], []

    class Keep(probes.OnPolicy):
        def measure_rollout(self, agent, rollout, generator):
            rollouts.append(rollout)
            return super().measure_rollout(agent, rollout, generator)

    class Rewards(BaseCallback):
        def _on_step(self):
            rewards.append(self.locals["rewards"].copy())
            return True

    def limited():
        return gymnasium.wrappers.TimeLimit(gymnasium.make("Pendulum-v1").unwrapped, 30)

    options = {} if algorithm is A2C else {"batch_size": 64}
    policy = {"policy_kwargs": {"net_arch": [6]}, "gae_lambda": 0.9, "gamma": 0.9}
    model = algorithm("MlpPolicy", make_vec_env(limited, 3, seed=1), n_steps=64, seed=3, **options, **policy)
    chosen = [Keep(every=1, trajectories=3)]
    monitor = probes.attach(model, store=tmp_path / "run.db", probes=chosen, budget=None)
    model.learn(2 * 192, callback=CallbackList([monitor, Rewards()]))
    assert monitor.status.failed == {}
    theirs = np.stack(rewards).reshape(2, 64, 3).transpose(0, 2, 1).reshape(2, -1)
    for rollout, expected in zip(rollouts, theirs, strict=True):
        assert rollout.count == 9
        np.testing.assert_allclose(rollout.reward, expected, rtol=1e-5, atol=1e-5)
        assert (rollout.bootstrap != 0).all()
        assert parity(rollout) <= 1e-6
        assert not any("time limit" in note for note in rollout.notes)


def test_an_untold_time_limit_is_said():
    callback = AtRolloutEnds(stored_rollout)
    model_of(PPO, "Pendulum-v1", envs=2, n_steps=300, batch_size=60).learn(600, callback=callback)
    assert any("γV(s_T) is part of its last reward" in note for note in callback.found[0].notes)
    shorter = AtRolloutEnds(stored_rollout)
    model_of(PPO, "Pendulum-v1", envs=2, n_steps=30, batch_size=60).learn(60, callback=shorter)
    assert not any("time limit" in note for note in shorter.found[0].notes)
