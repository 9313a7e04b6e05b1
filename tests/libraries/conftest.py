"""Libraries that need an environment of their own: the folder of one that is not installed here is not collected.

A folder has the name of the library's package. ``make test-library`` names one folder, and pytest fails where it
collects nothing.
"""

import importlib.util
from pathlib import Path

collect_ignore = [
    folder.name
    for folder in Path(__file__).parent.iterdir()
    if folder.is_dir() and importlib.util.find_spec(folder.name) is None
]
