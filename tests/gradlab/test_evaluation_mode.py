"""Networks in training mode: measured in evaluation mode, and left as they are."""

import numpy as np
import pytest
import torch
from torch import nn

from gradlab import landscape
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.training.report import measure_landscape
from gradlab.landscape.truth.true_slices import true_slice
from gradlab.references import SimulatorReference
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic
from probes.landscape import Landscape


class Critic(nn.Module):
    """Bends at its first layer's zeros alone, so that exact optima exist too."""

    def __init__(self, between):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), between, nn.Linear(16, 1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def norm(size):
    """Batch normalisation that has seen other rows than any test's."""
    layer = nn.BatchNorm1d(size)
    layer.running_mean.copy_(torch.linspace(-0.5, 0.5, size))
    layer.running_var.copy_(torch.linspace(0.5, 2.0, size))
    return layer


def build(kind, method=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic({"norm critic": lambda: norm(16), "dropout critic": nn.Dropout}.get(kind, nn.Identity)())
        inner = norm(4) if kind == "norm actor" else nn.Identity()
        actor = nn.Sequential(nn.Linear(1, 4), inner, nn.Linear(4, 1), nn.Tanh())
        target = Critic(norm(16))
    agent = Agent(actor, [critic.forward if method else critic], [-2.0], [2.0], 0.9, target_critics=[target])
    for module in (actor, critic, target):
        module.train()
    return agent, nn.ModuleList([actor, critic, target])


OBS = torch.linspace(-1, 1, 3)[:, None]
ACT = torch.full((1, 3, 1), 0.5)


def reference():
    world = LinearQuadratic(A=0.5, B=0.5, Q=1.0, R=1.0, gamma=0.9, K=0.1)
    return SimulatorReference(lambda: LinearQuadraticEnvironment(world, 2.0), horizon=4)


def visited(agent, simulated):
    return simulated.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=1)


def phantoms(agent):
    simulated = reference()
    return landscape.phantom_optima(agent, visited(agent, simulated), simulated).critic_gain


def truth(agent):
    simulated = reference()
    states = visited(agent, simulated)
    return true_slice(agent, states, simulated, landscape.local_optima(agent, states.obs, starts=4), resolution=3).q


def searched(agent):
    return landscape.local_optima(agent, OBS, starts=4)


def cut(agent):
    return landscape.surrogate_agent(agent, OBS, torch.zeros(3))


def quality(agent):
    # What is learned is in training mode too.
    learned = Learned()
    found = landscape.surrogate_quality(agent, OBS, learned, ACT, samples=4, starts=4)
    assert learned.training
    assert learned.norm.num_batches_tracked == 0
    return found.per_state["anchor_error"]


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = norm(1)

    def forward(self, obs, act, previous):
        return -self.norm(act).square().sum(-1)


#: Each public function that looks at networks, and some number that it gives.
ENTRIES = {
    "local_optima": lambda a: searched(a).best_value,
    "gap": lambda a: landscape.gap(a, OBS).gap,
    "gap of found optima": lambda a: landscape.gap(a, OBS, searched(a)).gap,
    "gap at one state": lambda a: landscape.gap(a, OBS[:1]).gap,
    "gap_by_critic": lambda a: landscape.gap_by_critic(a, OBS)["critic 0"].gap,
    "phantom_optima": phantoms,
    "true_slice": truth,
    "exact_optima": lambda a: landscape.exact_optima(a, OBS).best_value,
    "surrogates": lambda a: landscape.surrogates(a, OBS, starts=4).threshold,
    "surrogate_agent": lambda a: (lambda b, rows: b.q(rows, b.action(rows)))(*cut(a)).detach(),
    "surrogate searched": lambda a: landscape.local_optima(*cut(a), starts=4).best_value,
    "surrogate_quality": quality,
    "fit_surrogate": lambda a: landscape.fit_surrogate(a, OBS, ACT, steps=2, width=4)(OBS, ACT[0], ACT.transpose(0, 1)),
    "several_actors": lambda a: landscape.several_actors(a, OBS, [a.action, a.actor], second=a.q).values,
    "mapping_gap": lambda a: landscape.mapping_gap(a, OBS, torch.linspace(-2, 2, 3)[:, None]).mapping.value,
    "field": lambda a: landscape.field(a, OBS, resolution=3, arrows=3).q,
    "slice_plane": lambda a: landscape.slice_plane(a, OBS, resolution=3).q,
    "slice at one state": lambda a: landscape.slice_plane(a, OBS[:1], resolution=3).q,
    "slice of optima": lambda a: landscape.slice_plane(a, OBS, searched(a), resolution=3).q,
    "coordinate_plane": lambda a: landscape.coordinate_plane(a, OBS).marks["actor"],
    "random_plane": lambda a: landscape.random_plane(a, OBS).marks["actor"],
    "optima_plane": lambda a: landscape.optima_plane(a, OBS, searched(a)).marks["actor"],
    "curvature_plane": lambda a: landscape.curvature_plane(a, OBS, scale=0.5).curvature,
    "ascent_path": lambda a: landscape.ascent_path(a, OBS, steps=2),
    "gradient_field_over_states": lambda a: landscape.gradient_field_over_states(a, OBS).gradient,
    "measure_landscape": lambda a: measure_landscape(a, visited(a, reference()), starts=4).standing.gap,
    "probe": lambda a: Landscape(states=3, starts=4).measure(a, OBS, torch.Generator()).scalars["gap"].value,
}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("kind", ["norm critic", "dropout critic", "norm actor"])
def test_networks_in_training_mode_are_measured_in_evaluation_mode_and_left_alone(kind, name):
    agent, networks = build(kind)
    networks[0][1].eval()  # modes are mixed, and stay so
    before = {key: value.clone() for key, value in networks.state_dict().items()}
    modes = [module.training for module in networks.modules()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()

    found = np.asarray(ENTRIES[name](agent))

    assert all(torch.equal(value, before[key]) for key, value in networks.state_dict().items())
    assert [module.training for module in networks.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert all(parameter.grad is None for parameter in networks.parameters())

    still, evaluated = build(kind)
    evaluated.eval()
    assert np.array_equal(found, np.asarray(ENTRIES[name](still)), equal_nan=True)


def test_the_actors_action_is_the_same_everywhere():
    agent, _ = build("norm actor")
    actor = landscape.gap(agent, OBS).actor_value
    asked = landscape.several_actors(agent, OBS, [agent.action])
    start = landscape.ascent_path(agent, OBS, steps=1)[0]
    marked = landscape.random_plane(agent, OBS).marks["actor"]

    assert torch.equal(asked.values[0], actor)
    torch.testing.assert_close(asked.actions[0], start)
    assert torch.equal(asked.actions[0].double(), marked)
    assert landscape.gap(agent, OBS[1:2]).actor_value.item() == pytest.approx(actor[1].item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["norm critic", "dropout critic"])
def test_a_critic_may_be_a_method_of_a_module_in_training_mode(kind):
    agent, networks = build(kind, method=True)
    before = {key: value.clone() for key, value in networks.state_dict().items()}
    state = torch.get_rng_state()

    found = landscape.gap(agent, OBS).gap

    assert all(torch.equal(value, before[key]) for key, value in networks.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in networks.modules())
    assert torch.equal(found, landscape.gap(build(kind)[0], OBS).gap)


def test_target_critics_are_in_evaluation_mode_too():
    agent, networks = build("dropout critic")
    networks[0].eval(), networks[1].eval()
    looked_at = in_evaluation(agent)
    assert looked_at is not agent
    assert not looked_at.target_critics[0].training
    assert networks[2].training


def test_nothing_is_copied_where_nothing_is_in_training_mode(monkeypatch):
    agent, networks = build("norm critic")
    networks.eval()
    monkeypatch.setattr(Agent, "snapshot", lambda *_, **__: pytest.fail("copied"))
    landscape.gap(agent, OBS)
    landscape.surrogates(agent, OBS, starts=4)


@pytest.mark.parametrize("name", ["gap", "surrogates", "probe", "measure_landscape", "slice of optima"])
def test_nested_calls_copy_no_more_than_the_outer_one(monkeypatch, name):
    agent, _ = build("norm critic")
    copies, real = [], Agent.snapshot
    simulated = reference()
    states = visited(agent, simulated)
    optima = searched(agent)
    calls = {
        "gap": lambda: landscape.gap(agent, OBS),
        "surrogates": lambda: landscape.surrogates(agent, OBS, starts=4),
        "probe": lambda: Landscape(states=3, starts=4).measure(agent, OBS, torch.Generator()),
        "measure_landscape": lambda: measure_landscape(agent, states, starts=4),
        "slice of optima": lambda: landscape.slice_plane(agent, OBS, optima, resolution=3),
    }
    monkeypatch.setattr(Agent, "snapshot", lambda self, **options: copies.append(1) or real(self, **options))
    calls[name]()
    assert len(copies) == 1


def test_optima_of_other_states_or_of_another_critic_are_refused():
    heights = [lambda obs, act: obs[:, 0] - act.square().sum(-1), lambda obs, act: -(act - 0.5).square().sum(-1)]
    agent = Agent(nn.Linear(1, 1), heights, [-2.0], [2.0], 0.9)
    optima = searched(agent)
    simulated = reference()
    states = visited(agent, simulated)
    landscape.gap(agent, OBS, optima)
    for look in (
        lambda: landscape.gap(agent, OBS.flip(0), optima),
        lambda: landscape.gap(agent, OBS, optima, critic=1),
        lambda: landscape.phantom_optima(agent, states, simulated, optima),
        lambda: landscape.phantom_optima(agent, states, simulated, landscape.local_optima(agent, states.obs), critic=1),
    ):
        with pytest.raises(GradlabError, match="not of this critic at these observations in state") as refusal:
            look()
        assert "\n" not in str(refusal.value)
