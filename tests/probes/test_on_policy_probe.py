"""The on-policy probe's numbers, from one backward pass a step through the library's own modules."""

import copy
import math

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import gradlab
import probes
from gradlab.adapters.stable_baselines3_rollout import stored_rollout
from gradlab.errors import GradlabError
from gradlab.rollout import Rollout
from gradlab.statistics.rollout import rollout_gradient
from gradlab.store import open_store


class AtRolloutEnd(BaseCallback):
    """Calls a function at the end of the last rollout, where training has not gone through it yet."""

    def __init__(self, action, steps):
        super().__init__()
        self.action, self.steps = action, steps

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.num_timesteps == self.steps:
            self.found = self.action(self.model)


def at_rollout_end(algorithm, task, action, envs=5, n_steps=12, rollouts=3, **options):
    if algorithm is not A2C:
        options.setdefault("batch_size", 20)
    options["policy_kwargs"] = {"net_arch": [6]}
    model = algorithm("MlpPolicy", make_vec_env(task, n_envs=envs, seed=1), n_steps=n_steps, seed=3, **options)
    steps = rollouts * envs * n_steps
    callback = AtRolloutEnd(action, steps)
    model.learn(steps, callback=callback)
    return callback.found


def oracle(model, normalise):
    """By trajectory: gradient [P], steps, and lists of V and target; one backward pass a step in float64."""
    policy, buffer = copy.deepcopy(model.policy).double(), model.rollout_buffer
    advantage = torch.tensor(buffer.advantages, dtype=torch.float64)
    if normalise:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    parameters = [p for name, p in policy.named_parameters() if "value" not in name]
    out = []
    for env in range(buffer.n_envs):
        for t in range(buffer.buffer_size):
            if t == 0 or buffer.episode_starts[t, env]:
                out.append([torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64), 0, [], [], []])
            obs = torch.tensor(buffer.observations[t, env], dtype=torch.float64)
            head = policy.action_net(policy.mlp_extractor.policy_net(obs))
            action = torch.tensor(buffer.actions[t, env])
            if hasattr(policy, "log_std"):
                log_prob = torch.distributions.Normal(head, policy.log_std.exp()).log_prob(action.double()).sum()
            else:
                log_prob = torch.distributions.Categorical(logits=head).log_prob(action[0])
            # Of the policy that acted: the rollout and the snapshot belong together.
            assert log_prob.item() == pytest.approx(float(buffer.log_probs[t, env]), abs=1e-4)
            gradient = torch.autograd.grad(log_prob, parameters)
            out[-1][0] += advantage[t, env] * torch.cat([part.flatten() for part in gradient])
            out[-1][1] += 1
            out[-1][2].append(float(buffer.values[t, env]))
            out[-1][3].append(float(buffer.returns[t, env]))
            out[-1][4].append(-log_prob.item())
    return out


def statistics(trajectories, steps):
    """The numbers by loops over pairs; ``steps`` those of the whole rollout."""
    top = below = own = squares = 0.0
    for i, (g, n, *_) in enumerate(trajectories):
        own, squares = own + float(g @ g), squares + n * n
        for j, (other, m, *_) in enumerate(trajectories):
            if i != j:
                top, below = top + float(g @ other), below + n * m
    count = sum(n for _, n, *_ in trajectories)
    signal = top / below
    per_step = (own - signal * squares) / count
    v, target, entropies = (np.array([x for one in trajectories for x in one[k]]) for k in (2, 3, 4))
    return {
        "score-function/gradient_squared": signal,
        "score-function/variance": per_step / steps,
        "score-function/snr": signal / (per_step / steps),
        "score-function/noise_scale": per_step / signal if signal > 0 else math.nan,
        "value/bias": (v - target).mean(),
        "value/rmse": np.sqrt(((v - target) ** 2).mean()),
        "value/explained_variance": 1 - (target - v).var() / target.var(),
        "policy/entropy": entropies.mean(),
    }


