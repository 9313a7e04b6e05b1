"""What a process remembers from one measurement of a probe to the next.

A probe travels to the background process anew for every measurement, so that what it keeps in itself there is lost;
this module stays. It is a module of its own, and used as one, because cloudpickle carries modules by name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

#: Probes that are remembered at a time; the one not heard of for longest is forgotten.
_MOST = 64
_kept: OrderedDict[str, Any] = OrderedDict()


def exchange(token: str, now: Any) -> Any:
    """Keep ``now`` under a token; what was kept under it before, None at first.

    Args:
        token: names one probe; no other may have it.
        now: what to remember.

    Example:
        >>> exchange("a probe", 1), exchange("a probe", 2)
        (None, 1)
    """
    before = _kept.pop(token, None)
    _kept[token] = now
    while len(_kept) > _MOST:
        _kept.popitem(last=False)
    return before
