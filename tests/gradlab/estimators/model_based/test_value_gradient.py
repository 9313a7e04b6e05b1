"""Value gradients against central differences of explicit paths, and against the linear-quadratic closed form."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic as DeterministicGradient
from gradlab.estimators import Reparameterized
from gradlab.estimators.model_based import GaussianModel, ValueGradient, infer_action_noise
from gradlab.estimators.model_based.unroll import Noises
from gradlab.policies import Around, Deterministic, Gaussian, Softmax, SquashedGaussian
from gradlab.trajectories import Trajectories
from gradlab.worlds import LinearQuadratic
from gradlab.worlds.models import linear_quadratic_model

N, P, B, GAMMA = 3, 2, 4, 0.9
POLICIES = {"deterministic": Deterministic(), "gaussian": Gaussian(), "squashed": SquashedGaussian(0.0, -2.0, 1.0)}


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + P, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def make(policy, *, entropy=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Sequential(nn.Linear(N, 8), nn.Tanh(), nn.Linear(8, policy.head_size(P))).double()
        critic = Critic()
    return Agent(actor, [critic], [-2] * P, [1] * P, GAMMA, policy=policy, entropy=entropy)


def matrix(rows, columns, seed):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2


A, C = matrix(N, N, 1), matrix(P, N, 2)


def mean(obs, act):
    return (obs @ A + act @ C).tanh()


def std(obs, act):
    return 0.2 + 0.1 * (obs + (act @ C)).sin().square()


def reward(obs, act):
    return (obs.sin() * obs).sum(-1) - act.square().sum(-1) + (obs[..., :P] * act).sum(-1)


MODEL = GaussianModel(mean, reward, std)


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def noises(agent, draws, steps, seed=4):
    generator = torch.Generator().manual_seed(seed)
    act = torch.randn(steps + 1, draws, B, P, generator=generator, dtype=torch.float64)
    if not agent.policy.stochastic:
        act.zero_()
    return Noises(act, torch.randn(steps, draws, B, N, generator=generator, dtype=torch.float64))


def path_value(agent, state, head, act_noise, model_noise, *, critic, alpha):
    """One path's value from its first head, step by step, numbers only."""
    with torch.no_grad():
        total = 0.0
        for t in range(len(act_noise)):
            if t > 0:
                head = agent.head(state[None])[0]
            act, log_prob = agent.policy.sample(head[None], act_noise[t][None])
            bonus = -alpha * log_prob.item() if agent.policy.stochastic else 0.0
            if t == len(act_noise) - 1:
                return total + (GAMMA**t * (agent.q(state[None], act).item() + bonus) if critic else 0.0)
            total += GAMMA**t * (reward(state, act[0]).item() + bonus)
            state = mean(state, act[0]) + std(state, act[0]) * model_noise[t]
    return total


