"""Keeping Python's garbage collector away from what lives as long as the service."""

from __future__ import annotations

import gc

__all__ = ["settle"]


def settle() -> None:
    """Leave all objects that are alive now out of later collections.

    Models and libraries are half a million objects; looking through them again and again takes a
    twentieth of the time in which images are encoded. What went out of use since the last call is
    collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
