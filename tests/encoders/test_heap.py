"""Freed memory stays in the process: counted by the kernel, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys, threading
import numpy as np
from proxyhash.encoders.batches import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
    keep_freed_memory()

def work():
    for step in range(25):
        if step == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layers = [np.ones(9_000_000, np.uint8) for _ in range(5)]
        del layers
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(mode: str) -> int:
    """Pages that the kernel had to bring in while a thread took and freed 45 MB twenty times."""
    command = [sys.executable, "-c", _PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_is_not_asked_for_again() -> None:
    # Where the kernel hands out huge pages, there are few faults either way.
    assert faults("keep") < max(faults("leave") / 10, 1000)
