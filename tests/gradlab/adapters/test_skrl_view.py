"""A live skrl agent as an Agent: what it shares, what it leaves alone, what it refuses."""

import subprocess
import sys

import gymnasium
import pytest
import torch
from torch import nn

import gradlab
from gradlab.adapters import skrl
from gradlab.errors import GradlabError
from gradlab.policies import ClampedGaussian, Deterministic, Gaussian, Softmax
from gradlab.tangent import materialised_kernel, tangent_kernel
from gradlab.testing.conformance import differences, digest


@pytest.fixture(scope="module")
def trained(skrl_runs):
    """One trained agent of each algorithm, to be read and left as it is."""

    def run(algorithm):
        agent, trainer = skrl_runs.prepared(algorithm, steps=64, rollouts=32)
        trainer.train()
        return agent

    return {algorithm: run(algorithm) for algorithm in skrl_runs.ALGORITHMS}


OBS = torch.linspace(-1, 1, 15).reshape(5, 3)
CRITICS = {"DDPG": (1, "first"), "TD3": (2, "first"), "SAC": (2, "min"), "PPO": (0, "first"), "A2C": (0, "first")}


@pytest.mark.parametrize("algorithm", [*CRITICS, "TRPO"])
def test_what_the_view_says_of_each_algorithm(algorithm, trained):
    agent = gradlab.view(trained[algorithm])
    count, reduction = CRITICS.get(algorithm, (0, "first"))
    assert (len(agent.critics), len(agent.target_critics), agent.reduction) == (count, count, reduction)
    assert (agent.library, agent.algorithm, agent.discount, agent.obs_size) == ("skrl", algorithm, 0.96, 3)
    assert (agent.value is None) == (count > 0)
    assert isinstance(agent.policy, Deterministic if algorithm in ("DDPG", "TD3") else Gaussian)
    assert agent.action_low.tolist() == agent.env_low.tolist() == [-0.5, -2.0]
    assert (agent.entropy > 0) == (algorithm == "SAC")


@pytest.mark.parametrize("algorithm", [*CRITICS, "TRPO"])
def test_values_are_the_librarys_own(algorithm, trained):
    own = trained[algorithm]
    agent = gradlab.view(own)
    inputs = {"observations": OBS, "states": None}
    with torch.random.fork_rng(), torch.no_grad():
        actions, outputs = own.policy.act(inputs, role="policy")
        head = agent.head(OBS)
        if agent.policy.stochastic:
            assert torch.equal(agent.action(OBS), outputs["mean_actions"])
            assert torch.allclose(agent.policy.log_prob(head, actions)[:, None], outputs["log_prob"], atol=1e-6)
        else:
            assert torch.equal(head, actions)
        for target in (False, True) if agent.critics else ():
            names = [f"{'target_' * target}{name}" for name in skrl.KINDS[algorithm].critics]
            values = [own.models[name].act({**inputs, "taken_actions": actions}, role=name)[0] for name in names]
            assert torch.equal(agent.q_all(OBS, actions, target=target), torch.stack(values)[..., 0])
        if agent.value is not None:
            assert torch.equal(agent.v(OBS), own.value.act(inputs, role="value")[0][:, 0])


@pytest.mark.parametrize("algorithm", [*CRITICS, "TRPO"])
def test_viewing_and_measuring_leave_the_agent_as_it_is(algorithm, trained, random_states):
    own = trained[algorithm]
    before, states = digest(agent=own), random_states()
    agent = gradlab.view(own)
    for measured in (agent, agent.snapshot(), agent.snapshot(double=True)):
        obs = measured.observations(OBS)
        measured.head(obs)
        if measured.critics:
            measured.action_gradient(obs, measured.action(obs))
        else:
            measured.v(obs)
    assert differences(before, digest(agent=own)) == []
    assert random_states() == states


