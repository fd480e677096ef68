"""docs/methods.md has a row for every method of this package."""

from __future__ import annotations

import re
from pathlib import Path

from proxyhash.methods import METHODS


def test_every_method_has_a_row():
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w-]+)` \|", text, flags=re.MULTILINE))
    own = {name for name, method in METHODS.items() if method.__module__.startswith("proxyhash.")}
    assert own <= rows
