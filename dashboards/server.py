"""Serving the dashboard: in a thread beside a training run, or alone until interrupted."""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import socket
import threading
import webbrowser
from typing import Any

from dashboards.guard import Token, is_local
from gradlab.errors import GradlabError


class Server:
    """The dashboard over a store, served from a thread of its own.

    The port is taken when the object is made, so that a busy one is known before training starts.

    Args:
        url: path or URL of the store; it need not exist yet.
        host: address to listen on. Anything but this machine's own needs the token in ``url``.
        port: port; 0 picks a free one.
        refresh: seconds between two looks of an open page.

    Attributes:
        url: the address to open; for other machines it carries a token that works once.
        port: the port it listens on.

    Raises:
        GradlabError: the port is taken or not allowed, the address is not one of this machine, or the store's
            path is not one.

    Example:
        >>> server = Server("no/such/gradlab.db", port=0)
        >>> server.start()
        >>> server.url.startswith("http://127.0.0.1:")
        True
        >>> server.stop()
    """

    def __init__(self, url: str, host: str = "127.0.0.1", port: int = 8050, refresh: float = 1.0) -> None:
        from waitress import create_server

        from dashboards.app import create_app

        # Before the app is made, which takes longer.
        _check_free(host, port)
        token = None if is_local(host) else Token()
        self.app = create_app(url, refresh=refresh, host=host, token=token)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        try:
            self._server: Any = create_server(self.app.server, host=host, port=port, threads=8, ident=None)
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        self.port = int(self._server.effective_port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}" + (f"/?token={token.once}" if token is not None else "")
        self._thread: threading.Thread | None = None
        self._warming: threading.Thread | None = None

    def start(self) -> None:
        """Begins to answer, in a daemon thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._server.run, name="gradlab-dashboard", daemon=True)
            self._thread.start()
            self._warming = threading.Thread(target=self._warm, name="gradlab-warming", daemon=True)
            self._warming.start()

    def stop(self) -> None:
        """Stops answering and lets go of the port and the store; does nothing the second time."""
        from waitress import wasyncore

        thread, self._thread = self._thread, None
        if self._warming is not None:
            self._warming.join(timeout=5)
        watched = self._server._map
        sockets = watched
        if thread is not None:
            # The loop ends when it has nothing left to watch, which its own thread must bring about. It closes nothing
            # there: the loop may run this before the trigger is pulled, and workers pull it until they are shut down.
            sockets = {}
            self._server.trigger.pull_trigger(lambda: (sockets.update(watched), watched.clear()))
            thread.join(timeout=5)
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(sockets)
        self.app.server.config["GRADLAB_RECORDS"].close()

    def _warm(self) -> None:
        """Makes ready, while a browser opens the page, what the page will ask for first."""
        from dashboards.style import layout

        records = self.app.server.config["GRADLAB_RECORDS"]
        for run in records.view().runs[:1]:
            records.read_later(run.id)
        layout("light", uirevision="")

    def wait(self) -> None:
        """Waits until it is stopped or interrupted."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=0.5)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def serve(
    url: str = "gradlab.db",
    host: str = "127.0.0.1",
    port: int = 8050,
    refresh: float = 1.0,
    open_browser: bool = False,
) -> None:
    """Serves the dashboard until Ctrl-C; prints where.

    Args:
        url: path or URL of the store; it need not exist yet.
        host: address to listen on.
        port: port; 0 picks a free one.
        refresh: seconds between two looks of an open page.
        open_browser: open the page in the browser.

    Raises:
        GradlabError: as for ``Server``.
    """
    _keep_memory_together()
    server = Server(url, host=host, port=port, refresh=refresh)
    server.start()
    # What was imported stays: looking through it for garbage, again and again, would take longer than answering.
    gc.collect()
    gc.freeze()
    print(f"gradlab dashboard: {server.url}   (store {url}; Ctrl-C to stop)", flush=True)  # noqa: T201
    if open_browser:
        webbrowser.open(server.url)
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _keep_memory_together() -> None:
    """Lets all threads share what others have freed, where the C library is one that keeps it apart.

    glibc gives each thread that answers an arena of its own, and what is freed in it to no other: tens of megabytes of
    nothing. Not for a process that trains, which is not the dashboard's to tune.
    """
    arenas, most = -8, 1
    try:
        ctypes.CDLL(None).mallopt(arenas, most)
    except (AttributeError, OSError, TypeError):
        # Another C library.
        return


def _check_free(host: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise GradlabError(f"port {port}: is not a port; give one from 1 to 65535, or --port 0 to pick a free one")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(family[4])
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> GradlabError:
    number = error.errno
    if isinstance(error, socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return GradlabError(f"host {host}: is not an address of this machine; give --host 127.0.0.1")
    if number == errno.EACCES:
        return GradlabError(f"port {port}: may not be used by this user; give one above 1023, such as --port 8050")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    return GradlabError(f"port {port}: is in use on {host}; give --port {free}, or --port 0 to pick a free one")
