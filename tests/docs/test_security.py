"""The promises of SECURITY.md: each names tests, and these exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| ")][1:]
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", TEXT)))


def test_every_promise_names_its_tests() -> None:
    assert len(ROWS) >= 10
    assert [row[0] for row in ROWS if len(row) != 3 or "`tests/" not in row[2]] == []


@pytest.mark.parametrize("named", NAMED)
def test_what_is_named_is_a_test(named: str) -> None:
    path, _, name = named.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    start = rf"^(async )?def {name}\(" if name else r"^(async )?def test_"
    assert re.search(start, text, re.MULTILINE)
