"""CleanRL's files read again: the networks of the script that saved them, and one line for all that is missing."""

import copy
import importlib
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.adapters import read_checkpoint
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Reparameterized
from gradlab.tangent import parameter_gradient, tangent_kernel

ROOT = Path(__file__).parents[3]
CHECKPOINTS = ROOT / "tests" / "checkpoints"
SAVED = {
    "ddpg": "cleanrl_ddpg_pendulum_4000.cleanrl_model",
    "td3": "cleanrl_td3_pendulum_7000.cleanrl_model",
    "sac": "cleanrl_sac_pendulum_4000.cleanrl_model",
    "ppo": "cleanrl_ppo_pendulum_32000.cleanrl_model",
}
OFF_POLICY = ("ddpg", "td3", "sac")
FACTS = {"discount": 0.99, "activation": "ReLU"}
FACTS_ON_POLICY = {"discount": 0.9, "activation": "Tanh", "action_low": [-2.0], "action_high": [2.0]}


def facts(name):
    return FACTS_ON_POLICY if name == "ppo" else FACTS


@pytest.fixture(name="trained", scope="module")
def _trained(tmp_path_factory):
    """Gives a script's live agent after a short training, and the file that it has saved."""
    folder = tmp_path_factory.mktemp("saved")
    agents = {}

    class Given:
        def close(self):
            pass

        step = alive = lambda *args, **options: None

    def trained(name):
        path = folder / f"{name}.cleanrl_model"
        if name not in agents:
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(str(ROOT / "examples" / "single_file"))
                patch.setattr(probes, "attach", lambda model, *_, **__: agents.update({name: model}) or Given())
                script = importlib.import_module(name)
                short = (
                    {"total_timesteps": 800, "num_steps": 100}
                    if name == "ppo"
                    else {"total_timesteps": 150, "learning_starts": 100}
                )
                script.train(script.Args(save=str(path), hidden=16, **short))
        model = agents[name]
        return (model if isinstance(model, gradlab.Agent) else model()), path

    return trained


@pytest.mark.parametrize("name", SAVED)
def test_it_is_the_agent_that_was_saved(name, trained):
    live, path = trained(name)
    read = gradlab.load(path, **facts(name))
    obs = 3 * torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read.head(obs), live.head(obs))
    assert torch.equal(read.action(obs), live.action(obs))
    assert (read.algorithm, read.library, read.obs_size) == (live.algorithm, "CleanRL", 3)
    assert torch.equal(read.action_low, live.action_low)
    assert torch.equal(read.action_high, live.action_high)
    assert type(read.policy) is type(live.policy)
    assert read.discount == live.discount
    assert read.reduction == live.reduction
    assert read.entropy == pytest.approx(live.entropy, rel=1e-6)
    names = [name for name in live.named_parameters() if not name.startswith("critic.")]
    assert sorted(read.named_parameters()) == sorted(names)
    if name == "ppo":
        assert torch.equal(read.v(obs), live.v(obs))
        return
    act = torch.rand(5, 32, 1, generator=torch.Generator().manual_seed(1)) * 4 - 2
    assert torch.equal(read.q_all(obs, act), live.q_all(obs, act))
    noise = torch.randn(1, 32, 1, generator=torch.Generator().manual_seed(2))
    found = []
    for agent in (read, live):
        v = Reparameterized().at_noise(agent, obs, noise)[0] if name == "sac" else Deterministic().draw(agent, obs)[0]
        found.append(parameter_gradient(agent, obs, v))
    assert all(torch.allclose(found[0][key], found[1][key], rtol=1e-5, atol=1e-7) for key in found[0])
    assert torch.allclose(tangent_kernel(read, obs).matrix, tangent_kernel(live, obs).matrix)


