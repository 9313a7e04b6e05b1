"""For all tests: one thread each, since the tests themselves run on every core, and the longest ones first."""

import importlib.util
import os
import sys
from pathlib import Path

# Before numpy and torch are loaded; the programs that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Slow tests first, so that no core is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def skrl_runs():
    """The module ``skrl_runs.py`` beside this file: small skrl models, agents and runs."""
    spec = importlib.util.spec_from_file_location("skrl_runs", Path(__file__).with_name("skrl_runs.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["skrl_runs"] = module
    spec.loader.exec_module(module)
    return module
