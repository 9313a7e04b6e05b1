"""The tables of a store, and the two numbers that say whether a file is one.

``measurements.id`` is the cursor: it only grows, and a store hands out no id twice. Everything but a run's
progress is append-only. What many rows of ``scalars`` share (name, reference, objective, scale) is kept once, in
``series``, which makes a scalar about 50 bytes instead of 200.

A change of these tables is a new version: a revision in ``migrations/versions``, which ``upgrade_store`` runs.
Older stores are read as they are, so ``reader`` asks for what they may lack.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: Version of the tables below; also the SQLite header's ``user_version``.
SCHEMA_VERSION = 2
#: The oldest version that can be read as it is.
OLDEST_READ = 1
#: Key in ``meta`` of how often something else than appending was done to what was measured.
REWRITTEN = "rewritten"
#: "GLab": marks a SQLite file as a store of ours in its header's ``application_id``.
APPLICATION_ID = int.from_bytes(b"GLab")

#: SQLite numbers rows by itself only in a column declared exactly INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("library", Text, nullable=False),
    Column("seed", Text),  # digits: seeds of 128 bits are common, integers of a database have 64
    Column("config", Text, nullable=False),  # JSON object
    Column("started", Double, nullable=False),  # seconds since 1970, as every time here
    Column("last_seen", Double, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),  # grows at every change of the row
    sqlite_autoincrement=True,
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("run_id", _Id, ForeignKey("runs.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("time", Double, nullable=False),
    Column("probe", Text, nullable=False),
    Column("where", String(16), nullable=False),
    Column("cost", Double, nullable=False),  # seconds
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("notes", Text, nullable=False),  # JSON list of lines
    Index("measurements_of_a_probe", "run_id", "probe", "step"),
    sqlite_autoincrement=True,
)

series = Table(
    "series",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("objective", Text, nullable=False),
    Column("scale", String(16), nullable=False),
    UniqueConstraint("name", "reference", "objective", "scale"),
    sqlite_autoincrement=True,
)

scalars = Table(
    "scalars",
    metadata,
    Column("measurement_id", _Id, ForeignKey("measurements.id"), primary_key=True, autoincrement=False),
    Column("series_id", _Id, ForeignKey("series.id"), primary_key=True, autoincrement=False),
    Column("value", Double),  # NULL is NaN: SQLite cannot store one
    Column("stderr", Double),
    Column("low", Double),  # 95 % interval
    Column("high", Double),
    Column("samples", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

arrays = Table(
    "arrays",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("measurement_id", _Id, ForeignKey("measurements.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("label", Text),  # the DataArray's own name, which need not be the key it is stored under
    Column("dtype", String(32), nullable=False),  # numpy's, with byte order
    Column("shape", Text, nullable=False),  # JSON
    Column("dims", Text, nullable=False),  # JSON
    Column("coords", Text, nullable=False),  # JSON
    Column("attrs", Text, nullable=False),  # JSON
    Column("codec", String(16), nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("measurement_id", "name"),
    sqlite_autoincrement=True,
)

receipts = Table(
    "receipts",
    metadata,
    Column("token", String(64), primary_key=True),  # the writer's own: one measurement, however often it is sent
    Column("measurement_id", _Id, ForeignKey("measurements.id"), nullable=False),
    Index("receipts_of_a_measurement", "measurement_id"),
    sqlite_with_rowid=False,
)

tracebacks = Table(
    "tracebacks",
    metadata,
    Column("measurement_id", _Id, ForeignKey("measurements.id"), primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
)
