"""The Python of the docs runs, and prints what the docs say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [name for name in ("python.md", "extending.md") if (DOCS / name).is_file()]
BLOCK = re.compile(
    r"^```python\n(?:.*?)^```$(?:\n\n```text\n(?P<printed>.*?)^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs_and_prints_what_it_says(name: str, tmp_path: Path):
    page = DOCS / name
    expected = [found["printed"] or "" for found in BLOCK.finditer(page.read_text("utf-8"))]
    assert len(expected) > 3
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests" / "docs" / "run_page.py"), str(page)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
