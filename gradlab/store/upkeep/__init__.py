"""What an owner does with a store: look how large it is, upgrade, copy, prune and vacuum it."""

from gradlab.store.upkeep.copying import Copied, copy_runs
from gradlab.store.upkeep.pruning import Pruned, prune_arrays, prune_runs
from gradlab.store.upkeep.sizes import RunSize, StoreSize, store_size
from gradlab.store.upkeep.upgrading import upgrade_store
from gradlab.store.upkeep.vacuuming import vacuum_store

__all__ = [
    "Copied",
    "Pruned",
    "RunSize",
    "StoreSize",
    "copy_runs",
    "prune_arrays",
    "prune_runs",
    "store_size",
    "upgrade_store",
    "vacuum_store",
]
