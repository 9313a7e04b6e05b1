"""One torch thread for the calling thread alone.

How many threads a matrix product is shared between can change its last bit, so whoever promises equal bits must fix
it. ``torch.set_num_threads`` is no way to: it also changes what threads started later begin with, and turns MKL's
choice of its number of threads off for the whole process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import torch

_T = TypeVar("_T")
_door = Lock()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Within, torch computes on one thread in this Python thread; nothing changes for any other.

    It asks the libraries behind torch, OpenMP and MKL, which keep a setting for each thread. Where they cannot be
    asked, torch is, and what later threads begin with is put back at once.

    Example:
        >>> before = torch.get_num_threads()
        >>> with one_torch_thread():
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    # The first question makes torch give this thread the settings it begins with, over any made before.
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    libraries = _libraries()
    if libraries is not None:
        openmp, mkl = libraries
        openmp(1)
        if torch.get_num_threads() == 1:
            mine = mkl(1)
            try:
                yield
            finally:
                mkl(mine)
                openmp(before)
            return
        openmp(before)
    _set_here(1)
    try:
        yield
    finally:
        _set_here(before)


@cache
def _libraries() -> tuple[Callable[[int], Any], Callable[[int], int]] | None:
    """Setters of this thread's number of threads in OpenMP and in MKL, if torch computes with both."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        name = str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")
        # Only the very library that torch has loaded; another copy of OpenMP would listen and change nothing.
        library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        return library.omp_set_num_threads, library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None


def _set_here(count: int) -> None:
    with _door:
        default = _elsewhere(torch.get_num_threads)
        torch.set_num_threads(count)
        _elsewhere(lambda: torch.set_num_threads(default))


def _elsewhere(call: Callable[[], _T]) -> _T:
    """The call's result in a thread of its own, which begins with what every new thread does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
