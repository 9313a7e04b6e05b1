"""What an update did to the policy, in a world where every expectation is a sum over states and actions."""

from dataclasses import replace

import pytest
import torch

import gradlab
from gradlab import GradlabError, OnPolicyLoss, Rollout, policy_update
from gradlab.worlds import TabularMDP

P = [[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]
OLD, NEW = [[0.3, -0.2], [0.1, 0.4]], [[0.9, -0.5], [0.3, 0.3]]
CLIP, LENGTH = 0.15, 5


def world_of(theta):
    return TabularMDP(P, [[1.0, 0.0], [0.0, 2.0]], 0.7, [0.8, 0.2], theta=theta)


def sampled(world, count, seed):
    runs = world.trajectories(count, torch.Generator().manual_seed(seed), LENGTH)
    state, action = runs.obs.argmax(-1), runs.act.argmax(-1)
    zero = torch.zeros_like(runs.reward)
    return Rollout(
        runs.obs,
        runs.act,
        world.advantages()[state, action],
        zero,
        zero,
        runs.trajectory,
        log_prob=world.theta.log_softmax(-1)[state, action],
        loss=OnPolicyLoss(discount=world.gamma, gae_lambda=0.9, clip=CLIP),
    )


def truth_of(old, new):
    """By sums: shares, divergence, and the gradients that clipping leaves and takes away."""
    visits, here = torch.zeros(2, dtype=torch.float64), old.alpha
    for _ in range(LENGTH):
        visits, here = visits + here / LENGTH, old.transition.T @ here
    found = {"clipped": 0.0, "outside": 0.0, "kl": 0.0}
    removed, unclipped = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    for s in range(2):
        for a in range(2):
            chance = visits[s] * old.policy[s, a]
            ratio, advantage = new.policy[s, a] / old.policy[s, a], old.advantages()[s, a]
            score = torch.zeros(2, 2, dtype=torch.float64)
            score[s] = torch.eye(2)[a] - new.policy[s]
            flat = bool((ratio > 1 + CLIP) & (advantage > 0)) or bool((ratio < 1 - CLIP) & (advantage < 0))
            found["clipped"] += float(chance) * flat
            found["outside"] += float(chance) * bool((ratio - 1).abs() > CLIP)
            found["kl"] -= float(chance * ratio.log())
            unclipped += chance * ratio * advantage * score
            removed += chance * ratio * advantage * score * flat
    vectors = {name: old.flat(g) for name, g in (("removed", removed), ("unclipped", unclipped))}
    return found, vectors


@pytest.fixture(scope="module")
def worlds():
    return world_of(OLD), world_of(NEW)


def flat(vector):
    return torch.cat([part.flatten() for part in vector.values()])


def test_numbers_are_those_of_sums_over_states_and_actions(worlds):
    old, new = worlds
    found, vectors = truth_of(old, new)
    assert 0 < found["clipped"] < found["outside"] < 1
    update = policy_update(new.agent(), sampled(old, 40_000, 1))
    for name, truth in found.items():
        low, high = getattr(update, name).interval()
        assert low <= truth <= high, name
        assert high - low < 0.1 * truth, name
    torch.testing.assert_close(flat(update.removed_gradient), vectors["removed"], atol=3e-3, rtol=0)
    torch.testing.assert_close(flat(update.unclipped_gradient), vectors["unclipped"], atol=3e-3, rtol=0)
    kept = vectors["unclipped"] - vectors["removed"]
    cosine = torch.nn.functional.cosine_similarity(kept, vectors["unclipped"], dim=0)
    assert update.cosine.value == pytest.approx(float(cosine), abs=0.02)


@pytest.mark.slow
def test_intervals_hold_the_truth(worlds, record_property):
    old, new = worlds
    found, vectors = truth_of(old, new)
    truths = found | {name: float(v @ v) for name, v in vectors.items()}
    held, count = dict.fromkeys(truths, 0), 150
    for seed in range(count):
        update = policy_update(new.agent(), sampled(old, 40, 100 + seed))
        for name, truth in truths.items():
            low, high = getattr(update, name).interval()
            held[name] += low <= truth <= high
    coverage = {name: round(hits / count, 3) for name, hits in held.items()}
    record_property("coverage", coverage)
    assert min(coverage.values()) >= 0.9, coverage


def test_before_an_update_nothing_is_clipped(worlds):
    old, _ = worlds
    update = policy_update(old.agent(), sampled(old, 30, 2))
    assert update.clipped.value == update.outside.value == 0
    assert update.kl.value == pytest.approx(0, abs=1e-12)
    assert update.removed.value == 0
    assert not flat(update.removed_gradient).any()


def test_a_flipped_sign_of_the_advantage_clips_the_other_side(worlds):
    old, new = worlds
    rollout = sampled(old, 2000, 3)
    one, other = (policy_update(new.agent(), r) for r in (rollout, replace(rollout, advantage=-rollout.advantage)))
    assert one.clipped.value + other.clipped.value == pytest.approx(one.outside.value)
    assert one.clipped.value != other.clipped.value


def test_what_cannot_be_measured_is_refused(worlds):
    old, _ = worlds
    rollout = sampled(old, 30, 4)
    with pytest.raises(GradlabError, match="without its log_prob"):
        policy_update(old.agent(), replace(rollout, log_prob=None))
    with pytest.raises(GradlabError, match="at least three"):
        policy_update(old.agent(), rollout.first(1))
    deterministic = gradlab.Agent(torch.nn.Linear(2, 2).double(), [], [0, 0], [1, 1])
    with pytest.raises(GradlabError, match="deterministic"):
        policy_update(deterministic, rollout)
