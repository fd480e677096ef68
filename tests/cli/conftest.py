"""What tests of the command line need beside `proxyhash_command`: real processes, clean-up."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROXYHASH = Path(sys.executable).parent / "proxyhash"
"""The installed command, beside the interpreter that runs the tests."""


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """Undo what a command sets for its whole process: environment and logging."""
    logger = logging.getLogger("proxyhash")
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    environment = dict(os.environ)
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture(scope="session")
def proxyhash_process() -> Callable[..., CommandResult]:
    """A function that runs `proxyhash ARGUMENTS...` as a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> CommandResult:
        done = subprocess.run(
            [PROXYHASH, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=cwd,
            env=os.environ | {"COLUMNS": "100"} | environment,
        )
        return CommandResult(code=done.returncode, out=done.stdout, err=done.stderr)

    return run
