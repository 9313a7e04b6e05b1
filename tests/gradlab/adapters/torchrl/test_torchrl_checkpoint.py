"""Agents out of saved states of TorchRL's losses."""

from collections import OrderedDict

import pytest
import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.modules import MLP, Actor, TanhModule, ValueOperator
from torchrl.objectives import DDPGLoss

import gradlab
from gradlab import GradlabError
from gradlab.adapters import read_checkpoint, view

OBS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
ACT = torch.rand(7, 2, generator=torch.Generator().manual_seed(1))
FACTS = {"activation": "Tanh", "action_first": False}


def saved(loss, tmp_path, name="loss_500.pt"):
    torch.save(loss.state_dict(), tmp_path / name)
    return tmp_path / name


def refused(path, **facts):
    with pytest.raises(GradlabError) as caught:
        gradlab.load(path, **facts)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"checkpoint {path}: ")
    return message.removeprefix(f"checkpoint {path}: ")


@pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU], ids=["tanh", "silu"])
@pytest.mark.parametrize("name", ["DDPG", "TD3"])
def test_a_loaded_agent_is_the_live_one(name, activation, tmp_path, make_loss, make_training, random_states):
    training = make_training(make_loss(name, activation=activation))
    training.steps(3)
    live = view(training.loss)
    path = saved(training.loss, tmp_path)
    states = random_states()
    agent = gradlab.load(path, activation=activation, action_first=False)
    assert random_states() == states
    assert torch.allclose(agent.head(OBS), live.head(OBS), atol=1e-6)
    assert (len(agent.critics), len(agent.target_critics)) == (len(live.critics), len(live.target_critics))
    for ours, theirs in zip(
        (*agent.critics, *agent.target_critics), (*live.critics, *live.target_critics), strict=True
    ):
        assert torch.allclose(ours(OBS, ACT), theirs(OBS, ACT), atol=1e-6)
    for fact in ("algorithm", "library", "discount", "reduction", "obs_size"):
        assert getattr(agent, fact) == getattr(live, fact)
    assert torch.equal(agent.action_low, live.action_low)
    assert torch.equal(agent.action_high, live.action_high)
    assert not any(module.training for part in agent.parts for module in part.modules())
    assert read_checkpoint(path, facts=gradlab.adapters.Facts(**FACTS)).step == 500


def test_a_critic_that_takes_the_action_first(tmp_path, make_loss, make_actor, make_spec, make_critic):
    loss = DDPGLoss(make_actor["deterministic"](make_spec("unit")), make_critic(keys=("action", "observation")))
    loss.make_value_estimator(gamma=0.9)
    live, path = view(loss), saved(loss, tmp_path)
    right, wrong = (gradlab.load(path, activation="Tanh", action_first=first) for first in (True, False))
    assert torch.allclose(right.q(OBS, ACT), live.q(OBS, ACT), atol=1e-6)
    assert not torch.allclose(wrong.q(OBS, ACT), live.q(OBS, ACT), atol=1e-2)


def test_what_the_file_does_not_say_is_asked_for_all_at_once(tmp_path, make_loss):
    loss = make_loss("TD3")
    loss._value_estimator = None
    path = saved(loss, tmp_path)
    assert refused(path) == (
        "the file does not say γ, what follows each hidden layer, such as 'ReLU', whether its critic takes the action "
        "before the observation (True or False); pass discount=…, activation=…, action_first=…"
    )
    assert gradlab.load(path, discount=0.5, **FACTS).discount == 0.5


def test_a_trainers_file(tmp_path, make_loss):
    loss = make_loss("DDPG")
    content = OrderedDict(collector={}, loss_module=loss.state_dict(), state=OrderedDict(collected_frames=12345))
    torch.save(content, tmp_path / "trainer.pt")
    found = read_checkpoint(tmp_path / "trainer.pt", facts=gradlab.adapters.Facts(**FACTS))
    assert (found.algorithm, found.step) == ("DDPG", 12345)


@pytest.mark.parametrize(("name", "shown"), [("SAC", "SAC"), ("ClipPPO", "PPO or A2C"), ("A2C", "PPO or A2C")])
def test_stochastic_policies_are_refused(name, shown, tmp_path, make_loss):
    assert refused(saved(make_loss(name), tmp_path), **FACTS) == (
        f"of a torchrl loss of {shown}, whose file says neither the policy's distribution nor how σ is made; build the "
        "loss, give it the file with load_state_dict and use gradlab.view(loss)"
    )


def test_an_actor_without_its_box_is_refused(tmp_path, make_spec, make_critic):
    loss = DDPGLoss(Actor(MLP(in_features=3, out_features=2, num_cells=[8]), spec=make_spec("unit")), make_critic())
    assert "its actor has no TanhModule among its modules" in refused(saved(loss, tmp_path), **FACTS)


@pytest.mark.parametrize("kind", ["norm", "names", "custom"])
def test_other_layers_are_refused(kind, tmp_path, make_spec, make_critic):
    class Custom(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, obs):
            return self.second(self.first(obs).relu())

    layers = {
        "norm": MLP(
            in_features=3, out_features=2, num_cells=[8], norm_class=nn.LayerNorm, norm_kwargs={"normalized_shape": 8}
        ),
        "names": nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)),
        "custom": Custom(),
    }
    net = TensorDictModule(layers[kind], in_keys=["observation"], out_keys=["param"])
    actor = TensorDictSequential(net, TanhModule(["param"], ["action"], spec=make_spec("unit")))
    loss = DDPGLoss(actor, make_critic())
    loss.make_value_estimator(gamma=0.9)
    message = refused(saved(loss, tmp_path), **FACTS)
    assert "linear" in message
    assert message.endswith("use gradlab.view(loss)")


def test_shapes_that_do_not_fit_are_refused(tmp_path, make_spec, make_actor):
    critic = ValueOperator(MLP(in_features=6, out_features=1, num_cells=[8]), in_keys=["observation", "action"])
    loss = DDPGLoss(make_actor["deterministic"](make_spec("unit")), critic)
    loss.make_value_estimator(gamma=0.9)
    assert "module.0.weight has shape (8, 6)" in refused(saved(loss, tmp_path), **FACTS)


def test_the_state_of_another_loss_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"actor_network_params.module.0.weight": torch.zeros(2, 3)}, path)
    assert "neither DDPG's nor TD3's" in refused(path, **FACTS)