def test_the_view_follows_training_and_a_snapshot_does_not(trained):
    own = trained["TD3"]
    agent, parameter = gradlab.view(own), next(own.policy.parameters())
    snapshot, before = agent.snapshot(), agent.head(OBS).detach()
    assert list(agent.named_parameters()) == [name for name, _ in own.policy.named_parameters()]
    with torch.no_grad():
        parameter.add_(0.1)
        changed = agent.head(OBS)
        assert not torch.equal(changed, before)
        assert torch.equal(snapshot.head(OBS), before)
        parameter.sub_(0.1)


def test_a_model_that_is_policy_and_value_is_asked_without_a_trace(skrl_runs):
    own, trainer = skrl_runs.prepared("PPO", policy=skrl_runs.Shared, steps=64)
    trainer.train()
    agent = gradlab.view(own)
    other = OBS.flip(0)
    alone = [own.policy.value_layer(own.policy.net(obs))[:, 0] for obs in (OBS, other)]
    # What the live model has kept for the value is neither used nor lost.
    own.policy._shared_output = kept = own.policy.net(OBS)
    for measured in (agent, gradlab.view(own), agent.snapshot()):
        measured.head(OBS)
        assert torch.allclose(measured.v(other), alone[1])
        assert torch.allclose(measured.v(OBS), alone[0])
    assert own.policy._shared_output is kept
    snapshot = agent.snapshot()
    assert snapshot.actor is snapshot.value.model
    assert torch.allclose(tangent_kernel(agent, OBS).matrix, materialised_kernel(agent, OBS).matrix)


def test_v_is_in_units_of_return(skrl_runs):
    own, trainer = skrl_runs.prepared("PPO", steps=64, scaled=True)
    trainer.train()
    agent = gradlab.view(own)
    with torch.no_grad():
        inputs = {"observations": OBS, "states": None}
        wanted = own._value_preprocessor(own.value.act(inputs, role="value")[0], inverse=True)[:, 0]
        assert torch.equal(agent.v(OBS), wanted)
        assert torch.equal(agent.snapshot().v(OBS), wanted)
    assert agent.v(OBS).mean() < -5
    obs = OBS.clone().requires_grad_()
    assert torch.autograd.grad(agent.v(obs).sum(), obs)[0].abs().max() > 0


@pytest.mark.parametrize("single_forward_pass", [True, False])
def test_models_that_the_library_writes_for_its_users(single_forward_pass, skrl_runs, monkeypatch):
    """Classes made of text, in which policy and value share layers and the policy's have a tanh around them."""
    from skrl.utils.model_instantiators.torch import shared_model

    network = [{"name": "net", "input": "OBSERVATIONS", "layers": [16, 12], "activations": "elu"}]

    def models(algorithm, policy, spaces):
        both = shared_model(
            structure=["GaussianMixin", "DeterministicMixin"],
            roles=["policy", "value"],
            parameters=[{"network": network, "output": "tanh(ACTIONS)"}, {"network": network, "output": "ONE"}],
            single_forward_pass=single_forward_pass,
            **spaces,
        )
        for role in ("policy", "value"):
            both.init_state_dict(role=role)
        return {"policy": both, "value": both}

    monkeypatch.setattr(skrl_runs, "models", models)
    own, trainer = skrl_runs.prepared("PPO", steps=64)
    trainer.train()
    agent = gradlab.view(own)
    inputs = {"observations": OBS, "states": None}
    with torch.random.fork_rng(), torch.no_grad():
        mean = own.policy.act(inputs, role="policy")[1]["mean_actions"]
        value = own.value.act(inputs, role="value")[0][:, 0]
        agent.head(OBS.flip(0))
        assert torch.allclose(agent.action(OBS), mean)
        assert torch.allclose(agent.v(OBS), value)
        assert torch.allclose(agent.snapshot().v(OBS), value)


def test_the_kernel_of_a_users_own_class_is_built_by_layers(trained):
    agent = gradlab.view(trained["SAC"])
    assert torch.allclose(tangent_kernel(agent, OBS).matrix, materialised_kernel(agent, OBS).matrix, rtol=1e-4)


