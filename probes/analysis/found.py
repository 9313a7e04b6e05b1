"""Which checkpoints there are under some paths, and what each is."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradlab.adapters.checkpoint import Checkpoint, step_in
from gradlab.errors import GradlabError
from probes.analysis.fitting import fitting
from probes.analysis.settings import BUFFER, Settings
from probes.checkpoints.beside import normalised, replay_of, seed_in_name
from probes.checkpoints.content import ChangedError, GoneError, digest_of
from probes.checkpoints.walking import natural, walk

#: Endings of names of checkpoints, and whole names where the ending says too little.
_ENDINGS = (".zip", ".pt", ".pth", ".ckpt", ".d3", ".cleanrl_model")
_NAMES = ("module_state.pkl",)
#: Of an RLlib checkpoint, the folder in which its parts are.
_INSIDE = "learner_group"
#: Files that a line names.
_NAMED = 4
_NORMALISED = "its run normalised observations, which is not applied here: what is measured is not its policy"


@dataclass(frozen=True)
class Found:
    """A checkpoint that can be measured.

    Attributes:
        path: the file, absolute.
        shown: the file, as a person is told of it.
        content: digest of its bytes.
        library: name of the library.
        algorithm: name of the algorithm.
        environment: gymnasium identifier of the task that it fits.
        step: training step, 0 where nothing says it.
        dated: whether something says it.
        seed: of the training run, None where nothing says it.
        folder: where it is; of an RLlib checkpoint, where its folder is.
        stem: name without ending; of an RLlib checkpoint, its folder's.
        replay: the replay buffer saved with it, None where it is not asked for.
        replay_content: digest of that.
        marks: what a person should know of it.
    """

    path: Path
    shown: str
    content: str
    library: str
    algorithm: str
    environment: str
    step: int
    dated: bool
    seed: int | None
    folder: Path
    stem: str
    replay: Path | None = None
    replay_content: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """What is under some paths.

    Attributes:
        found: checkpoints that can be measured, by name.
        refused: files that cannot, with the reason, one line.
        passed_over: files of other endings, by ending.
    """

    found: tuple[Found, ...]
    refused: dict[str, str]
    passed_over: dict[str, int]

    @property
    def lines(self) -> list[str]:
        """What was refused, a line a reason."""
        return lines(self.refused)


def look(
    paths: Sequence[str | os.PathLike[str]], settings: Settings, doing: Callable[[str], object] = str
) -> Inventory:
    """Read every checkpoint under some paths.

    Args:
        paths: files, of any name; directories, with all below them; or patterns as in a shell.
        settings: what is asked for.
        doing: is told what goes on.
    """
    refused: dict[str, str] = {}
    passed_over: Counter[str] = Counter()
    files = list(dict.fromkeys(_files(paths, refused, passed_over)))
    found: list[Found] = []
    for number, path in enumerate(files):
        doing(f"reading {_shown(path)} ({number + 1} of {len(files)})")
        try:
            found.append(_read(path, settings))
        except GoneError:
            refused[_shown(path)] = "no such file"
        except ChangedError:
            refused[_shown(path)] = "is being written to; analyse it when it is whole"
        except GradlabError as error:
            refused[_shown(path)] = str(error)
    return Inventory(tuple(found), refused, dict(sorted(passed_over.items())))


def _files(
    paths: Sequence[str | os.PathLike[str]], refused: dict[str, str], passed_over: Counter[str]
) -> Iterator[Path]:
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            yield from _under(path.resolve(), refused, passed_over)
        elif path.exists():
            yield path.resolve()
        else:
            matching = sorted(glob.glob(str(path), recursive=True), key=natural) if glob.has_magic(str(path)) else []
            if not matching:
                refused[str(given)] = "matches nothing" if glob.has_magic(str(path)) else "no such file or directory"
            yield from _files(matching, refused, passed_over)


def _under(root: Path, refused: dict[str, str], passed_over: Counter[str]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        refused[_shown(Path(error.filename))] = f"cannot be read ({error.strerror})"

    for path in walk(root, unreadable):
        if not path.is_file():
            continue
        if path.name in _NAMES or path.suffix.lower() in _ENDINGS:
            yield path
        else:
            passed_over[path.suffix or "no ending"] += 1


def _read(path: Path, settings: Settings) -> Found:
    digest = digest_of(path)
    saved, environment = fitting(path, digest, settings)
    folder, stem, step, dated = _standing(saved)
    replay = None
    if settings.states == BUFFER:
        replay = replay_of(path, step)
        if replay is None:
            raise GradlabError(
                "there is no replay buffer of its step beside it (*replay_buffer*.pkl); give states='rollout' or a file"
            )
    marks = []
    if not dated:
        marks.append("nothing says its training step: it is a run of its own, at step 0")
    if normalised(path.parent):
        marks.append(_NORMALISED)
    return Found(
        path,
        _shown(path),
        digest,
        saved.agent.library,
        saved.algorithm,
        environment,
        step,
        dated,
        seed_in_name(path) if saved.seed is None else saved.seed,
        folder,
        stem,
        replay,
        "" if replay is None else digest_of(replay),
        tuple(marks),
    )


def _standing(saved: Checkpoint) -> tuple[Path, str, int, bool]:
    """Folder, name, step and whether that is said: of a file of many in a checkpoint's folder, by that folder."""
    parts = saved.path.parts
    if _INSIDE not in parts:
        return saved.path.parent, saved.path.stem, saved.step, saved.dated
    whole = Path(*parts[: parts.index(_INSIDE)])
    if saved.dated:
        return whole.parent, whole.name, saved.step, True
    said = step_in(whole.name)
    return whole.parent, whole.name, said or 0, said is not None


def _shown(path: Path) -> str:
    """From where the person is, if it is below."""
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)


def lines(refused: Mapping[str, str]) -> list[str]:
    """What was refused, a line a reason.

    Example:
        >>> lines({"a.pt": "cut short", "b.pt": "no task", "c.pt": "no task"})
        ['a.pt: cut short', 'b.pt, c.pt: no task']
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in refused.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{_listed(names)}: {reason}" for reason, names in by_reason.items()]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
