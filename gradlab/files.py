"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gradlab.errors import GradlabError
from gradlab.store.schema import APPLICATION_ID


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` at the end; a reader never sees half of it.

    Raises:
        GradlabError: the file cannot be written, or what is there is a store.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "numbers.csv") as file:
        ...         _ = file.write(b"1")
        ...     [one.name for one in Path(folder).iterdir()]
        ['numbers.csv']
    """
    check_target(path)
    beside = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    except OSError as error:
        raise GradlabError(f"{path}: cannot be written ({error.strerror}); give another path") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def check_target(path: Path) -> None:
    """Refuses a place that no file can be written to, before anything slow is done.

    Raises:
        GradlabError: it is a directory, in none, or a store.
    """
    if path.is_dir():
        raise GradlabError(f"{path}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise GradlabError(f"{path}: there is no directory {path.parent}; create it, or give another path")
    if path.is_file():
        with suppress(OSError), path.open("rb") as file:
            if file.read(72)[68:] == APPLICATION_ID.to_bytes(4):
                raise GradlabError(f"{path}: is a store, and would be lost; give another path")
