"""For all tests: one thread each, since the tests themselves run on every core, and the longest ones first."""

import os

# Before numpy and torch are loaded; the programs that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Slow tests first, so that no core is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
