"""The command that this program was started with, for the record: without what is secret."""

from __future__ import annotations

import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import PurePath

#: Options whose value is nobody else's.
_SECRET = re.compile(r"^-{1,2}[\w-]*(password|passwd|secret|token|api[-_]?key|credential)[\w-]*", re.IGNORECASE)
#: A password in a URL: everything between the user's name and the last @ before a slash.
_PASSWORD = re.compile(r"(\w://[^/@:\s]*):[^/\s]*@")
#: Programs that run what was typed elsewhere: their own command says nothing.
_HOSTS = ("ipykernel_launcher", "colab_kernel_launcher")


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command as it can be typed again; empty in a notebook and in an interactive Python.

    Values of options that are named after a password, a token, a secret or a key are left out, as are passwords in
    URLs. The path of an installed program is too.

    Args:
        arguments: the interpreter and its arguments; those of this process when None.

    Example:
        >>> command_line(["/usr/bin/python3", "train.py", "--seed", "1"])
        'python train.py --seed 1'
        >>> command_line(["/venv/bin/python", "/venv/bin/gradlab", "demo", "--store", "postgresql://me:pw@host/lab"])
        "gradlab demo --store 'postgresql://me:***@host/lab'"
        >>> command_line(["python", "-m", "lab.train", "--api-key=abc", "--token", "abc"])
        "python -m lab.train '--api-key=***' --token '***'"
    """
    given = list(sys.orig_argv if arguments is None else arguments)[1:]
    # Options of the interpreter itself, such as -u, change nothing that is worth a record; -X and -W take a value.
    while given and given[0].startswith("-") and given[0] not in ("-m", "-c", "-"):
        given = given[2:] if given[0] in ("-X", "-W") else given[1:]
    if not given or given[0] in ("-c", "-") or any(host in " ".join(given[:2]) for host in _HOSTS):
        return ""
    program, *rest = given
    if program == "-m":
        words = ["python", "-m", *rest]
    elif program.endswith((".py", ".pyw")):
        words = ["python", program, *rest]
    else:
        words = [PurePath(program).name, *rest]
    return shlex.join(_public(words))


def versions() -> dict[str, str]:
    """Versions that a record of a run names.

    Example:
        >>> list(versions())
        ['gradlab', 'torch', 'python']
    """
    import torch

    import gradlab

    return {"gradlab": gradlab.__version__, "torch": torch.__version__, "python": platform.python_version()}


def _public(words: Sequence[str]) -> list[str]:
    found: list[str] = []
    hidden = False
    for word in words:
        option, equals, _ = word.partition("=")
        if hidden and not word.startswith("-"):
            found.append("***")
        elif equals and _SECRET.match(option):
            found.append(f"{option}=***")
        else:
            found.append(_PASSWORD.sub(r"\1:***@", word))
        hidden = not equals and _SECRET.match(word) is not None
    return found
