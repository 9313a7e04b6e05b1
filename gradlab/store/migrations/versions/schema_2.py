"""Schema 2: every store has receipts and tracebacks, and receipts are found by their measurement.

Stores of schema 1 got the two tables when they were next written to, so that some have them. Without the index, each
measurement that is removed would be looked for in all receipts.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Text, inspect

revision = "2"
down_revision = "1"

_ID = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Makes what is lacking."""
    there = inspect(op.get_bind()).get_table_names()
    if "receipts" not in there:
        op.create_table(
            "receipts",
            Column("token", String(64), primary_key=True),
            Column("measurement_id", _ID, ForeignKey("measurements.id"), nullable=False),
            sqlite_with_rowid=False,
        )
    if "tracebacks" not in there:
        op.create_table(
            "tracebacks",
            Column("measurement_id", _ID, ForeignKey("measurements.id"), primary_key=True, autoincrement=False),
            Column("text", Text, nullable=False),
        )
    op.create_index("receipts_of_a_measurement", "receipts", ["measurement_id"])
