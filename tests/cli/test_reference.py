"""docs/cli.md says what the command line declares."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    generate_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_cli)
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == generate_cli.render(), "docs/cli.md is stale: run `make docs`"
