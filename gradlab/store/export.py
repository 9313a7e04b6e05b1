"""What a store holds as files that other programs read: CSV, JSON lines, Parquet.

Numbers are written so that reading them gives the same 64 bits. CSV has ``nan`` and ``inf``; JSON has no words for
them: there NaN is ``null``, and infinities are the texts ``"inf"`` and ``"-inf"``.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gradlab.errors import GradlabError
from gradlab.files import check_target, replacing
from gradlab.store.chosen import chosen_run
from gradlab.store.damage import damage_named
from gradlab.store.records import MeasurementInfo, RunInfo, ScalarTable
from gradlab.store.store import Store

#: Columns of the scalars, in their order: what was measured, where it is from, and the estimate.
SCALARS = (
    "run", "run_name", "measurement", "step", "time", "probe", "name", "value", "stderr", "low", "high", "samples",
    "reference", "objective", "scale",
)  # fmt: skip
#: Columns of the measurements, those without numbers too.
MEASUREMENTS = (
    "run", "run_name", "measurement", "step", "time", "probe", "where", "cost", "status", "message", "notes",
)  # fmt: skip

#: Measurements that are in memory at a time.
_PIECE = 1000

Columns = Mapping[str, Sequence[Any]]


def export_scalars(store: Store, path: str | os.PathLike[str], runs: Sequence[int | str] = ()) -> int:
    """Every estimate of some runs, a row each, with its interval, n, reference and objective; see ``SCALARS``.

    Args:
        store: an open store.
        path: the file; its suffix says the form: ``.csv``, ``.jsonl`` or ``.parquet``.
        runs: ids or names; the newest run when empty.

    Returns:
        How many rows it has.

    Raises:
        GradlabError: there is no such run, no such form, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     run = store.start_run("mine")
        ...     _ = run.record(1000, "gradient", Measurement({"cosine": Estimate(0.1 + 0.2, 0.1, 64, "critic")}))
        ...     export_scalars(store, directory.name + "/numbers.csv")
        1
        >>> row = Path(directory.name, "numbers.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
        >>> row[3], row[6], row[7], row[11]
        ('1000', 'cosine', '0.30000000000000004', '64')
        >>> directory.cleanup()
    """
    write = _form(path)
    chosen = _chosen(store, runs)
    return write(_in_pieces(store, chosen, _scalars), SCALARS)


def export_measurements(store: Store, path: str | os.PathLike[str], runs: Sequence[int | str] = ()) -> int:
    """Every measurement of some runs, skipped and failed ones too, a row each; see ``MEASUREMENTS``.

    Args:
        store: an open store.
        path: the file; its suffix says the form: ``.csv``, ``.jsonl`` or ``.parquet``.
        runs: ids or names; the newest run when empty.

    Returns:
        How many rows it has.

    Raises:
        GradlabError: there is no such run, no such form, or the file cannot be written.
    """
    write = _form(path)
    chosen = _chosen(store, runs)
    return write(_in_pieces(store, chosen, _measurements), MEASUREMENTS)


def export_configuration(store: Store, path: str | os.PathLike[str], runs: Sequence[int | str] = ()) -> int:
    """Some runs with what they were configured with, as a JSON list.

    Args:
        store: an open store.
        path: the file, ``.json``.
        runs: ids or names; the newest run when empty.

    Returns:
        How many runs it has.

    Raises:
        GradlabError: there is no such run, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".json":
        raise GradlabError(f"{target}: a configuration is written as .json; name the file so")
    check_target(target)
    chosen = _chosen(store, runs)
    listed = [_plain({**asdict(run), "config": dict(run.config)}) for run in chosen]
    with replacing(target) as file:
        file.write((json.dumps(listed, indent=2, ensure_ascii=False) + "\n").encode())
    return len(listed)


def _chosen(store: Store, runs: Sequence[int | str]) -> list[RunInfo]:
    found = [chosen_run(store, run) for run in runs] or [chosen_run(store)]
    return list({run.id: run for run in found}.values())


def _in_pieces(
    store: Store, runs: Sequence[RunInfo], read: Callable[[Store, RunInfo, int, int], Columns]
) -> Iterator[Columns]:
    """What the store holds of these runs at the beginning, table by table, so that no run needs to fit into memory."""
    last = store.last_id()
    for run in runs:
        for after in range(0, last, _PIECE):
            with damage_named(store):
                table = read(store, run, after, min(after + _PIECE, last))
            yield table


def _scalars(store: Store, run: RunInfo, after: int, upto: int) -> Columns:
    table: ScalarTable = store.scalars(after, run.id, upto=upto)
    columns = {**table.columns(), "measurement": table.id}
    listed = {name: columns[name].tolist() for name in SCALARS if name != "run_name"}
    return {**listed, "run_name": [run.name] * len(table)}


def _measurements(store: Store, run: RunInfo, after: int, upto: int) -> Columns:
    found: Sequence[MeasurementInfo] = store.measurements(after, run.id, upto=upto)
    columns: dict[str, list[Any]] = {"run_name": [run.name] * len(found), "measurement": [one.id for one in found]}
    for name in MEASUREMENTS:
        if name not in columns:
            columns[name] = [getattr(one, name) for one in found]
    return columns


def _form(path: str | os.PathLike[str]) -> Callable[[Iterable[Columns], Sequence[str]], int]:
    """What writes tables one after the other into this file, and gives the number of rows."""
    target = Path(path)
    forms = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
    fill = forms.get(target.suffix.lower())
    if fill is None:
        given = target.suffix or "no suffix"
        raise GradlabError(f"{target}: {given} is no form to export in; name the file .csv, .jsonl or .parquet")
    if fill is _parquet:
        _require_pyarrow(target)
    check_target(target)

    def write(tables: Iterable[Columns], names: Sequence[str]) -> int:
        count = 0

        def counted() -> Iterator[Columns]:
            nonlocal count
            for table in tables:
                if rows := len(table[names[0]]):
                    count += rows
                    yield table

        with replacing(target) as file:
            fill(file, counted(), names)
        return count

    return write


def _rows(tables: Iterable[Columns], names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    for table in tables:
        yield from zip(*(table[name] for name in names), strict=True)


def _csv(file: BinaryIO, tables: Iterable[Columns], names: Sequence[str]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    # The writer prints floats by their repr; what is a list is one cell.
    lists = names.index("notes") if "notes" in names else None
    for row in _rows(tables, names):
        writer.writerow(row if lists is None else [*row[:lists], json.dumps(row[lists], ensure_ascii=False)])
    text.detach()


def _json_lines(file: BinaryIO, tables: Iterable[Columns], names: Sequence[str]) -> None:
    for row in _rows(tables, names):
        line = json.dumps({name: _plain(value) for name, value in zip(names, row, strict=True)}, ensure_ascii=False)
        file.write(line.encode() + b"\n")


def _require_pyarrow(target: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise GradlabError(
            f"{target}: Parquet needs pyarrow; pip install pyarrow, or name the file .csv or .jsonl"
        ) from error
    return pyarrow


def _parquet(file: BinaryIO, tables: Iterable[Columns], names: Sequence[str]) -> None:
    arrow = _require_pyarrow(Path(file.name))
    kinds = {
        **dict.fromkeys(("run", "measurement", "step", "samples"), arrow.int64()),
        **dict.fromkeys(("time", "value", "stderr", "low", "high", "cost"), arrow.float64()),
        "notes": arrow.list_(arrow.string()),
    }
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in names])
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        for table in tables:
            columns = [arrow.array(table[name], schema.field(name).type) for name in names]
            writer.write_table(arrow.table(columns, schema=schema))


def _plain(value: Any) -> Any:
    """What JSON can say."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
