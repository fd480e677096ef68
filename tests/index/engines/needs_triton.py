"""The mark of tests that need Triton, of which there are wheels for Linux alone."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None and not os.environ.get("PROXYHASH_REQUIRE_TRITON"),
    reason="Triton is not installed: pip install 'proxyhash[cuda]'",
)