def differences(function, at, step=1e-5):
    out = torch.zeros_like(at)
    for k in range(len(at)):
        shift = torch.zeros_like(at)
        shift[k] = step
        out[k] = (function(at + shift) - function(at - shift)) / (2 * step)
    return out


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(("steps", "critic"), [(0, True), (1, True), (1, False), (3, True), (4, False)])
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_against_central_differences_of_the_path(policy, steps, critic, entropy, obs):
    agent = make(policy, entropy=entropy)
    given = noises(agent, 2, steps)
    before = torch.get_rng_state()
    with torch.no_grad():
        v = ValueGradient(MODEL, steps, critic=critic).at_noise(agent, obs, given)
    assert v.shape == (2, B, policy.head_size(P))
    assert not v.requires_grad
    heads = agent.head(obs).detach()
    for d in range(2):
        for i in range(B):
            eps, xi, state = given.act[:, d, i], given.model[:, d, i], obs[i]

            def value(head, state=state, eps=eps, xi=xi):
                return path_value(agent, state, head, eps, xi, critic=critic, alpha=entropy)

            truth = differences(value, heads[i])
            torch.testing.assert_close(v[d, i], truth, rtol=1e-6, atol=1e-8)
    assert all(p.grad is None for module in (agent.actor, agent.critics[0]) for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_no_steps_are_svg_zero_or_dpg_draw_by_draw(policy, obs):
    agent = make(policy, entropy=0.2)
    known = Reparameterized() if policy.stochastic else DeterministicGradient()
    draws = [e.draw(agent, obs, 5, torch.Generator().manual_seed(0)) for e in (ValueGradient(MODEL, 0), known)]
    torch.testing.assert_close(*draws, rtol=1e-12, atol=1e-12)


class Blind(nn.Module):
    def forward(self, obs, act):
        return obs.sum(-1)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_critic_that_ignores_the_action_gives_zero_at_no_steps(steps, obs):
    agent = make(Gaussian())
    agent.critics = (Blind(),)
    with torch.no_grad():
        v = ValueGradient(MODEL, steps).draw(agent, obs, 2)
    assert bool(v.any()) == (steps > 0)


def test_single_precision_agrees(obs):
    agent, single = make(Gaussian(), entropy=0.1), make(Gaussian(), entropy=0.1)
    single.actor.float(), single.critics[0].float()

    def in_its_own(function):
        return lambda obs, act: function(obs.double(), act.double()).to(obs)

    given = noises(agent, 3, 2)
    rough = ValueGradient(GaussianModel(in_its_own(mean), in_its_own(reward), in_its_own(std)), 2).at_noise(
        single, obs.float(), Noises(given.act.float(), given.model.float())
    )
    assert rough.dtype == torch.float32
    torch.testing.assert_close(
        ValueGradient(MODEL, 2).at_noise(agent, obs, given), rough.double(), rtol=1e-4, atol=1e-5
    )


def test_draws_do_not_depend_on_chunks(obs, monkeypatch):
    agent = make(Gaussian())
    whole = ValueGradient(MODEL, 2).draw(agent, obs, 7, torch.Generator().manual_seed(0))
    monkeypatch.setattr("gradlab.estimators.model_based.value_gradient.ROWS", 3 * B * 2)
    torch.testing.assert_close(ValueGradient(MODEL, 2).draw(agent, obs, 7, torch.Generator().manual_seed(0)), whole)


# The linear-quadratic regulator -------------------------------------------------------------------------------


def regulator(noise=0.0, policy_std=0.0, horizon=None):
    return LinearQuadratic(
        A=[[0.9, 0.2], [-0.1, 0.8]],
        B=[[0.5], [0.3]],
        Q=[[1.0, 0.2], [0.2, 0.5]],
        R=[[0.1]],
        gamma=0.9,
        K=[[0.3, 0.1]],
        noise=[[noise, 0.0], [0.0, noise / 2]],
        policy_std=policy_std,
        horizon=horizon,
    )


STATES = torch.tensor([[1.0, 0.0], [0.5, -1.0], [-0.3, 2.0]]).double()


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 12])
def test_without_noise_every_number_of_steps_is_exact(steps):
    world = regulator()
    agent = world.agent()
    v = ValueGradient(linear_quadratic_model(world), steps).draw(agent, STATES)[0]
    truth = world.action_gradient(STATES, agent.action(STATES).detach())
    torch.testing.assert_close(v, truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_backpropagation_without_a_critic_is_the_finite_horizon(steps):
    world, finite = regulator(), regulator(horizon=steps)
    agent, model = world.agent(), linear_quadratic_model(world)
    estimator = ValueGradient(model, steps, critic=False)
    act = agent.action(STATES).detach()
    v = estimator.draw(agent, STATES)[0]
    torch.testing.assert_close(v, finite.action_gradient(STATES, act), rtol=1e-10, atol=1e-10)
    assert estimator.objective(agent).horizon == steps
    assert ValueGradient(model, steps).objective(agent).horizon is None


def test_the_truncation_bias_falls_with_the_closed_loop():
    """The rest after n steps is 2γⁿBᵀ(Lᵀ)ⁿ⁻¹PLⁿs: never zero, and less than C(γρ²)ⁿ."""
    world = regulator()
    agent, model = world.agent(), linear_quadratic_model(world)
    truth = world.action_gradient(STATES, agent.action(STATES).detach())
    L, P0, power = world.L, world.cost_to_go(), torch.linalg.matrix_power
    for steps in (1, 3, 6, 10):
        v = ValueGradient(model, steps, critic=False).draw(agent, STATES)[0]
        rest = 2 * world.gamma**steps * STATES @ power(L, steps).T @ P0 @ power(L, steps - 1) @ world.B
        torch.testing.assert_close(v - truth, rest, rtol=1e-9, atol=1e-12)
        assert (v - truth).abs().max() > 1e-4


def test_partial_derivatives_of_states_would_be_wrong():
    """The chain rule with ∂Q/∂s at a fixed later action, as it is often printed, against the total one."""
    world = regulator()
    agent = world.agent()
    act = agent.action(STATES).detach().requires_grad_()
    following = STATES @ world.A.T + act @ world.B.T
    later = agent.action(following).detach()
    value = linear_quadratic_model(world).reward(STATES, act) + world.gamma * agent.q(following, later)
    (partial,) = torch.autograd.grad(value.sum(), act)
    truth = world.action_gradient(STATES, act.detach())
    exact = ValueGradient(linear_quadratic_model(world), 1).draw(agent, STATES)[0]
    assert ((partial - truth).norm() / truth.norm()) > 0.05
    assert ((exact - truth).norm() / truth.norm()) < 1e-10


def head_truth(world, agent):
    """∇_h E[Q] of the Gaussian policy: ∂Q/∂a at the mean (Q is quadratic), and σ²H_aa for log σ."""
    act = agent.action(STATES).detach()
    spread = world.policy_std.square() * world.hessians(STATES, act).action.diagonal(dim1=1, dim2=2)
    return torch.cat([world.action_gradient(STATES, act), spread], -1)


@pytest.mark.parametrize("steps", [0, 1, 3, 8])
def test_with_noise_every_number_of_steps_is_unbiased(steps):
    world = regulator(noise=0.04, policy_std=0.3)
    agent = world.agent()
    draws = ValueGradient(linear_quadratic_model(world), steps).draw(
        agent, STATES, 4000, torch.Generator().manual_seed(steps)
    )
    z = (draws.mean(0) - head_truth(world, agent)) / (draws.std(0) / math.sqrt(4000))
    assert z.abs().max() <= 4
    # The control: the gradient at another gain is told apart.
    wrong = (draws.mean(0) - 1.1 * head_truth(world, agent)) / (draws.std(0) / math.sqrt(4000))
    assert wrong.abs().max() > 4


# Recorded transitions and their noise ----------------------------------------------------------------------------


def record(agent, lengths, seed=5, behaviour=None):
    """Episodes through MODEL; every other one terminates. ``behaviour(head, noise)`` acts instead of the policy."""
    generator = torch.Generator().manual_seed(seed)
    rows, index, ends, eps, xis = [], [], [], [], []
    for episode, length in enumerate(lengths):
        state = torch.randn(N, generator=generator, dtype=torch.float64)
        for t in range(length):
            noise = torch.randn(P, generator=generator, dtype=torch.float64)
            xi = torch.randn(N, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                head = agent.head(state[None])
                if behaviour is not None:
                    act = behaviour(head, noise[None])[0]
                elif agent.policy.stochastic:
                    act = agent.policy.sample(head, noise[None])[0][0]
                else:
                    act = agent.policy.mode(head)[0] + 0.1 * noise
                following = mean(state, act) + std(state, act) * xi
            rows.append((state, act, reward(state, act), following))
            index.append(episode)
            ends.append(t == length - 1 and episode % 2 == 0)
            eps.append(noise)
            xis.append(xi)
            state = following
    obs, act, rewards, after = (torch.stack(x) for x in zip(*rows, strict=True))
    runs = Trajectories(obs, act, rewards, after, torch.tensor(ends), torch.tensor(index), GAMMA)
    return runs, torch.stack(eps), torch.stack(xis)


@pytest.mark.parametrize("policy", [*POLICIES.values(), Around(0.3)], ids=[*POLICIES, "around"])
def test_noise_is_inferred(policy):
    agent = make(policy)
    runs, eps, xi = record(agent, (4, 3))
    expected = eps if policy.stochastic else 0.1 * eps
    torch.testing.assert_close(infer_action_noise(agent, runs.obs, runs.act), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(MODEL.infer_noise(runs.obs, runs.act, runs.next_obs), xi, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("steps", [0, 1, 2, 6])
def test_windows_along_what_was_recorded(policy, steps):
    """Central differences of the recorded path itself: its noise kept, its window cut where the episode ends."""
    agent = make(policy, entropy=0.2)
    runs, eps, xi = record(agent, (5, 4))
    v = ValueGradient(MODEL, steps).along(agent, runs, generator=torch.Generator().manual_seed(0))
    offsets = torch.zeros_like(eps) if policy.stochastic else 0.1 * eps
    checked = 0
    for row in range(9):
        end = 5 if row < 5 else 9
        window = min(steps, end - row)
        stop = row + window
        if stop == end and end == 9:
            continue  # Cut off: the last action's noise is fresh.
        checked += 1

        def value(head, row=row, stop=stop, end=end):
            state, total = runs.obs[row], 0.0
            with torch.no_grad():
                for j in range(row, stop + 1):
                    if j == end:
                        return total  # Terminated: nothing follows.
                    at = head if j == row else agent.head(state[None])[0]
                    if policy.stochastic:
                        act, log_prob = policy.sample(at[None], eps[j][None])
                        act, bonus = act[0], -0.2 * log_prob.item()
                    else:
                        act, bonus = policy.mode(at) + offsets[j], 0.0
                    if j == stop:
                        return total + GAMMA ** (j - row) * (agent.q(state[None], act[None]).item() + bonus)
                    total += GAMMA ** (j - row) * (reward(state, act).item() + bonus)
                    state = mean(state, act) + std(state, act) * xi[j]
            return total

        truth = differences(value, agent.head(runs.obs[row : row + 1])[0].detach())
        torch.testing.assert_close(v[row], truth, rtol=1e-5, atol=1e-7)
    assert checked >= 5


@pytest.mark.parametrize("steps", [0, 1])
def test_weights_make_another_policys_actions_unbiased(steps):
    """Transitions of a shifted, wider behaviour: weighted by π/μ the mean is ∇_h F; without weights it is not."""
    world = regulator(noise=0.04, policy_std=0.3)
    agent, model = world.agent(), linear_quadratic_model(world)
    count, generator = 60_000, torch.Generator().manual_seed(6)
    obs = STATES[:1].expand(count, -1)
    shift, width = 0.15, 0.4
    eps = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    centre = agent.action(obs).detach() + shift
    act = centre + width * eps
    log_mu = torch.distributions.Normal(centre, width).log_prob(act).sum(-1)
    xi = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    after = model.next_obs(obs, act, xi)
    no = torch.zeros(count, dtype=torch.bool)
    runs = Trajectories(obs, act, model.reward(obs, act), after, no, torch.arange(count), world.gamma)
    truth = head_truth(world, agent)[0]
    estimator = ValueGradient(model, steps)
    weighted = estimator.along(agent, runs, log_behaviour=log_mu, generator=generator)
    plain = estimator.along(agent, runs, generator=generator)
    z, biased = (((v.mean(0) - truth) / (v.std(0) / math.sqrt(count))).abs().max() for v in (weighted, plain))
    assert z <= 4
    assert biased > 10


def test_recorded_noise_of_the_same_policy_is_taken():
    """On the face of the box the noise cannot be inferred; recorded, it need not be."""
    agent = make(SquashedGaussian())
    runs, _, _ = record(agent, (3,))
    act = torch.ones_like(runs.act)
    edge = Trajectories(runs.obs, act, runs.reward, mean(runs.obs, act), runs.terminated, runs.trajectory, GAMMA)
    with pytest.raises(GradlabError, match="3 of 3 actions lie on a face"):
        ValueGradient(MODEL, 1).along(agent, edge)
    with torch.no_grad():
        centre, log_std = agent.head(runs.obs).chunk(2, -1)
    known = dataclasses.replace(edge, noise=(25 - centre) / log_std.exp())
    v = ValueGradient(MODEL, 1).along(agent, known, generator=torch.Generator().manual_seed(0))
    # A saturated action moves with nothing.
    assert v.abs().max() < 1e-8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ValueGradient(MODEL, -1), "-1 steps"),
        (lambda: ValueGradient(MODEL, 0, critic=False), "at least 1 without a critic"),
        (lambda: ValueGradient(MODEL, 1).draw(make(Softmax()), torch.zeros(1, N)), "needs continuous actions"),
        (lambda: infer_action_noise(make(Softmax()), torch.zeros(1, N).double(), torch.zeros(1, P)), "gives no noise"),
    ],
)
def test_wrong_input_is_refused_in_one_line(call, message):
    with pytest.raises(GradlabError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_names_and_objectives(obs):
    agent = make(Gaussian(), entropy=0.3)
    named = [ValueGradient(MODEL, 3), ValueGradient(MODEL, 3, critic=False, entropy=False)]
    assert [str(e) for e in named] == ["value-gradient-3", "value-gradient-3-without-critic-without-entropy"]
    assert [e.objective(agent).entropy for e in named] == [0.3, 0.0]
    assert ValueGradient(MODEL, 1).objective(make(Deterministic(), entropy=0.3)).entropy == 0
