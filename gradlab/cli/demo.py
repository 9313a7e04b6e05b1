"""``gradlab demo``: a real training run, measured while it goes on, in the browser."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from gradlab.cli.interrupts import end_like_an_interrupt, ignore_interrupts
from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

#: Seconds a dashboard may take to answer before that is reported.
_PATIENCE = 30.0
#: numpy, and with it the libraries that train, take no larger seed.
LARGEST_SEED = 2**32 - 1


class Algorithm(StrEnum):
    """What the demo can train."""

    td3 = "td3"
    ddpg = "ddpg"
    sac = "sac"


def demo(
    steps: Annotated[int, typer.Option(help="Environment steps to train for.", min=1)] = 20_000,
    env: Annotated[str, typer.Option(help="Gymnasium environment with continuous actions.")] = "Reacher-v5",
    algo: Annotated[Algorithm, typer.Option(help="Algorithm, from Stable-Baselines3.")] = Algorithm.td3,
    seed: Annotated[
        int, typer.Option(help="Seed of the training run and of the measurements.", min=0, max=LARGEST_SEED)
    ] = 0,
    store: Annotated[str, typer.Option(help="Where measurements go: a path or a database URL.")] = "gradlab.db",
    port: Annotated[int, typer.Option(help="Port of the dashboard; 0 picks a free one.")] = 8050,
    browser: Annotated[bool, typer.Option(help="Open the dashboard in the browser.")] = True,
    leave: Annotated[
        bool | None,
        typer.Option(
            "--exit/--stay",
            help="Stop when training ends, or go on serving the dashboard. "
            "By default it stays in a terminal and exits otherwise.",
        ),
    ] = None,
) -> None:
    """Train a real agent with probes attached and watch its gradient live.

    Trains Stable-Baselines3's TD3 on Reacher-v5 (MuJoCo), measures the run with the default probes, and serves
    the dashboard on this machine. Ctrl-C stops it at any moment and leaves a complete store behind.
    """
    from gradlab.cli.tasks import require_box_task
    from gradlab.store import open_store

    console = screen()
    task = require_box_task(env)
    port = _free_port(port)
    open_store(store).close()
    stay = sys.stdout.isatty() if leave is None else not leave
    end_like_an_interrupt()
    with _served(store, port) as url:
        console.print(f"Dashboard: {url}", soft_wrap=True, markup=False)
        if browser:
            webbrowser.open(url)
        _train(task, steps, algo, seed, store, console)
        again = f"gradlab dashboard {shlex.quote(store)}"
        console.print(f"The measurements are in {store}; look again with: {again}", markup=False, soft_wrap=True)
        if stay:
            console.print("Training has ended; the dashboard stays up until Ctrl-C.")
            _wait_for_interrupt(console)


def _train(task: Any, steps: int, algo: Algorithm, seed: int, store: str, console: Console) -> None:
    import numpy as np
    import stable_baselines3
    import torch
    from stable_baselines3.common.callbacks import CallbackList
    from stable_baselines3.common.noise import NormalActionNoise

    import probes
    from gradlab.cli.progress import progress_callback

    # Networks this small train no slower on one thread, and the dashboard and the simulator want the other cores.
    torch.set_num_threads(1)
    size = task.action_space.shape[0]
    options: dict[str, Any] = {
        "learning_starts": min(1000, max(steps // 10, 1)),
        "policy_kwargs": {"net_arch": [256, 256]},
    }
    if algo is not Algorithm.sac:
        options["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, 0.1))
    kind = getattr(stable_baselines3, algo.value.upper())
    model = kind("MlpPolicy", task, seed=seed, device="cpu", **options)
    monitor: Any = probes.attach(model, store=store, seed=seed)
    for name, reason in monitor.left_out.items():
        console.print(f"Probe {name} is left out: {reason}", markup=False)
    try:
        with progress_callback(monitor, steps, console) as shown:
            model.learn(steps, callback=CallbackList([monitor, shown]))
    except KeyboardInterrupt:
        ignore_interrupts()
        monitor.close("stopped", "interrupted by the user", wait=2.0)
        status = monitor.status
        whole = f"lacks {status.lost} records that it did not take" if status.lost else "is complete"
        # The terminal may be what has gone.
        with suppress(OSError):
            console.print(f"Stopped at step {status.step:,}. The store {store} {whole}.", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    except BaseException as error:
        monitor.close("failed", f"{type(error).__name__}: {error}", wait=2.0)
        raise


@contextmanager
def _served(store: str, port: int) -> Iterator[str]:
    """The dashboard in a process of its own, so that drawing never takes time from training."""
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "gradlab.cli.companion", store, str(port)]
    # Ctrl-C is for the training process, which ends the dashboard when it is done with it.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait_until_up(process, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise GradlabError(f"port {port}: {_reason(error)}; choose another with --port, or --port 0") from error
        return int(probe.getsockname()[1])


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "not a port number"


def _wait_until_up(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr is not None
            lines = process.stderr.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1].removeprefix("gradlab: ") if lines else f"exit code {process.returncode}"
            raise GradlabError(f"dashboard: did not start: {reason}")
        try:
            with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310 - http, on this machine
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise GradlabError(f"dashboard: no answer from {url} in {_PATIENCE:.0f} s")


def _wait_for_interrupt(console: Console) -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        ignore_interrupts()
        with suppress(OSError):
            console.print()
