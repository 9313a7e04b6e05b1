"""Functions whose result can depend on nothing but what they are given."""

from __future__ import annotations

import builtins
import dis
import math
import types
from typing import Any

import numpy as np

#: What changes something beyond a function's own variables, or reads more than its constants.
_REACHING_OUT = frozenset(
    {
        "STORE_GLOBAL",
        "STORE_DEREF",
        "STORE_ATTR",
        "STORE_SUBSCR",
        "DELETE_SUBSCR",
        "STORE_SLICE",
        "IMPORT_NAME",
        "YIELD_VALUE",
    }
)
_PLAIN = (bool, int, float, str, bytes, type(None), np.generic, np.dtype)
#: Parts of numpy and of arrays that keep something, or write into what they are given.
_WRITING = frozenset({"random", "fill", "put", "place", "copyto", "putmask", "setflags", "sort", "resize", "itemset"})


def is_closed(function: Any) -> bool:
    """Whether a function is plainly one of its arguments: numbers, arrays and mathematics are all it refers to.

    A function in which this is not plain is said not to be one: it reads an object or a list (an environment, a
    count), it writes into something, it draws random numbers, or it is no function written in Python.

    Example:
        >>> scale, count = np.ones(2), [0]
        >>> is_closed(lambda x: scale * np.tanh(x)), is_closed(lambda x: x + len(count))
        (True, False)
        >>> is_closed(lambda x: x + np.random.normal())
        False
    """
    return _closed(function, ())


def _closed(function: Any, inside: tuple[Any, ...]) -> bool:
    if isinstance(function, types.BuiltinFunctionType | np.ufunc):
        known = getattr(function, "__module__", None) in ("builtins", "math", "numpy", None)
        return bool(known and function not in _IMPURE)
    if not isinstance(function, types.FunctionType):
        return False
    if function in inside:
        return True
    code = function.__code__
    if not _reaches_nothing(code):
        return False
    # Attributes are among the names, and are nobody's globals.
    held = [function.__globals__.get(name, getattr(builtins, name, None)) for name in _globals(code)]
    try:
        held += [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return False
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return all(_constant(value, (*inside, function)) for value in held)


def _reaches_nothing(code: types.CodeType) -> bool:
    names = {step.opname for step in dis.get_instructions(code)}
    within = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return (
        not names & _REACHING_OUT
        and not _WRITING & set(code.co_names)
        # ``np.add(x, y, out=…)`` writes into an array that may be kept.
        and not any(isinstance(part, tuple) and "out" in part for part in code.co_consts)
        and all(_reaches_nothing(part) for part in within)
    )


def _globals(code: types.CodeType) -> set[str]:
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            found |= _globals(part)
    return found


#: Built-in functions that read or do more than they are given.
_IMPURE = frozenset({eval, exec, globals, locals, input, print, open, setattr, getattr, vars, id, next, iter})


def _constant(value: Any, inside: tuple[Any, ...]) -> bool:
    if isinstance(value, tuple):
        return all(_constant(part, inside) for part in value)
    if isinstance(value, np.ndarray):
        return bool(value.dtype != object)
    if isinstance(value, type):
        return value.__module__ in ("builtins", "numpy")
    if isinstance(value, types.ModuleType):
        return value is np or value is math
    return isinstance(value, _PLAIN) or _closed(value, inside)
