"""Where a machine keeps what can be fetched or made again."""

from __future__ import annotations

import os
from pathlib import Path


def node_cache() -> Path:
    """`$XDG_CACHE_HOME/weirdgen`, or `~/.cache/weirdgen`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "weirdgen"
