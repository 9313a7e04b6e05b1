"""What is in a file, read so that half of one version and half of the next are never taken for a checkpoint."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from gradlab.adapters.checkpoint import Checkpoint, read_checkpoint
from gradlab.errors import GradlabError


class GoneError(Exception):
    """The file was deleted or renamed before it was read."""


class ChangedError(Exception):
    """The file was written to while it was read."""


def digest_of(path: Path) -> str:
    """128 bits of BLAKE2 of the file's bytes, as hexadecimals.

    Raises:
        GoneError: there is no such file any more.
        GradlabError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError as error:
        raise GoneError from error
    except OSError as error:
        raise GradlabError(f"cannot be read ({error.strerror})") from error


def read(path: Path, digest: str, *, trust: bool) -> Checkpoint:
    """The checkpoint of these very bytes.

    Raises:
        GoneError: there is no such file any more.
        ChangedError: it has other bytes by now.
        GradlabError: it is no checkpoint, or broken; one line without the file's name.
    """
    try:
        saved = read_checkpoint(path, trust=trust)
    except GradlabError as error:
        if digest_of(path) != digest:
            raise ChangedError from error
        raise GradlabError(str(error).removeprefix(f"checkpoint {path}: ")) from error
    except FileNotFoundError as error:
        raise GoneError from error
    if digest_of(path) != digest:
        raise ChangedError
    return saved


def step_of(saved: Checkpoint, path: Path) -> int | None:
    """The training step the checkpoint says, or the last number in its name; None where neither says one.

    Example:
        >>> from types import SimpleNamespace
        >>> [step_of(SimpleNamespace(step=None), Path(name)) for name in ("model2_5000_steps.pt", "last.pt")]
        [5000, None]
    """
    if saved.step is not None:
        return int(saved.step)
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None
