"""The numbers a database gives rows, where rows bring numbers along."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select, text

_SEQUENCE = "pg_get_serial_sequence(:name, 'id')"


def next_id(connection: Connection, table: Table) -> int:
    """A number that no row of the table has or had, nor any higher one; to be asked by the one whose turn it is."""
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.execute(query, {"name": table.name}).scalar() or 0) + 1
    return int(connection.execute(text(f"SELECT nextval({_SEQUENCE})"), {"name": table.name}).scalar_one())


def count_on(connection: Connection, table: Table) -> None:
    """Has the database go on behind the largest number; SQLite does by itself, PostgreSQL has to be told."""
    if connection.dialect.name == "sqlite":
        return
    largest = connection.execute(select(func.max(table.c.id))).scalar() or 0
    if next_id(connection, table) < largest:
        connection.execute(text(f"SELECT setval({_SEQUENCE}, :largest)"), {"name": table.name, "largest": largest})
