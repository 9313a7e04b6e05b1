"""Closed-loop rollouts of an agent's policy from exact states, in batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, switch, whole_number
from gradlab.errors import GradlabError
from gradlab.simulation import episodes as whole
from gradlab.simulation.acting import FEWEST, episode_steps
from gradlab.simulation.actions import count_actions, taker, to_env
from gradlab.simulation.doors import open_door
from gradlab.simulation.environments import make
from gradlab.simulation.given import check_states
from gradlab.simulation.lanes.base import Actions, Lanes
from gradlab.simulation.origin import environment_digest
from gradlab.simulation.pilot import Pilots, make_pilot, without_critics
from gradlab.simulation.rollouts import Course, Rollouts
from gradlab.simulation.states import States
from gradlab.simulation.visiting import Candidate, Round, assemble, sample
from gradlab.simulation.workers import chunks, cores, spread
from gradlab.trajectories import Trajectories

__all__ = ["Rollouts", "Simulator"]

Result = TypeVar("Result")


class Simulator:
    """One environment of our own, whose exact states can be captured, restored and rolled out in batch.

    gymnasium's MuJoCo tasks and Pendulum are stepped as rows of states, once they have been held against ``env.step``.
    Any other environment is restored by a copy of its engine's data or of its Python attributes, which is slow; where
    that is not all the state it has, by repeating its seed and actions in worker processes, which is slower. An
    environment whose restored state does not repeat the original bit for bit is refused when it is opened; so is one
    whose episodes, side by side, do not go as in environments newly made and run alone.

    gymnasium's wrappers that map observations, rewards or actions (rescaling, clipping, frozen normalisation, a
    transformation by a function of numbers) are applied to all states together; all others (frames that are stacked,
    steps that are counted, wrappers of one's own, which may look into the environment) are stepped as they are, and
    what they hold is part of the state.

    Actions are clipped to the environment's box before they are taken, as the libraries do, and stay float64
    (a library's float32 actions would turn the return into a staircase that cannot be differenced). Discrete
    actions are one-hot vectors [..., B, p], as a softmax policy gives them.

    Args:
        environment: a gymnasium identifier, or a function without arguments that makes an environment.
        lanes: most states stepped together; more take memory, fewer take time.
        threads: threads that step chunks of lanes at the same time, where the environment's lanes can be multiplied;
            by default one for each core this process may use. Results do not depend on it, to the last bit: chunks
            are made from the number of lanes alone, and each evaluates the policy on one torch thread.
        random: declare that steps draw random numbers, of an environment whose first steps may draw none. Otherwise it
            is found out when the environment is opened, and a step that draws later, unannounced, is an error.

    Attributes:
        name: name of the environment.
        obs_size: length n of an observation.
        action_size: number p of action coordinates; of discrete actions, how many there are.
        time_limit: steps after which the environment's own time limit cuts an episode, or None.
        double: whether observations are float64; a rounded one makes the closed-loop return a staircase.
        random: whether a step draws random numbers, so that a state and an action do not decide what follows.
        promise: one sentence, what is promised of its numbers: how they were held against ``env.step``.
        honoured: class names of the wrappers that change what is seen, earned or done, from the innermost outwards;
            wrappers that do not (a recorder, the time limit) are taken out.
        left_out: numbers of the episodes that the latest call of ``episodes`` left out.

    Raises:
        GradlabError: no such environment, something it needs is not installed, a wrapper goes on changing the task, it
            does not have vectors for observations, or its state cannot be restored exactly.

    Example:
        >>> from torch import nn
        >>> from gradlab.agent import Agent
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1])
        >>> simulator = Simulator("Reacher-v5")
        >>> states = simulator.visit(agent, 4, seed=1, episodes=2)
        >>> actions = agent.action(states.obs.float()).detach()
        >>> simulator.returns(agent, states, actions, horizon=10).shape
        torch.Size([4])
    """

    def __init__(
        self,
        environment: str | Callable[[], Any],
        *,
        lanes: int = 256,
        threads: int | None = None,
        random: bool = False,
    ) -> None:
        lanes = whole_number("lanes", lanes, 1, "at least one state is stepped at a time")
        if threads is not None:
            threads = whole_number("threads", threads, 1, "or None for one for each core")
        made = make(environment)
        self.name, self._env, self.time_limit = made.name, made.env, made.time_limit
        self.lanes = lanes
        self.threads = threads or cores()
        if not isinstance(random, bool):
            raise GradlabError(f"random: {random!r} given; True declares that steps draw random numbers, else False")
        self._lanes, self.random = open_door(made, random=random)
        self.promise = self._lanes.promise
        self.honoured = made.stack.names
        self._others: list[Lanes] = []
        self.obs_size = int(self._env.observation_space.shape[0])
        self.action_size = count_actions(self._env.action_space)
        self.double = made.stack.double
        self.left_out: tuple[int, ...] = ()

    @cached_property
    def origin(self) -> str:
        """Digest of this environment, in the states that are visited in it: by it those of others are refused."""
        return environment_digest(self._lanes, self.honoured)

    @property
    def time_step(self) -> float | None:
        """Seconds from one step to the next, where the environment says so (``dt``, as MuJoCo's tasks do)."""
        step = getattr(self._env.unwrapped, "dt", None)
        return float(step) if isinstance(step, (int, float)) and step > 0 else None

    # The agent it is asked about ---------------------------------------------------------------------------

    def pilot(self, agent: Agent) -> Agent:
        """A float64 copy of the agent as it acts: evaluation mode, checked to fit this environment.

        Raises:
            GradlabError: observations, actions or the action box do not fit, or only one of the two is discrete.
        """
        return make_pilot(self.name, self._env, agent)

    def _to_env(self, agent: Agent, act: Tensor) -> Actions:
        return to_env(self._env.action_space, agent, act)

    # Threads -----------------------------------------------------------------------------------------------

    def spread(self, count: int, work: Callable[[Lanes, slice], Result], *, least: int = 16) -> list[Result]:
        """``work(lanes, chunk)`` for chunks of ``count`` things to simulate, in order, in as many threads as there are.

        Each call has lanes of its own to load and step, and one torch thread. Which chunks there are depends on
        ``count``, ``least`` and the simulator's ``lanes`` alone. An error in any call reaches the caller.

        Args:
            count: how many lanes are needed in all.
            work: what to do with lanes and a slice of the ``count``; called from several threads at once.
            least: smallest chunk that pays, where there are enough.
        """
        pieces = chunks(count, least=least, most=self.lanes)
        while len(self._others) < min(self.threads, len(pieces)) - 1:
            another = self._lanes.another()
            if another is None:
                break
            self._others.append(another)
        return spread(work, pieces, [self._lanes, *self._others][: self.threads])

    # Visiting ----------------------------------------------------------------------------------------------

    def visit(
        self,
        agent: Agent,
        count: int,
        *,
        seed: int = 0,
        stochastic: bool = True,
        exploration: float = 0.0,
        episodes: int = 8,
        max_steps: int | None = None,
    ) -> States:
        """States the agent visits on its own, in whole episodes from seeded resets.

        The states are a uniform sample, without replacement, of all steps of these episodes: the undiscounted
        on-policy distribution. For the discounted one weigh them by ``agent.discount ** states.step``.

        Args:
            agent: the agent; a copy in float64 acts.
            count: number B of states.
            seed: of resets, policy noise and the choice of states; the same seed gives the same states.
            stochastic: whether a stochastic policy acts by its draws (on policy) or by its mode.
            exploration: standard deviation of normal noise added to each action, in the critic's coordinates,
                clipped to the box (how DDPG and TD3 explore); not for discrete actions.
            episodes: episodes run side by side; as many again while they have fewer than ``count`` steps.
            max_steps: where an episode is cut if the environment has no sooner time limit; 1000 if neither says.

        Raises:
            GradlabError: the agent does not fit the environment, or a number is out of range.
        """
        count, episodes = whole_number("count", count, 1), whole_number("episodes", episodes, 1)
        seed, stochastic = whole_number("seed", seed, 0), switch("stochastic", stochastic)
        exploration = real_number("exploration", exploration, 0.0)
        steps = episode_steps(self.time_limit, max_steps)
        pilot = self.pilot(without_critics(agent))
        if exploration and not pilot.policy.continuous:
            raise GradlabError("visit: exploration is noise on a continuous action, and these are discrete; leave it 0")
        pilots, take = Pilots(pilot), taker(self._env.action_space, pilot)

        def run(these: Round) -> list[tuple[int, list[Candidate]]]:
            def work(lanes: Lanes, at: slice) -> tuple[int, list[Candidate]]:
                return these.visit(lanes, pilots.mine(), take, at)

            return self.spread(episodes, work, least=FEWEST)

        # Asked for first: it needs lanes that nobody else is using.
        origin = self.origin
        kept = sample(run, count, seed, episodes, stochastic=stochastic, exploration=exploration, steps=steps)
        if not kept:
            raise GradlabError(f"environment {self.name}: every reset gave observations that are not finite")
        return assemble(kept, self.name, origin)

    def episodes(
        self,
        agent: Agent,
        count: int,
        *,
        seed: int = 0,
        stochastic: bool = True,
        max_steps: int | None = None,
    ) -> Trajectories:
        """Whole episodes of the agent from seeded resets, each until it terminates or its time is up.

        Common random numbers: reset and policy noise of episode i depend on ``seed`` and i alone, not on the
        agent's weights nor on ``count``, so that the episodes of two agents can be compared in pairs, and fewer
        episodes are the first of more. (The environment's own random numbers start alike, too, and stay alike while
        it draws equally many.) Of episode i and another seed, or of ``visit``, they are independent.

        An episode whose simulation was not finite is left out; ``left_out`` has the numbers of those, so that pairs
        can be told: the episodes there are keep their order.

        Args:
            agent: the agent; a copy in float64 acts.
            count: number R of episodes.
            seed: of resets and policy noise.
            stochastic: whether a stochastic policy acts by its draws, or by its mode.
            max_steps: where an episode is cut if the environment has no sooner time limit; 1000 if neither says.

        Returns:
            Trajectories in float64 on the CPU, with the agent's discount. Actions are the policy's own, in the
            critic's coordinates and before the environment clips them; ``noise`` is what drew them, None where
            nothing did. An episode cut by its time is not terminated.

        Raises:
            GradlabError: the agent does not fit the environment, a number is out of range, or no episode is finite.

        Example:
            >>> from torch import nn
            >>> actor = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
            >>> agent = Agent(actor, [], action_low=[-2], action_high=[2])
            >>> simulator = Simulator("Pendulum-v1")
            >>> runs = simulator.episodes(agent, 2, seed=1, max_steps=5)
            >>> runs.count, runs.lengths.tolist(), runs.act.dtype, simulator.left_out
            (2, [5, 5], torch.float64, ())
        """
        count, seed = whole_number("count", count, 1), whole_number("seed", seed, 0)
        stochastic = switch("stochastic", stochastic)
        steps = episode_steps(self.time_limit, max_steps)
        pilot = self.pilot(without_critics(agent))
        pilots, take = Pilots(pilot), taker(self._env.action_space, pilot)

        def work(lanes: Lanes, at: slice) -> whole.Recorded:
            return whole.record(lanes, pilots.mine(), take, seed, at, stochastic=stochastic, steps=steps)

        parts = self.spread(count, work, least=FEWEST)
        runs, self.left_out = whole.joined(parts, pilot.discount)
        if runs is None:
            raise GradlabError(
                f"environment {self.name}: none of {count} episodes stayed finite; see the actor's output"
            )
        return runs

    # Rolling out -------------------------------------------------------------------------------------------

    def returns(self, agent: Agent, states: States, first_actions: Tensor, **options: Any) -> Tensor:
        """The discounted returns [..., B] of ``rollouts``, whose options it takes."""
        return self.rollouts(agent, states, first_actions, **options).value

    def rollouts(
        self,
        agent: Agent,
        states: States,
        first_actions: Tensor,
        *,
        horizon: int,
        noise: Tensor | None = None,
        entropy: float = 0.0,
        respect_time_limit: bool = False,
    ) -> Rollouts:
        """Take the given action first, then follow the policy: Σ_{t<H} γ^t r_t − α Σ_{1≤t<H} γ^t log π(a_t|s_t).

        That is Q^π(s, a) over H rewards, γ being the agent's discount (the soft Q of SAC where α is not zero:
        the first action's own log-probability is not part of it). Nothing is earned after a termination. The
        environment's time limit cuts nothing unless asked to: training treats it as truncation, not as an end.

        Args:
            agent: the agent; a copy in float64 acts.
            states: B states to begin from; their snapshots stay as they are.
            first_actions: actions [..., B, p] in the critic's coordinates.
            horizon: number H of rewards.
            noise: the policy's noise ε [..., H, B, p], broadcast against ``first_actions``; entry t is used for
                the action at step t ≥ 1. Needed by a stochastic policy, ignored by a deterministic one.
            entropy: coefficient α.
            respect_time_limit: whether rewards after the time limit, counted from the episode's own start, are lost.

        Raises:
            GradlabError: the agent or the states do not fit the environment, or noise is missing or too short.
        """
        check_states(states, self)
        pilot = self.pilot(without_critics(agent))
        limit = self.time_limit if switch("respect_time_limit", respect_time_limit) else None
        course = Course(pilot, states, first_actions, horizon=horizon, noise=noise, entropy=entropy, limit=limit)
        pilots, take = Pilots(pilot), taker(self._env.action_space, pilot)
        parts = self.spread(course.lanes, lambda lanes, at: course.roll_out(lanes, pilots.mine(), take, at))
        return course.joined(parts)
