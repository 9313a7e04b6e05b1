"""Which file system a path is on; write-ahead logging is unsafe on those shared between machines."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NETWORK = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "orangefs", "panfs", "smb2", "smb3", "smbfs", "wekafs",
})  # fmt: skip


def filesystem(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that holds ``path``, such as ``ext4``; empty where the system does not say.

    Example:
        >>> filesystem(Path("/proc/mounts"))
        'proc'
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = path.resolve()
    found, depth = "", -1
    for line in lines:
        words = line.split()
        if len(words) < 3:
            continue
        # Blanks in a mount point are written as octal escapes.
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[1]))
        # A later line of the same mount point covers the earlier one.
        if real.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = words[2], len(point.parts)
    return found


def state_of(path: Path) -> tuple[tuple[int, ...], ...]:
    """What changes when somebody writes into a SQLite store: time (ns), size, number and mode of its file and its log.

    Example:
        >>> state_of(Path("no/such/gradlab.db"))
        ((0,), (0,))
    """
    found: list[tuple[int, ...]] = []
    for ending in ("", "-wal"):
        try:
            facts = os.stat(f"{path}{ending}")
        except OSError:
            found.append((0,))
        else:
            # Not st_ctime: SQLite touches it when root reads.
            found.append((facts.st_mtime_ns, facts.st_size, facts.st_ino, facts.st_mode))
    return tuple(found)


def is_network(kind: str) -> bool:
    """Whether file systems of this type may be shared between machines.

    Programs in user space (``fuse.sshfs``, ``fuse.rclone``) count as shared: their shared memory cannot be relied on.

    Example:
        >>> is_network("nfs4"), is_network("fuse.sshfs"), is_network("ext4")
        (True, True, False)
    """
    return kind in _NETWORK or kind.startswith("fuse.")
