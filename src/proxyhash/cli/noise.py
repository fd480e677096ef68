"""Keeping the libraries underneath quiet, so that stderr holds only what a user can act on."""

import logging
import os
import sys
import warnings

from proxyhash.cli import console

__all__ = ["DEBUG_VARIABLE", "debugging", "quieten"]

DEBUG_VARIABLE = "PROXYHASH_DEBUG"
"""Set by `--debug`; an environment variable, so that worker processes see it too."""


def debugging() -> bool:
    """Whether tracebacks, warnings and debug messages are wanted."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def quieten() -> None:
    """Show this package's warnings as notes, and hide the chatter of other libraries.

    With `--debug` everything is shown. Filters given by the user (`python -W`, PYTHONWARNINGS)
    and variables that are already set are left as they are.
    """
    logger = logging.getLogger("proxyhash")
    logger.handlers = [_NoteHandler()]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debugging() else logging.WARNING)
    if debugging():
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.note(self.format(record))
