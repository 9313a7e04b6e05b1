"""Gaussian models against scipy and by going there and back."""

import pytest
import torch
from scipy.stats import multivariate_normal

from gradlab.errors import GradlabError
from gradlab.estimators.model_based import GaussianModel
from gradlab.worlds import LinearQuadratic
from gradlab.worlds.models import linear_quadratic_model

N, P, B = 3, 2, 6
LOWER = torch.tensor([[0.5, 0.0, 0.0], [0.2, 0.3, 0.0], [-0.1, 0.4, 0.7]]).double()
STDS = {
    "number": 0.4,
    "diagonal": torch.tensor([0.1, 0.5, 2.0]).double(),
    "matrix": LOWER,
    "function": lambda obs, act: 0.1 + obs.square() + act.sum(-1, keepdim=True).square(),
}


def mean(obs, act):
    return (obs + act.sum(-1, keepdim=True)).tanh()


def reward(obs, act):
    return -obs.square().sum(-1)


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(B, k, generator=generator, dtype=torch.float64) for k in (N, P, N))


def covariance(kind, obs, act):
    std = STDS[kind]
    if callable(std):
        return torch.diag(std(obs, act).square())
    return LOWER @ LOWER.T if kind == "matrix" else torch.diag(torch.as_tensor(std).expand(N).double().square())


@pytest.mark.parametrize("kind", STDS)
def test_density_noise_and_back(kind):
    obs, act, noise = rows()
    model = GaussianModel(mean, reward, STDS[kind])
    following = model.next_obs(obs, act, noise)
    torch.testing.assert_close(model.infer_noise(obs, act, following), noise, rtol=1e-10, atol=1e-10)
    for i in range(B):
        centre, spread = mean(obs[i], act[i]), covariance(kind, obs[i], act[i])
        truth = multivariate_normal(centre.numpy(), spread.numpy()).logpdf(following[i].numpy())
        assert model.log_prob(following, obs, act)[i].item() == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("kind", STDS)
def test_samples_have_that_covariance(kind):
    obs, act, _ = (x[:1].expand(40_000, -1) for x in rows(1))
    model = GaussianModel(mean, reward, STDS[kind])
    noise = model.noise((40_000, N), torch.Generator().manual_seed(2), obs)
    error = model.next_obs(obs, act, noise) - mean(obs, act)
    products = error[:, :, None] * error[:, None, :]
    z = (products.mean(0) - covariance(kind, obs[0], act[0])) / (products.std(0) / 200)
    assert z.abs().max() <= 4


@pytest.mark.parametrize("kind", STDS)
def test_gradients_of_the_density(kind):
    obs, act, noise = rows(3)
    model = GaussianModel(mean, reward, STDS[kind])
    following = model.next_obs(obs, act, noise)
    at = act.clone().requires_grad_()
    (found,) = torch.autograd.grad(model.log_prob(following, obs, at).sum(), at)
    for k in range(P):
        shift = torch.zeros(P).double()
        shift[k] = 1e-6
        ends = [model.log_prob(following, obs, act + sign * shift) for sign in (1, -1)]
        torch.testing.assert_close(found[:, k], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-6)


def test_directions_without_noise():
    obs, act, noise = rows(4)
    model = GaussianModel(mean, reward, torch.tensor([0.5, 0.0, 0.0]))
    following = model.next_obs(obs, act, noise)
    expected = noise * torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(model.infer_noise(obs, act, following), expected)
    with pytest.raises(GradlabError, match=r"no noise gives 6 of 6 transitions, first at 0, off by 0\.1"):
        model.infer_noise(obs, act, following + torch.tensor([0.0, 0.1, 0.0]).double())
    for std in (torch.tensor([0.5, 0.0, 0.0]), torch.zeros(3, 3), lambda obs, act: 0 * obs):
        with pytest.raises(GradlabError, match="no density"):
            GaussianModel(mean, reward, std).log_prob(following, obs, act)


@pytest.mark.parametrize("std", [-1.0, torch.tensor([1.0, torch.nan]), torch.ones(2, 3), torch.ones(2, 2, 2)])
def test_wrong_standard_deviations_are_refused(std):
    with pytest.raises(GradlabError, match="model: std"):
        GaussianModel(mean, reward, std)


def test_the_regulators_model_has_its_noise_and_its_costs():
    W = LOWER @ LOWER.T
    W[:, 0] = W[0, :] = 0
    world = LinearQuadratic(
        A=0.5 * torch.eye(3), B=torch.ones(3, 1), Q=torch.eye(3), R=[[0.3]], gamma=0.9, K=[[0.1, 0.0, 0.2]], noise=W
    )
    model = linear_quadratic_model(world)
    obs, act = torch.randn(2, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64), torch.ones(2, 1)
    eye = torch.eye(3).double()
    root = torch.stack([model.next_obs(obs, act.double(), e.expand(2, -1))[0] for e in eye], 1)
    root = root - model.next_obs(obs, act.double(), torch.zeros(2, 3).double())[0][:, None]
    torch.testing.assert_close(root @ root.T, W)
    torch.testing.assert_close(model.reward(obs, act.double()), -(obs.square().sum(-1) + 0.3))
    # One step of the model and the cost-to-go is the world's own Q.
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    at, do = obs[:1].expand(20_000, -1), act[:1].double().expand(20_000, -1)
    values = model.reward(at, do) + 0.9 * world.state_value(model.next_obs(at, do, noise))
    assert abs(values.mean() - world.q(obs[0], act[0].double())) <= 4 * values.std() / 20_000**0.5
