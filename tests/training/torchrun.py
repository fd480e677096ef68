"""Starts two processes as `torchrun` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["start_two", "workers"]


def start_two(*command: object) -> subprocess.Popen[str]:
    """Start `python -m COMMAND` in two processes, and return torchrun itself."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *torchrun, "-m", *map(str, command)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers(torchrun: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the two, that of process 0 first."""
    found = {}
    for child in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        for variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"RANK="):
                found[int(variable.removeprefix(b"RANK="))] = int(child)
    return [found[rank] for rank in sorted(found)]