@pytest.mark.parametrize(
    ("algorithm", "task", "options"),
    [
        (A2C, "Pendulum-v1", {"envs": 10, "n_steps": 8}),
        (A2C, "CartPole-v1", {"normalize_advantage": True}),
        (PPO, "CartPole-v1", {}),
        (TRPO, "CartPole-v1", {"normalize_advantage": False}),
    ],
)
def test_the_numbers_are_those_of_one_backward_pass_a_step(algorithm, task, options):
    def both(model):
        found = probes.OnPolicy(trajectories=3).measure_rollout(
            gradlab.view(model).snapshot(), stored_rollout(model), torch.Generator()
        )
        return found, oracle(model, model.normalize_advantage), model.rollout_buffer.advantages.size

    found, trajectories, steps = at_rollout_end(algorithm, task, both, **options)
    expected = statistics(trajectories, steps)
    # Those of the ledger have a test of their own.
    assert {name for name in found.scalars if not name.startswith("ledger/")} == set(expected)
    count = len(trajectories)
    for name, value in expected.items():
        estimate = found.scalars[name]
        assert estimate.samples == count
        assert estimate.value == pytest.approx(value, rel=2e-4, abs=1e-9, nan_ok=True), name
    # The jackknife over trajectories, each left out by hand.
    without = [statistics(trajectories[:i] + trajectories[i + 1 :], steps) for i in range(count)]
    for name in ("gradient_squared", "variance"):
        name = f"score-function/{name}"
        left = np.array([each[name] for each in without])
        jackknife = math.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum())
        assert found.scalars[name].stderr == pytest.approx(jackknife, rel=2e-4)
    for name in ("value/bias", "value/explained_variance", "policy/entropy"):
        left = np.array([each[name] for each in without])
        jackknife = math.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum())
        assert found.scalars[name].stderr == pytest.approx(jackknife, rel=2e-4), name
        low, high = found.scalars[name].interval()
        assert low < found.scalars[name].value < high
    assert found.scalars["value/explained_variance"].interval()[1] <= 1
    assert "bootstrap" in str(found.scalars["value/rmse"])
    assert any("minibatch of 20" in note for note in found.notes) == (algorithm is PPO)


def test_a_longer_rollout_is_measured_from_its_first_trajectories():
    def two(model):
        rollout = stored_rollout(model)
        whole = rollout_gradient(gradlab.view(model), rollout)
        part = rollout_gradient(gradlab.view(model), rollout, steps=61)
        return whole, part, rollout, oracle(model, model.normalize_advantage)

    whole, part, rollout, trajectories = at_rollout_end(PPO, "Pendulum-v1", two, envs=10)
    # Twelve steps in each of ten environments: the 61st step is in the sixth.
    expected = statistics(trajectories[:6], len(rollout))
    assert (whole.snr.samples, part.snr.samples) == (10, 6)
    assert part.snr.value == pytest.approx(expected["score-function/snr"], rel=2e-4)
    assert "measured from 6 of 10 trajectories" in part.notes


def test_signal_and_noise_are_unbiased_for_steps_that_come_in_trajectories():
    """One-armed Gaussian bandit: E G and its variance in closed form, with the advantage shared by a trajectory."""
    from gradlab.policies import Gaussian

    class Free(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, obs):
            return torch.cat([self.mean.expand(len(obs), 1), torch.zeros(len(obs), 1, dtype=torch.float64)], -1)

    agent = gradlab.Agent(Free(), [], [-9], [9], policy=Gaussian())
    generator = torch.Generator().manual_seed(5)
    count, length = 20_000, 4
    act = torch.randn(count * length, 1, generator=generator, dtype=torch.float64)
    trajectory = torch.arange(count).repeat_interleave(length)
    # Score ε, advantage ε_t + the trajectory's first ε: E Â ε = 1 + 1/4 on average over steps.
    advantage = act[:, 0] + act[::length, 0][trajectory]
    one = torch.ones_like(act)
    found = rollout_gradient(agent, Rollout(one, act, advantage, one[:, 0], one[:, 0], trajectory), steps=8000)
    # g = Σ ε_t² + ε_1 Σ ε_t has mean 5 and variance Var 2ε_1² + 3 Var ε² + 3 Var ε_1ε_t = 8 + 6 + 3.
    for estimate, truth in (
        (found.gradient_squared, (5 / 4) ** 2),
        (found.variance, 17 / 4 / (count * length)),
        (found.noise_scale, 17 / 4 / (5 / 4) ** 2),
        (found.snr, (5 / 4) ** 2 * count * length / (17 / 4)),
    ):
        low, high = estimate.interval()
        assert low < truth < high
        assert high - low < 0.4 * truth


