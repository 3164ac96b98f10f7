"""The folder for what this machine has fetched or built once: `${XDG_CACHE_HOME:-~/.cache}/nemostack/`."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Where cached things live; not created by this call."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "nemostack"