def test_a_view_between_forward_and_backward_can_be_copied(trained):
    """During an update a policy holds a distribution that is part of the loss's graph, which cannot be copied."""
    own = trained["SAC"]
    own.policy.act({"observations": OBS, "states": None}, role="policy")
    held = own.policy._g_distribution
    assert held.loc.grad_fn is not None
    gradlab.view(own).snapshot()
    assert own.policy._g_distribution is held


def test_discrete_actions_are_a_softmax(skrl_runs):
    own, _ = skrl_runs.prepared("PPO", env=lambda: skrl_runs.Drift(discrete=True), policy=skrl_runs.Choice)
    agent = gradlab.view(own)
    assert isinstance(agent.policy, Softmax)
    assert agent.action_size == 3


def test_clipped_actions_are_clamped(skrl_runs):
    clipping = lambda **spaces: skrl_runs.Stochastic({"clip_actions": True}, **spaces)  # noqa: E731
    own, _ = skrl_runs.prepared("SAC", policy=clipping)
    policy = gradlab.view(own).policy
    assert isinstance(policy, ClampedGaussian)
    assert (policy.low.tolist(), policy.high.tolist()) == ([-0.5, -2.0], [1.5, 0.25])


# What is refused --------------------------------------------------------------------------------------------------


def refused(own):
    with pytest.raises(GradlabError) as found:
        gradlab.view(own)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_an_act_of_the_users_own_is_found_out(skrl_runs):
    """The usual way to a tanh: around the mixin's action, with the density of the action before it."""

    class Squashed(skrl_runs.Stochastic):
        def act(self, inputs, *, role=""):
            action, outputs = super().act(inputs, role=role)
            return torch.tanh(action), outputs

    own, _ = skrl_runs.prepared("SAC", policy=Squashed)
    assert "Squashed, has an act() of its own that gives something else" in refused(own)

    class Doubled(skrl_runs.Actor):
        def act(self, inputs, *, role=""):
            action, outputs = super().act(inputs, role=role)
            return 2 * action, outputs

    own, _ = skrl_runs.prepared("TD3", policy=Doubled)
    assert "Doubled, has an act() of its own that gives something else" in refused(own)

    class Harmless(skrl_runs.Stochastic):
        def act(self, inputs, *, role=""):
            return super().act(inputs, role=role)

    own, _ = skrl_runs.prepared("SAC", policy=Harmless)
    assert gradlab.view(own).policy.stochastic


def test_options_that_mean_something_else_are_refused(skrl_runs):
    mean = lambda **spaces: skrl_runs.Stochastic({"reduction": "mean"}, **spaces)  # noqa: E731
    assert "does not sum log π" in refused(skrl_runs.prepared("SAC", policy=mean)[0])
    assert "only a DeterministicMixin is supported" in refused(skrl_runs.prepared("TD3", policy=skrl_runs.Free)[0])
    own, _ = skrl_runs.prepared("PPO")
    own.models["value"]._d_clip_actions = True
    assert "only a DeterministicMixin without clip_actions" in refused(own)


def test_states_beside_observations_are_refused(skrl_runs):
    own, _ = skrl_runs.prepared("SAC")
    own.state_space = gymnasium.spaces.Box(-1, 1, (4,))
    assert "has a state_space" in refused(own)


def test_missing_models_are_named(skrl_runs):
    own, _ = skrl_runs.prepared("TD3")
    del own.models["critic_2"]
    assert "this TD3 has no critic_2 among its models" in refused(own)


def test_other_algorithms_are_refused(skrl_runs):
    from skrl.agents.torch.cem import CEM

    own, _ = skrl_runs.prepared("PPO")
    other = CEM(
        models={"policy": own.policy},
        memory=own.memory,
        cfg={},
        observation_space=own.observation_space,
        action_space=own.action_space,
        device="cpu",
    )
    assert "skrl CEM is not supported; supported are DDPG, TD3, SAC, PPO, A2C, TRPO" in refused(other)


def test_the_library_is_not_imported():
    code = "import sys; from gradlab.adapters import skrl; skrl.recognises(3); assert 'skrl' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_is_no_agent():
    assert not skrl.recognises(nn.Linear(1, 1))
