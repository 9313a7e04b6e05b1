"""Box and Discrete spaces out of a checkpoint's JSON, without loading the pickle that lies beside their text."""

from __future__ import annotations

import base64
import math
import pickletools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError

#: numpy prints at most this many digits after the point unless told otherwise; fewer mean none was cut.
_DIGITS = 8


def size(space: Any, name: str) -> int:
    """Length of a flat Box's vectors.

    Args:
        space: the space's entry in ``data``.
        name: what to call it in messages.

    Raises:
        GradlabError: it is missing, not a Box, or not flat.

    Example:
        >>> size({":type:": "<class 'gymnasium.spaces.box.Box'>", "_shape": [11]}, "observation_space")
        11
    """
    if not isinstance(space, dict):
        raise GradlabError(f"member 'data' has no {name}; save the file again")
    kind = str(space.get(":type:", ""))
    shape = space.get("_shape", space.get("shape"))
    if not kind.endswith(".Box'>") or not isinstance(shape, list) or len(shape) != 1 or not isinstance(shape[0], int):
        raise GradlabError(
            f"its {name} is {kind or 'of unknown type'}, shape {shape}; only flat Box spaces are supported"
        )
    return shape[0]


def is_discrete(space: Any) -> bool:
    """Whether it is a Discrete space.

    Example:
        >>> is_discrete({":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "2"})
        True
    """
    return isinstance(space, dict) and str(space.get(":type:", "")).endswith(".Discrete'>")


def actions(space: Any) -> int:
    """Number of actions of a Discrete space.

    Raises:
        GradlabError: it is missing.

    Example:
        >>> actions({":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "2"})
        2
    """
    text = str(space.get("n"))
    # Far beyond any policy's number of logits, and short of what a damaged file may spell.
    if re.fullmatch(r"[1-9]\d{0,5}", text) is None:
        raise GradlabError(f"its action_space has {text[:20]} actions, which is no number; save the file again")
    return int(text)


def corners(space: Any, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lower and upper corner of a flat, bounded Box, exactly as saved.

    The text beside a pickle rounds (numpy prints eight digits, and fewer when asked to), so the arrays' bytes are
    picked out of the pickle's opcodes, which runs nothing, and checked against the text; without them the text
    is used where it is evidently complete.

    Args:
        space: the space's entry in ``data``.
        name: what to call it in messages.

    Returns:
        Two arrays [p] of the space's dtype.

    Raises:
        GradlabError: it is missing, not a flat Box, or a corner cannot be read exactly.

    Example:
        >>> text = {":type:": "<class 'gymnasium.spaces.box.Box'>", "_shape": [2], "dtype": "float32"}
        >>> low, high = corners({**text, "low": "[-0.5 -2. ]", "high": "[1.5  0.25]"}, "action_space")
        >>> low.tolist(), high.tolist()
        ([-0.5, -2.0], [1.5, 0.25])
    """
    count = size(space, name)
    if space.get("dtype") not in ("float32", "float64"):
        raise GradlabError(f"its {name} has dtype {space.get('dtype')}; only float32 and float64 are supported")
    dtype = np.dtype(space["dtype"])
    saved = _byte_strings(space.get(":serialized:"), count * dtype.itemsize)
    low, high = (_corner(space, name, key, saved.get(key), dtype, count) for key in ("low", "high"))
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise GradlabError(f"its {name} is not a bounded box: low {low.tolist()}, high {high.tolist()}")
    return low, high


def _corner(
    space: dict[str, Any], name: str, key: str, saved: bytes | None, dtype: np.dtype[Any], count: int
) -> NDArray[Any]:
    tokens = re.findall(r"[^\s\[\],]+", str(space.get(key, "")))
    try:
        text = np.array(tokens, dtype=dtype) if len(tokens) == count else None
    except ValueError:
        text = None
    if saved is not None:
        array: NDArray[Any] = np.frombuffer(saved, dtype).copy()
        if text is None or np.allclose(array, text, rtol=1e-2, atol=1e-2):
            return array
    elif text is not None and all(_digits_after_point(token) < _DIGITS for token in tokens):
        return text
    raise GradlabError(
        f"its {name}.{key} cannot be read exactly (the file says {str(space.get(key))[:60]!r}); "
        "view(model) the model in its own program instead"
    )


def _digits_after_point(token: str) -> float:
    mantissa = token.lower().partition("e")[0]
    return len(mantissa.partition(".")[2]) if "." in mantissa else math.inf


def _byte_strings(serialized: Any, length: int) -> dict[str, bytes]:
    """For ``low`` and ``high``, the first byte string of this length after that word in the pickle."""
    found: dict[str, bytes] = {}
    key = None
    try:
        for _, value, _ in pickletools.genops(base64.b64decode(str(serialized))):
            if value in ("low", "high"):
                key = str(value)
            elif value in ("bounded_below", "bounded_above", "low_repr", "high_repr", "_np_random"):
                key = None
            elif key is not None and isinstance(value, bytes | bytearray) and len(value) == length:
                found.setdefault(key, bytes(value))
                key = None
    except ValueError:
        return {}
    return found
