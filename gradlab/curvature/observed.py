"""How smooth a policy's actions were seen to be along episodes: change by step, and spectra."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_number, real_tensor
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.state_means import episode_numbers, state_mean

#: Shortest episode that has a spectrum: its lower and its upper half then have two frequencies each.
_SHORTEST = 8


@dataclass(frozen=True)
class ObservedSmoothness:
    """What was seen of a policy's smoothness, float64; NaN where there is none.

    Attributes:
        change: ‖a_{t+1} − a_t‖₂ of each step, [N]; NaN at the last step of an episode.
        rate: ‖a_{t+1} − a_t‖₂/‖s_{t+1} − s_t‖₂, in the observations' own units, [N]; NaN where the state stood still.
        standardised_rate: the same with each feature divided by its standard deviation over all steps, [N], so that
            features of large numbers do not decide it; features that never vary take no part.
        episode: which episode each step belongs to, [N].
        smoothness: Sm = 2/(n f_s) Σ_i M_i f_i of each episode, the mean over action coordinates, [R]; less is smoother.
        high_frequency_share: share of the spectral power of an episode's actions at frequencies above ``above``, [R];
            NaN where the action never changes.
        lengths: steps of each episode, [R].
        above: that frequency, in hertz.
        time_step: seconds from one step to the next.
    """

    change: Tensor
    rate: Tensor
    standardised_rate: Tensor
    episode: Tensor
    smoothness: Tensor
    high_frequency_share: Tensor
    lengths: Tensor
    above: float
    time_step: float

    def means(self) -> dict[str, Estimate]:
        """Means of all five, with episodes as the independent samples: steps are weighted alike, spectra by episode."""
        steps = {"change": self.change, "rate": self.rate, "standardised_rate": self.standardised_rate}
        found = {name: state_mean(values, self.episode, least=0.0) for name, values in steps.items()}
        found["smoothness"] = state_mean(self.smoothness, least=0.0)
        found["high_frequency_share"] = state_mean(self.high_frequency_share, least=0.0, most=1.0)
        return found


def observed_smoothness(
    obs: Any, act: Any, episode: Any, *, time_step: float, above: float | None = None
) -> ObservedSmoothness:
    """Change of the actions along episodes, by step and by frequency.

    Sm is the smoothness measure of CAPS (S. Mysore et al. 2021, *Regularizing Action Policies for Smooth Control with
    Reinforcement Learning*, arXiv 2012.06644, section IV): of an episode's T actions, f_i = i/(T·time step) and
    M_i = 2|Σ_t a_t e^{−2πi·it/T}|/T for i = 1 … n = ⌊T/2⌋ (not doubled at T/2), the amplitude of a wave of that
    frequency, and f_s = 1/time step. A wave of amplitude A and frequency f has Sm = 2Af/(n f_s), white noise an Sm that
    falls as 1/√T: compare episodes of one length.

    The share of power at high frequencies is of Hann-windowed actions without their mean, so that a slow drift from
    the episode's beginning to its end does not count as a jump; coordinates' powers are added. White noise has the
    share of frequencies that are high, one half by default.

    Args:
        obs: observations [N, n], the steps of an episode together and in order.
        act: actions taken, [N, p], in the critic's coordinates or any others: the numbers are in their units. For the
            policy's own smoothness let it act without exploration.
        episode: which episode a step belongs to, [N], as ``Trajectories.trajectory``.
        time_step: seconds from one step to the next, such as ``env.unwrapped.dt`` of a MuJoCo task.
        above: frequency, in hertz, above which power is high; half the Nyquist frequency, 1/(4·time step), when None.

    Raises:
        GradlabError: shapes do not fit, an episode's steps are not together, a number is not finite, or ``above`` is
            not between 0 and the Nyquist frequency.

    Example:
        >>> time = torch.arange(100) / 10
        >>> wave = 0.5 * torch.sin(2 * torch.pi * 1.0 * time)[:, None]
        >>> found = observed_smoothness(wave, wave, [0] * 100, time_step=0.1)
        >>> round(found.smoothness.item(), 6), round(found.high_frequency_share.item(), 6), found.rate[0].item()
        (0.002, 0.0, 1.0)
    """
    time_step = real_number("time_step", time_step, above=0.0)
    nyquist = 0.5 / time_step
    above = 0.5 * nyquist if above is None else real_number("above", above, 0.0)
    if above >= nyquist:
        raise GradlabError(f"above: {above:g} Hz; the highest frequency at this time step is {nyquist:g} Hz")
    states, actions, member = _checked(obs, act, episode)
    ends = member.diff() != 0
    change = _to_next(actions.diff(dim=0).norm(dim=-1), ends)
    spread = states.std(0) if len(states) > 1 else torch.zeros_like(states[0])
    varies = spread > 1e-8 * states.abs().amax(0)
    scaled = torch.where(varies, states / torch.where(varies, spread, 1.0), 0.0)

    lengths = torch.unique_consecutive(member, return_counts=True)[1]
    spectra = [_spectrum(part, time_step, above) for part in actions.split(lengths.tolist())]
    smoothness, high = torch.tensor(spectra, dtype=torch.float64).T
    return ObservedSmoothness(
        change,
        change / _moved(states, ends),
        change / _moved(scaled, ends),
        member,
        smoothness,
        high,
        lengths,
        above,
        time_step,
    )


def _checked(obs: Any, act: Any, episode: Any) -> tuple[Tensor, Tensor, Tensor]:
    states, actions = (real_tensor(name, x).detach().cpu().double() for name, x in (("obs", obs), ("act", act)))
    if states.ndim != 2 or actions.ndim != 2 or len(states) != len(actions) or len(states) == 0:
        shapes = f"{tuple(states.shape)} and {tuple(actions.shape)}"
        raise GradlabError(f"obs and act: shapes {shapes}; expected [N, n] and [N, p], not empty")
    for name, part in (("obs", states), ("act", actions)):
        bad = (~torch.isfinite(part)).any(-1).nonzero().flatten()
        if len(bad):
            raise GradlabError(f"{name}: NaN or infinite in {len(bad)} steps, first step {int(bad[0])}; leave them out")
    member = episode_numbers(episode, len(states))
    if member is None:
        raise GradlabError("episode: None; give one number a step, all zero for a single episode")
    if len(torch.unique_consecutive(member)) != len(torch.unique(member)):
        raise GradlabError("episode: the steps of an episode are not together; put them one after the other, in order")
    return states, actions, member


def _to_next(part: Tensor, ends: Tensor) -> Tensor:
    """A number of each step but the last, [N − 1], as one of each step, NaN where an episode ends."""
    return torch.cat([part.masked_fill(ends, math.nan), part.new_full((1,), math.nan)])


def _moved(states: Tensor, ends: Tensor) -> Tensor:
    distance = _to_next(states.diff(dim=0).norm(dim=-1), ends)
    return torch.where(distance > 0, distance, torch.nan)


def _spectrum(actions: Tensor, time_step: float, above: float) -> tuple[float, float]:
    """Sm and the share of high-frequency power of one episode's actions, [T, p]."""
    steps = len(actions)
    if steps < _SHORTEST:
        return math.nan, math.nan
    centred = actions - actions.mean(0)
    frequency = torch.fft.rfftfreq(steps, time_step, dtype=torch.float64)[1:, None]
    # Both halves of the spectrum are counted, but for the frequency that has no other half.
    double = torch.full_like(frequency, 2.0)
    if steps % 2 == 0:
        double[-1] = 1.0
    amplitude = double * torch.fft.rfft(centred, dim=0)[1:].abs() / steps
    smoothness = 2 * time_step * (amplitude * frequency).mean()
    window = torch.hann_window(steps, periodic=True, dtype=torch.float64)[:, None]
    power = double * torch.fft.rfft(centred * window, dim=0)[1:].abs().square()
    total = float(power.sum())
    # What rounding leaves of a constant action has a spectrum of its own.
    still = float(centred.abs().max()) <= 1e-12 * float(actions.abs().max())
    share = math.nan if still or not total > 0 else float((power * (frequency > above)).sum()) / total
    return float(smoothness), share
