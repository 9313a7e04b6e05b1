"""A loop of one's own: the actor's optimizer calls the monitor."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, obs, act):
        return self.layers(torch.cat([obs, act], -1)).squeeze(-1)


def made():
    torch.manual_seed(0)
    actor = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2), nn.Tanh())
    critic = Critic()
    agent = gradlab.Agent(actor, [critic], action_low=[-1, -1], action_high=[1, 1], obs_size=3)
    return agent, torch.optim.Adam(actor.parameters(), lr=1e-3)


def train(agent, optimizer, updates, scaler=None):
    for _ in range(updates):
        obs = torch.randn(8, 3)
        loss = -agent.critics[0](obs, agent.actor(obs)).mean()
        optimizer.zero_grad()
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


class Once(probes.Probe):
    name = "once"

    def measure(self, agent, obs, generator):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert agent.action_gradient(obs, agent.action(obs)).dtype == torch.float32
        torch.rand(3)
        np.random.rand(3)
        return Measurement({"first": Estimate(obs[0, 0].item(), 0.0, 1)})


def sampler(count, random):
    # A careless one, as a library's own buffer is: it draws from global random states.
    torch.rand(1)
    return np.random.rand(count, 3).astype(np.float32)


def test_every_update_is_a_step_and_the_run_is_untouched(tmp_path):
    agent, optimizer = made()
    train(agent, optimizer, 25)
    expected, drawn = copy.deepcopy(agent.actor.state_dict()), torch.rand(1)

    agent, optimizer = made()
    store = tmp_path / "run.db"
    monitor = probes.attach(
        agent, store, probes=[Once(every=10, states=4)], budget=None, optimizer=optimizer, sampler=sampler
    )
    train(agent, optimizer, 25)
    assert torch.rand(1) == drawn
    monitor.close()
    assert monitor.status.step == 25
    assert monitor.status.measured == {"once": 3}
    for name, tensor in agent.actor.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert not optimizer._optimizer_step_post_hooks
    with open_store(store) as opened:
        assert [row.step for row in opened.measurements(probe="once")] == [1, 10, 20]


def test_a_clock_gives_the_steps(tmp_path):
    agent, optimizer = made()
    now = iter((400, 800, 1200, 1600, 2000))
    with probes.attach(
        agent,
        tmp_path / "run.db",
        probes=[Once(every=1000, states=4)],
        budget=None,
        optimizer=optimizer,
        sampler=sampler,
        clock=lambda: next(now),
    ) as monitor:
        train(agent, optimizer, 5)
    assert monitor.status.step == 2000
    assert monitor.status.measured == {"once": 3}


def test_a_clock_that_fails_ends_the_instrument_and_not_the_run(tmp_path):
    agent, optimizer = made()
    with probes.attach(
        agent, tmp_path / "run.db", probes=[Once(every=1, states=4)], optimizer=optimizer, clock=lambda: 1 / 0
    ) as monitor:
        train(agent, optimizer, 3)
    assert monitor.status.measured == {}


CONTEXTS = {
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_it_measures_alike_wherever_it_is_called_from(tmp_path, context):
    agent, _ = made()
    with (
        probes.attach(agent, tmp_path / "run.db", probes=[Once(every=1, states=4)], budget=None) as monitor,
        CONTEXTS[context](),
    ):
        monitor.step(0, obs=torch.randn(4, 3))
    assert monitor.status.failed == {}
    assert monitor.status.measured == {"once": 1}


def test_under_a_gradient_scaler(tmp_path):
    agent, optimizer = made()
    with probes.attach(
        agent, tmp_path / "run.db", probes=[Once(every=2, states=4)], budget=None, optimizer=optimizer, sampler=sampler
    ) as monitor:
        train(agent, optimizer, 4, torch.amp.GradScaler("cpu", init_scale=8.0))
    assert monitor.status.measured == {"once": 3}


def test_the_optimizer_is_saved_and_copied_without_the_monitor(tmp_path):
    agent, optimizer = made()
    with probes.attach(agent, tmp_path / "run.db", probes=[Once(every=1, states=4)], optimizer=optimizer):
        train(agent, optimizer, 2)
        assert not pickle.loads(pickle.dumps(optimizer))._optimizer_step_post_hooks
        assert set(optimizer.state_dict()) == {"state", "param_groups"}


class Alpha(probes.Probe):
    name = "alpha"

    def measure(self, agent, obs, generator):
        return Measurement({"alpha": Estimate(agent.entropy, 0.0, 1)})


def test_an_agent_given_by_a_function_is_the_one_of_now(tmp_path):
    agent, optimizer = made()
    log_alpha = torch.zeros(1, requires_grad=True)
    asked = []

    def now():
        asked.append(log_alpha.item())
        return gradlab.Agent(
            agent.actor, agent.critics, action_low=-torch.ones(2), action_high=torch.ones(2), entropy=log_alpha.exp()
        )

    store = tmp_path / "run.db"
    chosen = [Alpha(every=2, states=4), Once(every=2, states=4)]
    with probes.attach(now, store, probes=chosen, budget=None, optimizer=optimizer, sampler=sampler) as monitor:
        for _ in range(4):
            train(agent, optimizer, 1)
            with torch.no_grad():
                log_alpha -= 1
    assert monitor.status.failed == {}
    with open_store(store) as opened:
        found = opened.scalars(probe="alpha")
    # α as it was when the optimizer stepped, before the loop's own change that followed.
    assert found.step.tolist() == [1, 2, 4]
    np.testing.assert_allclose(found.value, np.exp([0.0, -1.0, -3.0]), rtol=1e-6)
    # Twice when attached, and once at each step that measures, whatever the number of probes.
    assert asked == [0.0, 0.0, 0.0, -1.0, -3.0]


def test_a_function_that_gives_no_agent_is_refused(tmp_path):
    with pytest.raises(GradlabError, match=r"view: builtins\.dict is no training object known here"):
        probes.attach(lambda: {"actor": None}, tmp_path / "run.db")
    assert not (tmp_path / "run.db").exists()


def test_a_network_is_not_taken_for_such_a_function(tmp_path):
    with pytest.raises(GradlabError, match=r"Linear is no training object known here"):
        probes.attach(nn.Linear(3, 2), tmp_path / "run.db")


def test_what_is_no_optimizer_is_refused(tmp_path):
    agent, _ = made()
    with pytest.raises(GradlabError, match="optimizer: 'adam'; give the actor's"):
        probes.attach(agent, tmp_path / "run.db", optimizer="adam")
    assert not (tmp_path / "run.db").exists()
