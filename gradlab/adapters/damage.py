"""What reading a damaged PyTorch file may raise."""

from __future__ import annotations

import pickle
import struct

#: torch's restricted unpickler is a stack machine, which meets whatever damaged bytes spell.
DAMAGE: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NameError, OSError),
    *(pickle.UnpicklingError, RuntimeError, struct.error, TypeError, ValueError),
)
