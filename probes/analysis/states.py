"""Where the states of an analysis come from: episodes of the checkpoint's own policy, its replay buffer, or a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.adapters.stable_baselines3_replay import SavedReplay
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from probes.callbacks.visited import Visited
from probes.checkpoints.content import digest_of
from probes.offline import visited_observations
from probes.probe import Probe
from probes.source import Source
from probes.task import task_simulator

#: Names under which an archive of arrays may have observations.
_NAMES = ("obs", "observations", "states")


@dataclass(frozen=True)
class Choice:
    """Whose states are asked for: the agent's, of its task, or those of its replay buffer; by which seed and probe.

    ``key`` tells the agent from any other.
    """

    key: str
    agent: Agent
    environment: str
    seed: int
    replay: Path | None
    probe: Probe


class States(ABC):
    """One origin of states."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells it from another, apart from the checkpoint and its buffer."""

    @abstractmethod
    def of(self, choice: Choice) -> tuple[Source, Any]:
        """What a probe is given from: a run as ``probes.giving`` sees one, and observations brought to it or None.

        Raises:
            GradlabError: there are none, or they do not fit.
        """

    def where(self, choice: Choice) -> str:
        """What a message calls it."""
        return "states"


@dataclass(frozen=True)
class Visits(States):
    """States of fresh episodes of the checkpoint's policy."""

    @property
    def identity(self) -> str:
        """Nothing else."""
        return "rollout"

    def of(self, choice: Choice) -> tuple[Source, Any]:
        """As many as the probe is offered; none for one that finds its own: a replay is something else."""
        obs = None
        if choice.probe.needs_observations:
            obs = _visited(choice)
        return Source(view=lambda: choice.agent), obs


@dataclass(frozen=True)
class Replays(States):
    """Steps of the replay buffer that was saved with the checkpoint, chosen as a live run chooses them."""

    @property
    def identity(self) -> str:
        """The buffer's own digest is beside it."""
        return "buffer"

    def of(self, choice: Choice) -> tuple[Source, Any]:
        """As probes attached to the run would be given, but for the run's latest steps, which no file has."""
        if choice.replay is None:
            raise GradlabError("there is no replay buffer of its step beside it; analyse it with states='rollout'")
        saved = _replay(choice.replay)
        size = choice.agent.obs_size
        if size is not None and saved.obs_size != size:
            raise GradlabError(
                f"replay buffer {choice.replay.name}: observations have {saved.obs_size} numbers, and the "
                f"checkpoint's networks take {size}; give the buffer of this run"
            )
        return Source(view=lambda: choice.agent, sample=saved.observations, experience=Visited(saved)), None

    def where(self, choice: Choice) -> str:
        """The file."""
        return f"replay buffer {choice.replay.name if choice.replay else ''}"


@dataclass(frozen=True)
class Given(States):
    """Observations out of a file, the same for every checkpoint.

    Attributes:
        path: ``.npy``, ``.npz``, ``.pt`` or a replay buffer ``.pkl``.
        content: digest of its bytes.
    """

    path: Path
    content: str

    @property
    def identity(self) -> str:
        """The file's content, whatever it is called."""
        return self.content

    def of(self, choice: Choice) -> tuple[Source, Any]:
        """The first of them, as many as the probe is offered."""
        found = _observations(self.path, self.content)
        size = choice.agent.obs_size
        if size is not None and found.shape[1] != size:
            raise GradlabError(
                f"states {self.path}: have {found.shape[1]} numbers each, and the checkpoint's networks take {size}"
            )
        if choice.probe.needs_observations and len(found) < choice.probe.states:
            raise GradlabError(
                f"states {self.path}: there are {len(found)}, and the probe measures at {choice.probe.states}"
            )
        return Source(view=lambda: choice.agent), torch.from_numpy(found.copy())


def states_from(what: str | Path) -> States:
    """The origin that ``--states`` names.

    Raises:
        GradlabError: it is a file without observations.

    Example:
        >>> states_from("rollout").identity
        'rollout'
    """
    if what == "rollout":
        return Visits()
    if what == "buffer":
        return Replays()
    path = Path(what).expanduser().resolve()
    if not path.is_file():
        raise GradlabError(f"states {what}: no such file; give rollout, buffer, or a file of observations [B, n]")
    content = digest_of(path)
    _observations(path, content)
    return Given(path, content)


#: States of the last visits, which probes that are offered as many share, and all tasks of one that keeps to them.
_visits: OrderedDict[tuple[str, str, int, int], Tensor] = OrderedDict()
_KEPT = 8


def _visited(choice: Choice) -> Tensor:
    key = (choice.key, choice.environment, choice.seed, choice.probe.offered)
    found = _visits.pop(key, None)
    if found is None:
        simulator = task_simulator(choice.environment)
        found = visited_observations(choice.agent, [choice.probe], simulator, choice.seed)
    _visits[key] = found
    while len(_visits) > _KEPT:
        _visits.popitem(last=False)
    return found.clone()


@lru_cache(maxsize=2)
def _replay(path: Path) -> SavedReplay:
    return SavedReplay(path)


@lru_cache(maxsize=2)
def _observations(path: Path, content: str) -> NDArray[Any]:  # noqa: ARG001 - it is for the cache
    """Observations [B, n] as floats, of a file of this content."""
    where = f"states {path}"
    try:
        found = _array(path, where)
    except GradlabError:
        raise
    except Exception as error:
        raise GradlabError(f"{where}: cannot be read; give an array of observations [B, n]") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not len(found):
        raise GradlabError(f"{where}: is {found.dtype} of shape {found.shape}; give observations [B, n]")
    found = found.astype(np.float32) if found.dtype != np.float64 else found
    if not np.isfinite(found).all():
        raise GradlabError(f"{where}: has numbers that are not finite; leave those states out")
    return found


def _array(path: Path, where: str) -> NDArray[Any]:
    if path.suffix == ".pkl":
        stored = SavedReplay(path)
        held = stored.replay_buffer.observations[: None if stored.replay_buffer.full else stored.replay_buffer.pos]
        return np.asarray(held.reshape(-1, held.shape[-1]))
    if path.suffix in (".pt", ".pth"):
        tensor = torch.load(path, map_location="cpu", weights_only=True)
        return np.asarray(tensor)
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        names = [name for name in _NAMES if name in loaded] or list(loaded)
        if len(names) != 1 and names[0] not in _NAMES:
            raise GradlabError(f"{where}: has {len(names)} arrays; call that of observations 'obs'")
        return np.asarray(loaded[names[0]])
