"""One entry as a file: a zip archive of a text (JSON) and the bytes of the arrays. Reading one runs no code."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store.codec import decode, encode
from gradlab.store.entry import UnstorableError
from probes.entries import End, Record

_TEXT = "entry.json"


class EntryFileError(GradlabError):
    """A file is not one of ours, or damaged.

    Example:
        >>> raise EntryFileError("spool file a.entry: is damaged (File is not a zip file)")
        Traceback (most recent call last):
        ...
        probes.entry_file.EntryFileError: spool file a.entry: is damaged (File is not a zip file)
    """


def pack(entry: Record | End) -> tuple[bytes, list[bytes]]:
    """The text of an entry, and the bytes of its arrays.

    Raises:
        UnstorableError: no store could take it either.

    Example:
        >>> text, arrays = pack(End("a token", 1, 0.0, "finished", ""))
        >>> json.loads(text)["entry"]["status"], arrays
        ('finished', [])
    """
    measurement = entry.measurement if isinstance(entry, Record) else None
    arrays: list[dict[str, Any]] = []
    plain = asdict(replace(entry, measurement=None) if isinstance(entry, Record) else entry)
    if measurement is not None:
        try:
            plain["measurement"] = {
                "scalars": [[name, _estimate(name, value)] for name, value in measurement.scalars.items()],
                "notes": list(measurement.notes),
            }
            arrays = [encode(name, array) for name, array in measurement.arrays.items()]
        except (GradlabError, TypeError, ValueError) as error:
            raise UnstorableError(str(error)) from error
    data = [bytes(row.pop("data")) for row in arrays]
    content = {"kind": type(entry).__name__, "entry": plain, "arrays": arrays}
    try:
        return json.dumps(content).encode(), data
    except (TypeError, ValueError) as error:
        raise UnstorableError(str(error)) from error


def write(text: bytes, arrays: list[bytes], file: IO[bytes]) -> None:
    """Write what ``pack`` gave."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_TEXT, text)
        for number, data in enumerate(arrays):
            archive.writestr(str(number), data)


def read(path: Path) -> Record | End:
    """The entry in a file.

    Raises:
        EntryFileError: it is no such file, or it is damaged.
        FileNotFoundError: there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # What is not compressed cannot be larger than the file.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise EntryFileError(f"spool file {path}: is not one of gradlab's")
            content = json.loads(archive.read(_TEXT))
            return _unpacked(content, [archive.read(str(number)) for number in range(len(content["arrays"]))])
    except (FileNotFoundError, EntryFileError):
        raise
    except (OSError, zipfile.BadZipFile, AttributeError, KeyError, TypeError, ValueError) as error:
        raise EntryFileError(f"spool file {path}: is damaged ({error})") from error


def _unpacked(content: dict[str, Any], data: list[bytes]) -> Record | End:
    plain = content["entry"]
    if content["kind"] == "End":
        return End(**plain)
    if plain["measurement"] is not None:
        scalars = {
            name: Estimate(**values | {"ends": values["ends"] and tuple(values["ends"])})
            for name, values in plain["measurement"]["scalars"]
        }
        rows = [row | {"data": part} for row, part in zip(content["arrays"], data, strict=True)]
        plain["measurement"] = Measurement(
            scalars, {row["name"]: decode(row) for row in rows}, tuple(plain["measurement"]["notes"])
        )
    return Record(**plain)


def _estimate(name: str, estimate: Any) -> dict[str, Any]:
    if not isinstance(estimate, Estimate):
        raise GradlabError(f"scalar {name!r}: is a {type(estimate).__name__}; give an Estimate")
    ends = estimate.ends
    return asdict(estimate) | {
        "value": float(estimate.value),
        "stderr": float(estimate.stderr),
        "samples": int(estimate.samples),
        "ends": None if ends is None else [float(end) for end in ends],
    }
