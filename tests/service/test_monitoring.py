"""The log of a service: JSON for programs, sentences for a person at a terminal."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from proxyhash.service.monitoring import log_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("proxyhash", "uvicorn")]
    before = [(each.handlers, each.level, each.propagate) for each in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_reads_warnings_and_a_program_everything(
    terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    log_for(terminal)
    logger = logging.getLogger("proxyhash.service")
    logger.info("request", extra={"status": 200})
    logger.warning("the disk is full\x1b[2J", extra={"free_mb": 3})
    lines = capsys.readouterr().err.splitlines()
    if terminal:
        assert lines == ["warning: the disk is full [2J (free_mb 3)"]
    else:
        assert [json.loads(line)["message"] for line in lines] == [
            "request",
            "the disk is full\x1b[2J",
        ]