def test_a_run_of_too_few_trajectories_says_so(tmp_path):
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64, batch_size=32, seed=3)
    monitor = probes.attach(model, store=tmp_path / "run.db", budget=None)
    model.learn(64, callback=monitor)
    assert monitor.status.skipped == {"on-policy": 1}
    with open_store(tmp_path / "run.db") as store:
        (row,) = store.measurements(probe="on-policy")
    assert "too few independent samples: trajectories in the rollout's 64 steps: 1; at least 8" in row.message


def test_a_default_run_measures_out_of_the_box(tmp_path):
    model = A2C("MlpPolicy", make_vec_env("CartPole-v1", n_envs=8, seed=1), seed=3)
    monitor = probes.attach(model, store=tmp_path / "run.db", budget=None)
    model.learn(80, callback=monitor)
    assert monitor.status.measured == {"on-policy": 1}


def test_agents_without_a_rollout_are_told_from_those_with_one(tmp_path):
    with probes.attach(TD3("MlpPolicy", "Pendulum-v1"), store=tmp_path / "td3.db", probes=[probes.OnPolicy()]) as off:
        assert "deterministic" in off.left_out["on-policy"]
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64)
    agent, optimizer = gradlab.view(model), model.policy.optimizer
    with probes.attach(agent, tmp_path / "own.db", probes=[probes.OnPolicy()], optimizer=optimizer) as own:
        assert own.left_out["on-policy"] == "the run has no rollouts that gradlab can read"
    assert stored_rollout(model) is None
    model.learn(64)
    # Training has flattened and permuted it.
    assert stored_rollout(model) is None


def test_a_loop_of_ones_own_brings_its_rollouts(tmp_path):
    model = PPO("MlpPolicy", make_vec_env("Pendulum-v1", n_envs=8, seed=1), n_steps=16, batch_size=32, seed=3)
    rollouts = []

    class Keep(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            rollouts.append(stored_rollout(self.model))

    model.learn(128, callback=Keep())
    with probes.attach(gradlab.view(model), tmp_path / "own.db", probes=[probes.OnPolicy()], budget=None) as monitor:
        monitor.step(0)
        assert monitor.status.measured == {}
        monitor.step(128, rollout=rollouts[0])
    assert monitor.status.measured == {"on-policy": 1}


def test_what_is_no_rollout_is_refused():
    one, number = torch.ones(4, 1), torch.tensor([0, 0, 1, 2])
    good = Rollout(one, one, one[:, 0], one[:, 0], one[:, 0], number)
    assert (good.count, good.lengths.tolist(), good.first(1).count) == (3, [2, 1, 1], 1)
    with pytest.raises(GradlabError, match=r"expected \[N, n\], \[N, p\] and \[N\]"):
        Rollout(one, one, one, one[:, 0], one[:, 0], number)
    with pytest.raises(GradlabError, match="in order"):
        Rollout(one, one, one[:, 0], one[:, 0], one[:, 0], number.flip(0))
    with pytest.raises(GradlabError, match="NaN or infinite advantage at 1 of 4 steps, first at row 2"):
        advantage = torch.tensor([1.0, 1.0, math.nan, 1.0])
        Rollout(one, one, advantage, one[:, 0], one[:, 0], number)
