"""What a TorchRL collector gathered and GAE went over, as a rollout."""

import pytest
import torch
from tensordict import TensorDict
from torchrl.objectives.value import GAE

from gradlab import GradlabError
from gradlab.adapters import view
from gradlab.adapters.torchrl_rollout import rollout_of
from gradlab.estimators.trajectory.score import scores_at
from gradlab.statistics.rollout import rollout_gradient, value_fit
from gradlab.tangent import parameter_gradient


def collected(loss, shape, ends, seed=0):
    """A batch of that shape whose trajectories end at these positions; γ = 0.9, λ = 0.8."""
    generator = torch.Generator().manual_seed(seed)
    data = TensorDict({"observation": torch.randn(*shape, 3, generator=generator)}, shape)
    done = torch.zeros(*shape, 1, dtype=torch.bool)
    for place in ends:
        done[place] = True
    data["next"] = TensorDict(
        {
            "observation": torch.randn(*shape, 3, generator=generator),
            "reward": torch.randn(*shape, 1, generator=generator),
            "done": done,
            "terminated": done,
        },
        shape,
    )
    with torch.no_grad():
        dist = loss.actor_network.get_dist(data)
        noise = torch.randn(*shape, 2, generator=generator)
        data["action"] = dist.base_dist.loc + dist.base_dist.scale * noise
        data["action_log_prob"] = dist.log_prob(data["action"])
        for key in ("loc", "scale"):
            data.pop(key, None)
        GAE(gamma=0.9, lmbda=0.8, value_network=loss.critic_network)(data)
    return data


@pytest.mark.parametrize("name", ["ClipPPO", "A2C"])
def test_steps_in_a_row(name, make_loss):
    loss = make_loss(name)
    data = collected(loss, (10,), [3, 6])
    rollout = rollout_of(data, loss)
    assert rollout.trajectory.tolist() == [0] * 4 + [1] * 3 + [2] * 3
    assert torch.equal(rollout.obs, data["observation"])
    assert torch.equal(rollout.act, data["action"])
    assert torch.equal(rollout.advantage, data["advantage"][:, 0])
    assert torch.equal(rollout.target, data["value_target"][:, 0])
    assert torch.equal(rollout.value, data["state_value"][:, 0])
    assert torch.allclose(rollout.value, view(loss).v(rollout.obs), atol=1e-6)
    assert rollout.notes == ()
    rollout.obs.zero_()
    assert bool(data["observation"].all())


def test_environments_side_by_side(make_loss):
    loss = make_loss("ClipPPO")
    data = collected(loss, (2, 5), [(0, 1), (1, 4)])
    rollout = rollout_of(data, loss)
    # The first environment's row ends in the middle of a trajectory.
    assert rollout.trajectory.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert torch.equal(rollout.obs, data["observation"].reshape(10, 3))


def test_a_flattened_batch_with_the_collectors_numbers(make_loss):
    loss = make_loss("ClipPPO")
    data = collected(loss, (2, 5), [(0, 1)])
    data["collector", "traj_ids"] = torch.tensor([[0, 0, 2, 2, 2], [1, 1, 1, 1, 1]])
    assert rollout_of(data.reshape(-1), loss).trajectory.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    del data["collector"]
    assert rollout_of(data.reshape(-1), loss).trajectory.tolist() == [0, 0] + [1] * 8


def test_padded_steps_are_left_out(make_loss):
    loss = make_loss("ClipPPO")
    data = collected(loss, (3, 4), [])
    data["collector", "mask"] = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]]).bool()
    rollout = rollout_of(data, loss)
    assert rollout.trajectory.tolist() == [0, 0, 0, 1, 1]
    assert torch.equal(rollout.obs[3:], data["observation"][2, :2])


def test_normalised_advantages(make_loss):
    loss = make_loss("ClipPPO", normalize_advantage=True)
    data = collected(loss, (40,), range(3, 40, 4))
    rollout = rollout_of(data, loss)
    assert float(rollout.advantage.mean()) == pytest.approx(0, abs=1e-6)
    assert float(rollout.advantage.std()) == pytest.approx(1, abs=1e-5)
    assert rollout.notes == (
        "advantages are normalised over the rollout's 40 steps; the loss does so in each minibatch",
    )


@pytest.mark.parametrize("normalise", [False, True])
def test_its_gradient_is_the_first_updates(normalise, make_loss):
    """Of the whole batch in one: the ratio of new to old probability is one, and no clip acts."""
    loss = make_loss("ClipPPO", normalize_advantage=normalise)
    data = collected(loss, (4, 16), [(i, j) for i in range(4) for j in (5, 11)])
    loss(data.reshape(-1))["loss_objective"].backward()
    rollout, agent = rollout_of(data, loss), view(loss).snapshot()
    scores, _ = scores_at(agent, rollout.obs, rollout.act)
    ours = parameter_gradient(agent, rollout.obs, scores * rollout.advantage[:, None])
    theirs = {".".join(key): p.grad for key, p in loss.actor_network_params.items(True, True)}
    flat = [torch.cat([gradient[key].flatten() for key in theirs]) for gradient in (ours, theirs)]
    assert float((flat[0] + flat[1]).norm() / flat[1].norm()) <= 2e-6
    assert rollout.count == 12
    assert rollout_gradient(agent, rollout).variance.samples == 12
    assert value_fit(rollout).bias.value == pytest.approx(float((rollout.value - rollout.target).mean()), abs=1e-6)


def test_a_batch_before_gae_is_refused_in_one_line(make_loss):
    loss = make_loss("ClipPPO")
    data = collected(loss, (10,), [3])
    del data["advantage"]
    with pytest.raises(GradlabError) as caught:
        rollout_of(data, loss)
    assert str(caught.value) == (
        "rollout: the batch has no 'advantage'; hand it over after its advantages have been worked out"
    )
