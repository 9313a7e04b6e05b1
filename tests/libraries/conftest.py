"""Libraries that need an environment of their own: the folder of one that is not installed here is not collected.

A folder has the name of the library's package, but for those in ``PACKAGES``. ``make test-library`` names one folder,
and pytest fails where it collects nothing.
"""

import importlib.util
from pathlib import Path

#: Of Ray's parts dm-tree comes with RLlib alone; Ray itself is there for its clusters.
PACKAGES = {"rllib": "tree"}

collect_ignore = [
    folder.name
    for folder in Path(__file__).parent.iterdir()
    if folder.is_dir() and importlib.util.find_spec(PACKAGES.get(folder.name, folder.name)) is None
]
