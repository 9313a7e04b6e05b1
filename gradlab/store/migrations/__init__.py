"""From the tables of an older gradlab to those of this one: Alembic's revisions, one for each schema.

A revision is called after the schema it makes. What a store has is said by its own ``schema_version``, so that new
stores need not know of Alembic; its version table is written when a store is brought up to date, and follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update

from gradlab.store.schema import SCHEMA_VERSION, meta


def migrate(connection: Connection, version: int) -> None:
    """Brings the tables of a store from a schema to this gradlab's, inside the connection's transaction.

    Args:
        connection: in a transaction that writes.
        version: the schema the tables have.
    """
    # Alembic takes longer to load than most commands to run.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext, RevisionStep
    from alembic.script import ScriptDirectory

    revisions = ScriptDirectory(str(Path(__file__).parent))

    def steps(_: Sequence[str], context: MigrationContext) -> list[RevisionStep]:
        context.stamp(revisions, str(version))
        found: Any = revisions._upgrade_revs("head", str(version))
        return list(found)

    with EnvironmentContext(Config(), revisions, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
    connection.execute(update(meta).where(meta.c.key == "schema_version").values(value=str(SCHEMA_VERSION)))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
