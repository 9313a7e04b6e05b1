"""A Tianshou state dict where the library is not installed; with it, see tests/libraries/tianshou."""

import pytest
import torch

import gradlab
from gradlab.errors import GradlabError


@pytest.fixture
def weights():
    """A small TD3's, as ``torch.save(algorithm.state_dict(), path)`` names them."""
    generator = torch.Generator().manual_seed(0)

    def part(prefix, inputs, outputs):
        shapes = {"preprocess.model.model.0": (8, inputs), "last.model.0": (6, 8), "last.model.2": (outputs, 6)}
        return {
            f"{prefix}{name}.{kind}": torch.randn(shape if kind == "weight" else shape[:1], generator=generator)
            for name, shape in shapes.items()
            for kind in ("weight", "bias")
        }

    content = part("policy.actor.", 3, 2) | part("actor_old.module.", 3, 2)
    for critic in ("critic", "critic2"):
        content |= part(f"{critic}.", 5, 1) | part(f"{critic}_old.module.", 5, 1)
    return content | {"_optimizers": []}


FACTS = {"action_low": -2, "action_high": 2, "discount": 0.9, "activation": "Tanh"}


def by_hand(weights, prefix, x):
    for name, after in (("preprocess.model.model.0", torch.tanh), ("last.model.0", torch.relu), ("last.model.2", None)):
        x = x @ weights[f"{prefix}{name}.weight"].T + weights[f"{prefix}{name}.bias"]
        x = x if after is None else after(x)
    return x


@pytest.mark.parametrize("bound", [1.0, 2.0])
def test_the_networks_are_those_of_the_file(bound, weights, tmp_path):
    torch.save(weights, tmp_path / "td3_300.pt")
    agent = gradlab.load(tmp_path / "td3_300.pt", max_action=bound, **FACTS)
    obs, act = torch.randn(5, 3), torch.randn(5, 2)
    assert torch.allclose(agent.action(obs), bound * torch.tanh(by_hand(weights, "policy.actor.", obs)), atol=1e-6)
    both = torch.cat([obs, act], -1)
    for index, name in enumerate(("critic", "critic2")):
        assert torch.allclose(agent.q_all(obs, act)[index], by_hand(weights, f"{name}.", both)[:, 0], atol=1e-5)
        target = by_hand(weights, f"{name}_old.module.", both)[:, 0]
        assert torch.allclose(agent.q_all(obs, act, target=True)[index], target, atol=1e-5)
    # Actions that reach 1 are scaled to the environment's box; others are in its units.
    assert agent.action_high.tolist() == [bound, bound]
    assert agent.env_high.tolist() == [2, 2]
    assert (agent.algorithm, agent.library, agent.reduction) == ("TD3", "tianshou", "first")


def test_all_that_is_missing_is_named(weights, tmp_path):
    torch.save(weights, tmp_path / "td3.pt")
    with pytest.raises(GradlabError) as error:
        gradlab.load(tmp_path / "td3.pt", discount=0.9)
    assert str(error.value) == (
        f"checkpoint {tmp_path}/td3.pt: the file does not say the lower corner of the action box, the upper corner, "
        "what follows each hidden layer, such as 'ReLU', c of an actor that ends in c·tanh; pass "
        "action_low=…, action_high=…, activation=…, max_action=…"
    )
