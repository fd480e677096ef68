"""The table of docs/methods.md has the card of every method of this package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from proxyhash.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_methods", DOCS / "generate_methods.py")
    assert spec is not None
    assert spec.loader is not None
    generate_methods = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_methods)
    written = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert written == generate_methods.render(written), "docs/methods.md is stale: run `make docs`"
    own = [name for name, method in METHODS.items() if method.__module__.startswith("proxyhash.")]
    assert len(own) >= 12
    for name in own:
        assert f"\n| `{name}` | " in written
