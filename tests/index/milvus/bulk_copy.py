"""Copies a folder to Milvus in a process that a test can interrupt: bulk_copy.py SOURCE TARGET."""

from __future__ import annotations

import sys

from proxyhash.index.copy import copy_between

if __name__ == "__main__":
    report = copy_between(sys.argv[1], sys.argv[2], batch=1_000, target_options={"patience": 300})
    sys.stdout.write(f"{report.items} {report.written}\n")
