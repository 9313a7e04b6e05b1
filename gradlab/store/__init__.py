"""The store: runs and their measurements, append-only, in SQLite or any database SQLAlchemy speaks."""
