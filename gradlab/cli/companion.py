"""The dashboard that a demo starts beside itself; it ends with the demo, however that ends.

Started as ``python -m gradlab.cli.companion STORE PORT`` with a pipe as standard input: the system closes the
pipe when the demo is gone, killed or not.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from rich.console import Console

from gradlab.errors import GradlabError


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main(store: str, port: int) -> None:
    """Serve until standard input closes."""
    from dashboards import serve

    threading.Thread(target=_end_with_input, name="gradlab-companion", daemon=True).start()
    try:
        serve(store, port=port)
    except GradlabError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(f"gradlab: {error}", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
