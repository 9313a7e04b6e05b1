"""For the tests of the probes: a spool of their own, and the short training run that faults are injected into."""

import sys
from pathlib import Path

import pytest

# The background process must find the classes of the training run, too.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def spool(tmp_path_factory, monkeypatch):
    """No test leaves anything in the user's own."""
    root = tmp_path_factory.mktemp("spool")
    monkeypatch.setenv("GRADLAB_SPOOL", str(root))
    return root


@pytest.fixture
def records():
    """What a store holds, in a form that two stores can be compared by."""
    from stored_records import records

    return records
