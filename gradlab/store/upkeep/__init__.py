"""What an owner does with a store: upgrade it."""

from gradlab.store.upkeep.upgrading import upgrade_store

__all__ = ["upgrade_store"]
