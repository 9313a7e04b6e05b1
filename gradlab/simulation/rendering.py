"""A state of a MuJoCo task as its own camera sees it; run as a program, a process that renders for another one.

``python -m gradlab.simulation.rendering`` reads a line of JSON for each picture (``environment``, ``obs``, ``width``,
``height``) and answers it with a line: ``png``, in base64, or ``why`` there is none. Its first line says whether it can
render here at all, by the library that ``MUJOCO_GL`` names. What a graphics driver does to its process is done to this
one alone.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import zlib
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError, first_line
from gradlab.simulation.from_observations import positions_and_velocities


def render(environment: str, obs: Any, width: int = 480, height: int = 360) -> NDArray[np.uint8]:
    """The state that an observation [n] is of, as [height, width, 3] bytes.

    Args:
        environment: identifier of one of gymnasium's own MuJoCo tasks; no other is made, whatever asks for it.
        obs: the observation as the environment gives it.
        width: in pixels.
        height: in pixels.

    Raises:
        GradlabError: it is none of these tasks, or the observation does not hold its state.
    """
    env = _environment(environment, int(width), int(height))
    position, velocity = positions_and_velocities(env, np.asarray(obs, dtype=np.float64)[None])
    env.set_state(position[0], velocity[0])
    return np.asarray(env.render(), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [height, width, 3] as a PNG file (ISO/IEC 15948).

    Example:
        >>> png(np.zeros((2, 3, 3), dtype=np.uint8))[1:4]
        b'PNG'
    """
    height, width, _ = pixels.shape
    # Each line begins with the number of its filter: none.
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@lru_cache(maxsize=2)
def _environment(name: str, width: int, height: int) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise GradlabError("gymnasium is not installed; pip install 'gradlab[mujoco]'") from error
    # A name with a colon would have gymnasium import a module of that name.
    spec = None if ":" in name else gymnasium.registry.get(name)
    if spec is None or not str(spec.entry_point).startswith("gymnasium.envs.mujoco."):
        raise GradlabError(f"environment {name}: is none of gymnasium's own MuJoCo tasks")
    env = gymnasium.make(name, render_mode="rgb_array", width=width, height=height).unwrapped
    env.reset(seed=0)
    return env


def _able() -> str:
    """Why nothing can be rendered here; empty where it can."""
    try:
        import mujoco

        model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
        with mujoco.Renderer(model, 8, 8) as renderer:
            renderer.update_scene(mujoco.MjData(model))
            renderer.render()
    except Exception as error:  # noqa: BLE001 - a driver of this machine
        return first_line(error)
    return ""


def _answer(line: bytes) -> dict[str, str]:
    try:
        asked = json.loads(line)
        picture = png(render(asked["environment"], asked["obs"], asked["width"], asked["height"]))
    except GradlabError as error:
        return {"why": str(error)}
    except Exception as error:  # noqa: BLE001 - somebody else's environment, asked for by another process
        return {"why": first_line(error)}
    return {"png": base64.b64encode(picture).decode()}


def main(asked: BinaryIO, said: BinaryIO) -> None:
    """Answers lines until there are no more."""

    def say(what: dict[str, str]) -> None:
        said.write(json.dumps(what).encode() + b"\n")
        said.flush()

    why = _able()
    say({"why": why} if why else {})
    for line in () if why else asked:
        say(_answer(line))


if __name__ == "__main__":
    # What libraries print is not an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    main(sys.stdin.buffer, answers)
