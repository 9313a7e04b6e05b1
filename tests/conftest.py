"""For all tests: one thread each, since the tests themselves run on every core, and the longest ones first."""

import importlib.util
import os
import shutil
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


def _beside(name):
    """A module beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def skrl_runs():
    """The module ``skrl_runs.py``: small skrl models, agents and runs."""
    return _beside("skrl_runs")


_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is; tests that need it are skipped without one, unless it is required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("GRADLAB_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium on PATH, and GRADLAB_REQUIRE_BROWSER=1; install Debian's chromium")
        pytest.skip("no Chromium on PATH; install Debian's chromium to run the browser tests")
    return found


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of this process's own; tests of it are skipped without one, unless it is required."""
    module = _beside("postgres_server")
    found = module.programs()
    if found is None:
        if os.environ.get("GRADLAB_REQUIRE_POSTGRES") == "1":
            pytest.fail("no PostgreSQL, and GRADLAB_REQUIRE_POSTGRES=1; install Debian's postgresql")
        pytest.skip("no PostgreSQL; install Debian's postgresql to run the tests of stores in it")
    pytest.importorskip("psycopg")
    server = module.PostgresServer(found)
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser(chromium):
    """Chromium; one for all tests of a process, since two at once are more than playwright allows."""
    playwright = pytest.importorskip("playwright.sync_api")
    # Now, while nobody is served: plotly's encoder trips over one that another thread has half imported.
    pytest.importorskip("PIL.Image")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield running
        running.close()
