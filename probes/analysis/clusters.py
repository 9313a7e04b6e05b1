"""The engine that a name means: ``local``, ``ray`` or ``dask``."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from gradlab.arguments import whole_number
from gradlab.errors import GradlabError, first_line
from gradlab.simulation.workers import cores
from probes.analysis.engines import Engine

ENGINES = ("local", "ray", "dask")
#: Seconds a cluster may take to answer.
_PATIENCE = 20


def engine_of(name: str = "local", address: str | None = None, workers: int | None = None) -> Engine:
    """The engine, not started yet.

    Args:
        name: ``local``, ``ray`` or ``dask``.
        address: of the cluster; one of this machine where None.
        workers: tasks at a time; one for each core of this machine, or of the cluster, where None.

    Raises:
        GradlabError: there is no such engine, or it is not installed.

    Example:
        >>> engine_of("local", workers=1).backend
        ''
        >>> engine_of("slurm")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: engine: 'slurm' is none of local, ray, dask
    """
    if name not in ENGINES:
        raise GradlabError(f"engine: {name!r} is none of {', '.join(ENGINES)}")
    count = None if workers is None else whole_number("workers", workers, 1)
    if name == "local":
        if address is not None:
            raise GradlabError(f"address {address}: the engine local has none; give --engine ray or dask")
        count = cores() if count is None else count
        return Engine(count, "loky" if count > 1 else "")
    try:
        if name == "ray":
            import ray  # noqa: F401
        else:
            import distributed  # noqa: F401
    except ImportError as error:
        raise GradlabError(f"engine {name}: is not installed; pip install 'gradlab[{name}]'") from error
    # -1: all that the cluster has.
    return Engine(-1 if count is None else count, name, partial(_ray if name == "ray" else _dask, address, count))


@contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[None]:
    import joblib
    import ray
    from ray.util.joblib.ray_backend import RayBackend

    class Backend(RayBackend):  # type: ignore[misc]
        # Results arrive one by one, as joblib wants them; Ray's backend is made of one that says that they do not.
        supports_return_generator = True

    _refuse_silence(address)
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(
                address=address,
                num_cpus=workers if address is None else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except Exception as error:
            raise GradlabError(f"engine ray: no cluster answers at {address}: {first_line(error)}") from error
    joblib.register_parallel_backend("ray", Backend)
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _dask(address: str | None, workers: int | None) -> Iterator[None]:
    from distributed import Client, LocalCluster

    try:
        if address is None:
            cluster = LocalCluster(n_workers=workers or cores(), threads_per_worker=1, dashboard_address=None)
            client = Client(cluster)
        else:
            cluster = None
            client = Client(address, timeout=_PATIENCE)
    except Exception as error:
        raise GradlabError(f"engine dask: no cluster answers at {address}: {first_line(error)}") from error
    try:
        yield
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _refuse_silence(address: str | None) -> None:
    """Ray itself goes on for minutes asking a place where nobody is.

    Raises:
        GradlabError: nobody listens at the address; one that has no port is left to Ray.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise GradlabError(f"engine ray: no cluster answers at {address}: {first_line(error)}") from error
