"""Parity: the actor gradient computed from gradlab's Agent is d3rlpy's own p.grad, on the same minibatch."""

import pytest
import torch
from torch import nn

from gradlab.adapters import view
from gradlab.estimators import Deterministic, Reparameterized
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6
ALGORITHMS = ["ddpg", "td3", "sac", "td3+bc", "cql", "iql"]


class Recorder:
    """Compares the two gradients before every step of the actor's optimizer.

    Reads the library's minibatch as it is given to ``update`` (raw observations), and the random state that ε comes
    from. The library is patched here, in the test, and nowhere else.
    """

    def __init__(self, algorithm, change=lambda agent: None):
        self.algorithm, self.change = algorithm, change
        self.errors, self.whole = [], []
        impl = algorithm.impl
        impl.modules.actor_optim.optim.register_step_pre_hook(self.compare)
        update, loss = algorithm.update, impl.compute_actor_loss

        def updating(batch):
            self.raw = batch
            return update(batch)

        def losing(batch, action):
            self.batch, self.state = batch, torch.get_rng_state()
            return loss(batch, action)

        algorithm.update, impl.compute_actor_loss = updating, losing

    def compare(self, *_):
        agent = view(self.algorithm).snapshot()
        self.change(agent)
        obs = agent.observations(self.raw.observations)
        ours = parameter_gradient(agent, obs, self.cotangent(agent, obs))
        theirs = {name: parameter.grad for name, parameter in self.algorithm.impl.policy.named_parameters()}
        assert list(ours) == list(theirs)
        self.errors.append(max(relative_error(-ours[name], theirs[name]) for name in theirs))
        flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
        self.whole.append(relative_error(-flat[0], flat[1]))

    def cotangent(self, agent, obs):
        """∇_h of what the loss is the negative of, [B, m]."""
        head, data = agent.head(obs).detach(), self.batch.actions
        if agent.algorithm == "IQL":
            # Weighted regression on the dataset's actions: no gradient of Q, but its critics and V weigh.
            impl = self.algorithm.impl
            advantage = agent.q(obs, data, target=True) - agent.v(obs)
            weight = (impl._weight_temp * advantage).exp().clamp(max=impl._max_weight).detach()
            mean, log_std = head.chunk(2, -1)
            return weight.unsqueeze(-1) * agent.policy.score(head, (data - mean) / log_std.exp())
        if agent.policy.stochastic:
            noise = torch.normal(
                torch.zeros_like(data), torch.ones_like(data), generator=torch.Generator().set_state(self.state)
            )
            return Reparameterized().at_noise(agent, obs, noise[None])[0]
        along_q = Deterministic().draw(agent, obs)[0]
        if agent.algorithm != "TD3PlusBC":
            return along_q
        weight = self.algorithm.impl._alpha / agent.q(obs, head).abs().mean().detach()
        return weight * along_q + 2 * (data - head) / data.shape[-1]


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def compared(algorithm, dataset, change=lambda agent: None, updates=6):
    """A recorder after some of the library's own updates."""
    recorder = Recorder(algorithm, change)
    for _ in range(updates):
        algorithm.update(dataset.sample_transition_batch(32))
    assert len(recorder.errors) == updates // getattr(algorithm.config, "update_actor_interval", 1)
    return recorder


def check(recorder, record_property):
    record_property("relative_error", max(recorder.whole))
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.errors) <= TOLERANCE


@pytest.mark.parametrize("scaled", [None, "standard", "unit"], ids=["raw", "standard", "unit"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_parity_whatever_observations_are_scaled_by(name, scaled, made, data, record_property):
    dataset = data()
    check(compared(made(name, dataset, scaled=scaled), dataset), record_property)


@pytest.mark.parametrize("name", ["ddpg", "sac"])
@pytest.mark.parametrize(
    "options",
    [{"activation": "swish"}, {"activation": "tanh", "encoder": {"use_layer_norm": True}}, {"box": False}],
    ids=["swish", "layer-norm", "no-scaler"],
)
def test_parity_of_other_settings(name, options, made, data, record_property):
    dataset = data(low=[-1.0, -1.0], high=[1.0, 1.0])
    check(compared(made(name, dataset, **options), dataset), record_property)


@pytest.mark.parametrize(("name", "critics"), [("td3", 3), ("sac", 1), ("sac", 5)], ids=["td3-3", "sac-1", "sac-5"])
def test_parity_of_other_ensembles(name, critics, made, data, record_property):
    dataset = data()
    check(compared(made(name, dataset, n_critics=critics), dataset), record_property)


def test_parity_while_alpha_is_learned_and_where_it_is_not(made, data, record_property):
    dataset = data()
    algorithm = made("sac", dataset, temp_learning_rate=0.1)
    before = view(algorithm).entropy
    check(compared(algorithm, dataset), record_property)
    assert view(algorithm).entropy != before
    algorithm = made("sac", dataset, temp_learning_rate=0.0, initial_temperature=0.3)
    check(compared(algorithm, dataset), record_property)
    assert view(algorithm).entropy == pytest.approx(0.3)


# The same comparison must fail for an Agent that is wrong in one respect ----------------------------------------


def worst(made, data, name, change, **options):
    dataset = data()
    return min(compared(made(name, dataset, **options), dataset, change).whole)


def test_the_other_critic_is_noticed(made, data):
    assert worst(made, data, "td3", lambda agent: setattr(agent, "critics", agent.critics[::-1])) > 1e-2


@pytest.mark.parametrize("reduction", ["first", "mean"])
def test_another_value_than_the_smaller_is_noticed(reduction, made, data):
    change = lambda agent: setattr(agent, "reduction", reduction)  # noqa: E731
    assert worst(made, data, "sac", change, n_critics=5) > 1e-3


def test_the_target_critics_are_noticed(made, data):
    change = lambda agent: setattr(agent, "critics", agent.target_critics)  # noqa: E731
    assert worst(made, data, "ddpg", change, critic_learning_rate=1e-2) > 1e-3


def test_alpha_before_its_update_is_noticed(made, data):
    change = lambda agent: setattr(agent, "entropy", agent.entropy * 1.1)  # noqa: E731
    assert worst(made, data, "sac", change, temp_learning_rate=0.1) > 1e-4


def test_a_missing_observation_scaler_is_noticed(made, data):
    change = lambda agent: setattr(agent.actor, "scaler", None)  # noqa: E731
    assert worst(made, data, "ddpg", change, scaled="standard") > 1e-2


def test_critics_in_environment_units_are_noticed(made, data):
    def in_environment_units(agent):
        class Scaled(nn.Module):
            def forward(self, obs, act, inner=agent.critics[0]):
                return inner(obs, agent.to_env(act))

        agent.critics = (Scaled(),)

    assert worst(made, data, "ddpg", in_environment_units) > 1e-2
