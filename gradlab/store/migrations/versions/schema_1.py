"""Schema 1: the tables of the first stores, as they were made; there is nothing to come from."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing: no store is older."""
