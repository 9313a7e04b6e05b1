"""A ball thrown over a wall: a smooth reward with a jump where the ball just clears it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Naive, Reparameterized
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, World
from gradlab.worlds.gaussian_actor import GaussianActor, gaussian_agent
from gradlab.worlds.inputs import check_finite, no_mixed, vectors
from gradlab.worlds.score_moments import ScoreMoments, admitted_scores, half_and_half

#: Beyond so many standard deviations nothing is counted: 1e-32 of the mass is left out.
_REACH = 12.0
#: Gauss–Legendre nodes on each piece, none of which is longer than a standard deviation or a radian.
_NODES = 40

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class BallOverWall(World):
    """Q(a) = how far a ball flies that is thrown at angle a with speed v, a wall of height h standing at distance d.

    Without the wall the ball lands at (v²/g) sin 2a. It passes the wall's place at height
    y(a) = d tan a − g d²/(2 v² cos² a); where 0 ≤ y < h it hits and drops, Q = d. Q is continuous where the ball just
    reaches the foot of the wall and jumps where it just clears the top, at the two angles
    tan a = (v² ± √(v⁴ − 2 v² g h − g² d²)) / (g d). Thrown into the ground (sin a < 0) it flies nowhere.

    Under a ~ N(θ, σ²) the gradient is E[Q'(a)], which is what reparameterised draws average, *plus* the flux
    Σ (jump) φ((a_k − θ)/σ)/σ through the jumps, which they miss: more draws do not help. Integrals are by
    Gauss–Legendre quadrature on pieces between the kinks and jumps; the flux is in closed form.
    Source: Suh et al. 2022, "Do differentiable simulators give better policy gradients?", section 3.

    Args:
        angle: θ, in radians; π/4 flies farthest.
        std: σ, in radians.
        speed: v.
        distance: d, within reach of the ball.
        height: h.
        gravity: g.
        learn_std: whether σ is a parameter.

    Raises:
        GradlabError: a length is not positive, or no angle clears the wall.

    Example:
        >>> world = BallOverWall()
        >>> truth, pathwise = world.true_gradient().item(), world.reparameterized()[0].item()
        >>> truth > 0, pathwise < truth / 2
        (True, True)
    """

    name = "ball-over-wall"

    def __init__(
        self,
        angle: float = 0.6,
        std: float = 0.1,
        speed: float = 10.0,
        distance: float = 5.0,
        height: float = 2.0,
        gravity: float = 9.81,
        *,
        learn_std: bool = False,
    ) -> None:
        check_finite(
            "ball over wall", angle=angle, std=std, speed=speed, distance=distance, height=height, gravity=gravity
        )
        if not min(std, speed, distance, height, gravity) > 0:
            raise GradlabError("ball over wall: std, speed, distance, height and gravity must be positive")
        self.angle, self.std, self.learn_std = float(angle), float(std), learn_std
        self.speed, self.distance = float(speed), float(distance)
        self.height, self.gravity = float(height), float(gravity)
        root = speed**4 - 2 * speed**2 * gravity * height - (gravity * distance) ** 2
        if not root > 0:
            raise GradlabError("ball over wall: no angle clears the wall; throw faster, or make it lower or nearer")
        #: The two angles at which the ball just clears the wall; between them it does.
        self.clearing = tuple(math.atan((speed**2 + sign * math.sqrt(root)) / (gravity * distance)) for sign in (-1, 1))

    # What the ball does --------------------------------------------------------------------------------------

    def q(self, act: Tensor) -> Tensor:
        """Q(a): [..., 1] → [...]."""
        angle = act.squeeze(-1)
        flight = self.speed**2 / self.gravity * (2 * angle).sin()
        # Angles count modulo 2π, whichever way they are written.
        turned = torch.remainder(angle, 2 * math.pi)
        stopped = (flight > self.distance) & ((turned < self.clearing[0]) | (turned > self.clearing[1]))
        landed = torch.where(stopped, torch.full_like(flight, self.distance), flight)
        return torch.where(turned < math.pi, landed, torch.zeros_like(flight))

    def action_gradient(self, obs: Any, act: Any) -> Tensor:
        """Q' almost everywhere, without the jumps: 2 (v²/g) cos 2a where the ball flies free, else 0; [B, 1]."""
        angle = vectors(self.name, "act", act, 1)
        return self._free(angle) * 2 * self.speed**2 / self.gravity * (2 * angle).cos()

    def hessians(self, obs: Any, act: Any) -> Hessians:
        """Q'' almost everywhere, −4 (v²/g) sin 2a where the ball flies free, and zero for the state."""
        angle = vectors(self.name, "act", act, 1)
        curvature = -self._free(angle) * 4 * self.speed**2 / self.gravity * (2 * angle).sin()
        return Hessians(curvature.unsqueeze(-1), no_mixed(obs, angle))

    def _free(self, act: Tensor) -> Tensor:
        """1 where neither wall nor ground stops the ball, [B, 1]."""
        turned = torch.remainder(act, 2 * math.pi)
        far = (2 * act).sin() * self.speed**2 / self.gravity > self.distance
        stopped = far & ((turned < self.clearing[0]) | (turned > self.clearing[1]))
        return (~stopped & (turned < math.pi)).to(act)

    def _q(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.q(torch.from_numpy(angle).unsqueeze(-1)).numpy()

    def _slope(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        at = torch.from_numpy(angle).unsqueeze(-1)
        return self.action_gradient(at, at).squeeze(-1).numpy()

    # By integration ------------------------------------------------------------------------------------------

    def jumps(self) -> list[tuple[float, float]]:
        """(angle, Q just above less Q just below) of every jump within reach of the policy."""
        ranges = [self.speed**2 / self.gravity * math.sin(2 * a) for a in self.clearing]
        heights = (ranges[0] - self.distance, self.distance - ranges[1])
        return [
            (angle + turn, jump)
            for turn in self._turns()
            for angle, jump in zip(self.clearing, heights, strict=True)
            if abs(angle + turn - self.angle) < _REACH * self.std
        ]

    def _turns(self) -> list[float]:
        most = math.ceil((abs(self.angle) + _REACH * self.std) / (2 * math.pi)) + 1
        return [2 * math.pi * turn for turn in range(-most, most + 1)]

    def _pieces(self) -> NDArray[np.float64]:
        """Ends of the intervals on which Q is analytic, none of them long."""
        foot = math.asin(self.distance * self.gravity / self.speed**2) / 2
        special = (0.0, math.pi, foot, math.pi / 2 - foot, *self.clearing)
        low, high = self.angle - _REACH * self.std, self.angle + _REACH * self.std
        kinks = [angle + turn for turn in self._turns() for angle in special if low < angle + turn < high]
        steps = max(2, math.ceil((high - low) / min(self.std, 1.0)) + 1)
        return np.unique([*kinks, *np.linspace(low, high, steps)])

    def mean(self, function: Function) -> float:
        """E[function(a)] under the policy, for a function that is analytic wherever Q is."""
        at, weights = np.polynomial.legendre.leggauss(_NODES)
        ends = self._pieces()
        half = np.diff(ends)[:, None] / 2
        angles = ends[:-1, None] + half * (1 + at)
        density = np.exp(-(((angles - self.angle) / self.std) ** 2) / 2) / (self.std * math.sqrt(2 * math.pi))
        values = function(angles.reshape(-1)).reshape(angles.shape)
        return math.fsum((half * weights * density * values).reshape(-1))

    def value(self) -> float:
        """J = E[Q(a)]."""
        return self.mean(self._q)

    def flux(self) -> Tensor:
        """What the jumps add to the gradient: Σ jump · φ((a_k − θ)/σ)/σ, and times (a_k − θ)/σ for σ; [1] or [2]."""
        total = torch.zeros(2, dtype=torch.float64)
        for angle, jump in self.jumps():
            y = (angle - self.angle) / self.std
            density = math.exp(-(y**2) / 2) / (self.std * math.sqrt(2 * math.pi))
            total += jump * density * torch.tensor([1.0, y], dtype=torch.float64)
        return total[: 1 + self.learn_std]

    def true_gradient(self) -> Tensor:
        """∂J/∂θ and, where learnt, ∂J/∂σ: pathwise mean plus flux, [1] or [2]."""
        return self.reparameterized()[0] + self.flux()

    def reparameterized(self) -> GradientMoments:
        """Mean and variance of Q'(a), and of Q'(a) ε for σ; the bias is minus the flux."""
        parts: list[Function] = [self._slope]
        if self.learn_std:
            parts.append(lambda a: self._slope(a) * self._noise(a))
        means = [self.mean(part) for part in parts]
        pairs = zip(parts, means, strict=True)
        variance = math.fsum(self.mean(_product(part, m, 2, part, m, 0)) for part, m in pairs)
        return GradientMoments(torch.tensor(means, dtype=torch.float64), variance)

    def _noise(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        return (angle - self.angle) / self.std

    def score_moments(self) -> ScoreMoments:
        """What ``ScoreFunction`` has here; scores ε/σ and, where learnt, (ε² − 1)/σ."""
        value = self.value()
        scores: list[Function] = [lambda a: self._noise(a) / self.std]
        if self.learn_std:
            scores.append(lambda a: (self._noise(a) ** 2 - 1) / self.std)

        def about(score_power: int, reward_power: int) -> Tensor:
            numbers = [self.mean(_product(s, 0.0, score_power, self._q, value, reward_power)) for s in scores]
            return torch.tensor(numbers, dtype=torch.float64)

        return ScoreMoments(
            value=value,
            spread=self.mean(_product(self._q, value, 2, self._q, value, 0)),
            gradient=about(1, 1),
            score=about(2, 0),
            weighted=about(2, 1),
            weighted_square=about(2, 2),
        )

    # As an agent ---------------------------------------------------------------------------------------------

    def agent(self) -> Agent:
        """A Gaussian policy over the angle, with the flight as its critic."""
        angle, std = (torch.tensor([number], dtype=torch.float64) for number in (self.angle, self.std))
        return gaussian_agent(GaussianActor(angle, std, learn_std=self.learn_std), _Critic(self), self.name)

    def admitted(self) -> tuple[Admitted, ...]:
        """Pathwise ones, biased by minus the flux, and score functions."""
        truth, moments = self.true_gradient(), self.score_moments()
        at = torch.tensor([[self.angle]], dtype=torch.float64)
        slope = torch.zeros_like(truth)
        slope[:1] = self.action_gradient(at, at)[0]
        pathwise = Admitted(Reparameterized(), *self.reparameterized(), truth)
        scores = admitted_scores(moments, truth, float(self.q(at)[0]))
        return (
            Admitted(Deterministic(), slope, 0.0, truth),
            pathwise,
            Admitted(Naive(), torch.zeros_like(truth), 0.0, truth),
            *scores,
            half_and_half(pathwise, scores[1]),
        )


def _product(f: Function, f0: float, m: int, g: Function, g0: float, n: int) -> Function:
    """(f − f₀)^m (g − g₀)^n."""
    return lambda angle: (f(angle) - f0) ** m * (g(angle) - g0) ** n


class _Critic(nn.Module):
    def __init__(self, world: BallOverWall) -> None:
        super().__init__()
        self.world = world

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.world.q(act)
