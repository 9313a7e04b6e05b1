"""What is in a file, read so that half of one version and half of the next are never taken for a checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gradlab.adapters.checkpoint import Checkpoint, read_checkpoint
from gradlab.adapters.facts import Facts, UnsaidError
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


def read(path: Path, digest: str, *, trust: bool, facts: Facts) -> Checkpoint:
    """The checkpoint of these very bytes.

    Raises:
        GoneError: there is no such file any more.
        ChangedError: it has other bytes by now.
        UnsaidError: it does not say something that is needed.
        GradlabError: it is no checkpoint, or broken; one line without the file's name.
    """
    try:
        saved = read_checkpoint(path, trust=trust, facts=facts)
    except GradlabError as error:
        if digest_of(path) != digest:
            raise ChangedError from error
        said = str(error).removeprefix(f"checkpoint {path}").removeprefix(": ").strip()
        if isinstance(error, UnsaidError):
            raise UnsaidError(said, error.names) from error
        raise GradlabError(said) from error
    except FileNotFoundError as error:
        raise GoneError from error
    if digest_of(path) != digest:
        raise ChangedError
    return saved
