"""Keeping memory that encoding has used for the next batch."""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress
from functools import cache

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of glibc's malloc.h
_KEPT = 128 << 20
_LARGE = 32 << 20


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to 128 MiB that are free; once in a process, and on glibc alone.

    What lies between the layers of a network is some ten megabytes, freed after each layer. By
    default glibc gives such memory back to the system and asks for it again, page by page: with
    MobileNetV2 a quarter of the processor time. Blocks of more than 32 MiB still go back at once.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):  # then memory comes and goes as before
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