@pytest.mark.parametrize("name", SAVED)
def test_a_stored_one_is_read(name):
    found = read_checkpoint(CHECKPOINTS / SAVED[name], facts=gradlab.adapters.Facts(**facts(name)))
    assert found.algorithm == name.upper()
    assert found.step == int(Path(SAVED[name]).stem.split("_")[-1])
    agent = found.agent
    obs = torch.randn(256, 3, generator=torch.Generator().manual_seed(0))
    assert agent.action(obs).abs().max() <= (2 if name != "ppo" else 10)
    if name in OFF_POLICY:
        # It has learned: the action matters, and the critic says that the actor's is better than its opposite.
        act = agent.action(obs)
        assert (agent.q(obs, act) > agent.q(obs, -act)).float().mean() > 0.6
    if name == "sac":
        assert 0 < agent.entropy < 1


def test_names_of_algorithms_and_tasks_are_no_steps(tmp_path, trained):
    content = torch.load(trained("td3")[1], weights_only=True)
    for name, step in (("td3_continuous_action", 0), ("Hopper-v4__td3", 0), ("td3_7000", 7000)):
        torch.save(content, tmp_path / f"{name}.cleanrl_model")
        found = read_checkpoint(tmp_path / f"{name}.cleanrl_model", facts=gradlab.adapters.Facts(**FACTS))
        assert found.step == step


def test_the_box_is_read_in_either_shape(tmp_path, trained):
    actor, *critics = torch.load(trained("td3")[1], weights_only=True)
    actor["action_scale"] = torch.tensor([[0.5]])
    actor["action_bias"] = torch.tensor([[1.0]])
    torch.save((actor, *critics), tmp_path / "a.cleanrl_model")
    agent = gradlab.load(tmp_path / "a.cleanrl_model", **FACTS)
    assert (agent.action_low.tolist(), agent.action_high.tolist()) == ([0.5], [1.5])
    act = agent.action(torch.randn(50, 3) * 10)
    assert act.shape == (50, 1)
    assert ((act >= 0.5) & (act <= 1.5)).all()


def test_another_activation_is_another_agent(trained):
    live, path = trained("td3")
    obs = torch.randn(8, 3)
    other = gradlab.load(path, discount=0.99, activation=nn.Tanh)
    assert not torch.allclose(other.head(obs), live.head(obs))


MISSING = {
    "ddpg": ("activation='ReLU'", "discount=…, activation=…"),
    "td3": ("activation='ReLU'", "discount=…, activation=…"),
    "sac": ("activation='ReLU'", "discount=…, activation=…"),
    "ppo": ("activation='Tanh'", "action_low=…, action_high=…, discount=…, activation=…"),
}


@pytest.mark.parametrize("name", SAVED)
def test_what_is_missing_is_named_and_not_guessed(name, trained):
    hint, asked = MISSING[name]
    message = refusal(trained(name)[1])
    assert message.endswith(f"pass {asked}")
    assert f"as CleanRL's {name.upper()}, whose own script has {hint}, discount=0.99" in message


def test_an_entropy_coefficient_that_was_not_saved_is_asked_for(tmp_path, trained):
    torch.save(torch.load(trained("sac")[1], weights_only=True)[:3], tmp_path / "sac.cleanrl_model")
    assert refusal(tmp_path / "sac.cleanrl_model", **FACTS).endswith("pass entropy=…")
    assert gradlab.load(tmp_path / "sac.cleanrl_model", entropy=0.25, **FACTS).entropy == 0.25


def test_what_the_file_says_goes_before_what_is_given(trained):
    live, path = trained("sac")
    agent = gradlab.load(path, entropy=7.0, action_low=[-9.0], action_high=[9.0], **FACTS)
    assert agent.entropy == pytest.approx(live.entropy, rel=1e-6)
    assert agent.action_low.tolist() == [-2.0]


def test_missing_observation_statistics_are_said_once_and_of_ppo_alone(trained, caplog):
    with caplog.at_level(logging.WARNING, "gradlab"):
        gradlab.load(trained("td3")[1], **FACTS)
        assert caplog.records == []
        gradlab.load(trained("ppo")[1], **FACTS_ON_POLICY)
    (record,) = caplog.records
    assert "statistics are not in the file" in record.getMessage()


# One line for what cannot be read ---------------------------------------------------------------------------------


