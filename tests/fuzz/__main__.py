"""Damage many files and print the counts of how opening them ended, as a table."""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.fuzz.cases import SUBJECTS, run_cases


def main() -> int:
    """Run the cases and return 1 if any ended badly."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="in all; default 2000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="subjects whose names begin with this")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    subjects = [name for name in SUBJECTS if name.startswith(given.only)]
    each = -(-given.cases // len(subjects))
    bad: list[str] = []
    total: Counter[str] = Counter()
    for name in subjects:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            counts, wrong = run_cases(name, Path(folder), cases=each, seed=given.seed)
        bad += wrong
        total += counts
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        print(
            f"{name:22} {each:5} cases in {time.monotonic() - started:5.1f} s: {told}", flush=True
        )
    print(f"{total.total()} cases: {dict(total)}")
    for one in bad[:40]:
        print("-", one)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
