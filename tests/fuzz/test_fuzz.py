"""Damaged and crafted files end in an answer that is right, or in a sentence; never in a signal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.cases import SUBJECTS, run_cases
from tests.fuzz.forked import run_forked

if TYPE_CHECKING:
    from pathlib import Path

THOROUGH = os.environ.get("PROXYHASH_THOROUGH") == "1"
FEW = ("engine multi_index 96", "engine auto clustered")
"""What the suite tries without PROXYHASH_THOROUGH."""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", SUBJECTS if THOROUGH else FEW)
def test_damaged_files_are_survived(name: str, tmp_path: Path) -> None:
    counts, bad = run_cases(name, tmp_path, cases=40 if THOROUGH else 8, seed=1)
    assert not bad, "\n".join(bad)
    assert counts.total() > 0


def test_ways_to_end_are_told_apart() -> None:
    def fail() -> str:
        raise AssertionError("7, not 9")

    assert run_forked(lambda: "fine") == "fine"
    assert run_forked(fail) == "wrong 7, not 9"
    assert run_forked(lambda: str(1 // 0)).startswith("unexpected Traceback")
    assert run_forked(lambda: str(os.kill(os.getpid(), 9))) == "signal 9"
    assert run_forked(lambda: os.read(os.pipe()[0], 1).decode(), seconds=0.1) == "hang"
