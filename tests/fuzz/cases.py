"""The subjects of the fuzzer, and how a number of cases of one of them is run."""

from __future__ import annotations

import zlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tests.fuzz.code_files import CodeFiles
from tests.fuzz.engines import KINDS, EngineFiles
from tests.fuzz.folders import IndexHeaders, ModelFolders
from tests.fuzz.forked import BAD, run_forked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["SUBJECTS", "run_cases"]


class Subject(Protocol):
    """Files that are damaged and then opened, case after case."""

    def damage(self, rng: np.random.Generator) -> str: ...
    def open(self) -> str: ...


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    **{f"engine {kind}": partial(EngineFiles, kind) for kind in KINDS},
    "code file": CodeFiles,
    "model folder": ModelFolders,
    "index header": IndexHeaders,
}


def run_cases(
    name: str, folder: Path, *, cases: int, seed: int = 0
) -> tuple[Counter[str], list[str]]:
    """Return how often each outcome came, and a line for each case that ended badly."""
    subject = SUBJECTS[name](folder)
    counts: Counter[str] = Counter()
    bad = []
    for case in range(cases):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), case])
        how = subject.damage(rng)
        outcome = run_forked(subject.open)
        word = outcome.split(" ", 1)[0]
        if word in BAD:
            bad.append(f"{name}, seed {seed}, case {case}, {how}: {outcome}")
            counts[outcome if word == "signal" else word] += 1
        else:
            counts[outcome] += 1
    return counts, bad