def refusal(path, **given):
    with pytest.raises(GradlabError) as caught:
        gradlab.load(path, **given)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def changed(content, change):
    """The content with its actor and its first critic, or its one state dict, changed."""
    content = copy.deepcopy(content)
    change(*(content[:2] if isinstance(content, tuple) else (content, content)))
    return content


DAMAGES = {
    "a layer is gone": ("td3", lambda actor, _: actor.pop("fc2.weight"), "fc2|shape"),
    "a critic's first layer is gone": ("td3", lambda _, q: q.pop("fc1.weight"), "shape"),
    "all layers of a critic are gone": ("td3", lambda _, q: q.clear(), "a critic has no fc1.weight"),
    "the box is gone": ("td3", lambda actor, _: actor.pop("action_scale"), "no action_scale, so the action box"),
    "the box has another size": ("td3", lambda actor, _: actor.update(action_scale=torch.ones(2)), "2 numbers"),
    "the box has no shape": ("td3", lambda actor, _: actor.update(action_scale=torch.ones(1, 1, 1)), "expected .p."),
    "the box is empty": ("td3", lambda actor, _: actor.update(action_scale=torch.zeros(1)), "low must be below high"),
    "a matrix is none": ("sac", lambda actor, _: actor.update({"fc1.weight": torch.ones(3)}), "no matrix fc1.weight"),
    "log σ has another size": (
        "sac",
        lambda actor, _: actor.update({"fc_logstd.weight": torch.ones(2, 16), "fc_logstd.bias": torch.ones(2)}),
        "last layer gives",
    ),
    "numbers are integers": (
        "ddpg",
        lambda actor, _: actor.update({"fc1.weight": torch.ones(16, 3, dtype=torch.int64)}),
        "expected float32",
    ),
    "a layer more": ("ddpg", lambda _, q: q.update({"ln1.weight": torch.ones(16)}), "ln1.weight, which CleanRL's own"),
    "words": ("ddpg", lambda _, q: q.update({"fc1.weight": "none"}), "something else than tensors"),
    "a mean is gone": ("ppo", lambda both, _: both.pop("actor_mean.2.weight"), "other layers than linear"),
    "no critic": (
        "ppo",
        lambda both, _: [both.pop(name) for name in list(both) if name.startswith("critic")],
        "no critic.0.weight",
    ),
    "log σ of PPO": ("ppo", lambda both, _: both.update(actor_logstd=torch.ones(1, 1, 1)), r"expected \[1, p\]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_refused_in_a_line(damage, trained, tmp_path):
    name, change, said = DAMAGES[damage]
    path = tmp_path / "damaged.cleanrl_model"
    torch.save(changed(torch.load(trained(name)[1], weights_only=True), change), path)
    with pytest.raises(GradlabError, match=said):
        gradlab.load(path, **facts(name))
    refusal_of_any_kind(path, name)


def refusal_of_any_kind(path, name):
    with pytest.raises(GradlabError) as caught:
        gradlab.load(path, **facts(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("critics", [0, 3])
def test_another_number_of_critics_is_refused(critics, trained, tmp_path):
    actor, critic, _ = torch.load(trained("td3")[1], weights_only=True)
    torch.save((actor, *[critic] * critics), tmp_path / "a.cleanrl_model")
    assert f"state dicts of critics: {critics}" in refusal(tmp_path / "a.cleanrl_model", **FACTS)


@pytest.mark.parametrize("name", SAVED)
def test_cut_short_anywhere_is_one_line(name, trained, tmp_path):
    content = trained(name)[1].read_bytes()
    for share in (0.0, 0.01, 0.3, 0.7, 0.99):
        path = tmp_path / "cut.cleanrl_model"
        path.write_bytes(content[: int(share * len(content))])
        refusal(path, **facts(name))


def test_whole_modules_are_refused_without_running_their_code(tmp_path):
    torch.save((nn.Linear(3, 1), nn.Linear(4, 1)), tmp_path / "a.cleanrl_model")
    assert "save a state_dict" in refusal(tmp_path / "a.cleanrl_model", **FACTS)
