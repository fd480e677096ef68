"""Where the real data and models lie, for the tests that measure on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["shared_path"]


def shared_path(name: str) -> Path:
    """Return `name` inside the shared folder, such as `data/flickr8k`, or skip the test.

    The folder is `$PROXYHASH_SHARED` where that is set, else `shared` beside the checkout.
    """
    beside = Path(__file__).resolve().parents[2] / "shared"
    root = Path(os.environ.get("PROXYHASH_SHARED") or beside)
    path = root / name
    if not path.exists():
        pytest.skip(f"needs {name} in the shared folder ($PROXYHASH_SHARED, or ../shared)")
    return path
