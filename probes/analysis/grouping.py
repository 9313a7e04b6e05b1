"""Checkpoints as runs: those of one folder, one way of naming, one algorithm, one task and one seed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from probes.analysis.found import Found
from probes.checkpoints.walking import natural

#: Stands for the step in a run's name.
STEP = "*"


@dataclass(frozen=True)
class Series:
    """The checkpoints of one training run.

    Attributes:
        folder: where they are.
        name: what their names have in common, ``*`` for the step; empty where they have nothing.
        library: name of the library.
        algorithm: name of the algorithm.
        environment: gymnasium identifier of the task.
        seed: of the training run, None where nothing says it.
        checkpoints: by step, each step once.
        twins: files whose content is another's, and that other.
    """

    folder: Path
    name: str
    library: str
    algorithm: str
    environment: str
    seed: int | None
    checkpoints: tuple[Found, ...]
    twins: dict[str, str]

    @property
    def title(self) -> str:
        """Its name for people.

        Example:
            >>> Series(Path("logs/a"), "rl_model_*_steps", "", "", "", None, (), {}).title
            'a/rl_model_steps'
        """
        called = re.sub(r"[_\-. ]*\*[_\-. ]*", "_", self.name).strip("_-. ")
        return f"{self.folder.name}/{called}" if called else self.folder.name


def series_of(found: Iterable[Found]) -> list[Series]:
    """The runs that checkpoints belong to, by folder and name.

    A file whose name has not the step in it (``best_model.zip``) is taken for one of the folder's run, where there is
    one such run only and it has no other content at that step. What nothing gives a step is a run of its own.
    """
    named: dict[tuple[Path, str, str, str, str, int], list[Found]] = defaultdict(list)
    loose: list[Found] = []
    for one in found:
        pattern = _pattern(one)
        if pattern is None:
            loose.append(one)
        else:
            key = _key(one, pattern)
            named[_key(one, one.path.name) if _taken(named[key], one) else key].append(one)
    for one in sorted(loose, key=_order):
        homes = [key for key in named if _key(one, key[1]) == key and (STEP in key[1] or not key[1])]
        home = homes[0] if len(homes) == 1 else None
        if one.dated and home is None and not homes:
            home = _key(one, "")
        if not one.dated or home is None or _taken(named[home], one):
            home = _key(one, one.stem)
        named[home].append(one)
    return sorted((_made(key, those) for key, those in named.items()), key=lambda one: (one.folder, natural(one.name)))


def _key(one: Found, pattern: str) -> tuple[Path, str, str, str, str, int]:
    return one.folder, pattern, one.library, one.algorithm, one.environment, -1 if one.seed is None else one.seed


def _pattern(one: Found) -> str | None:
    """The name with ``*`` for its step; None where the step is not in it."""
    if not one.dated:
        return None
    places = [match for match in re.finditer(r"\d+", one.stem) if int(match[0]) == one.step]
    if not places:
        return None
    start, end = places[-1].span()
    return f"{one.stem[:start]}{STEP}{one.stem[end:]}"


def _taken(those: list[Found], one: Found) -> bool:
    return any(other.step == one.step and other.content != one.content for other in those)


def _made(key: tuple[Path, str, str, str, str, int], those: list[Found]) -> Series:
    folder, name, library, algorithm, environment, seed = key
    kept: dict[str, Found] = {}
    twins: dict[str, str] = {}
    for one in sorted(those, key=_order):
        if one.content in kept:
            twins[one.shown] = kept[one.content].shown
        else:
            kept[one.content] = one
    found = tuple(sorted(kept.values(), key=_order))
    return Series(folder, name, library, algorithm, environment, None if seed < 0 else seed, found, twins)


def _order(one: Found) -> tuple[int, bool, list[tuple[int, str]]]:
    """By step; of one step first what has it in its name."""
    return one.step, _pattern(one) is None, natural(one.stem)
