"""Data sets of the literature, each in the form it is distributed in: one file a form.

To add one, write a file with a `Converter` beside `wikipedia.py` and name it in `CONVERTERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.data.converters.base import Converter, ConvertOptions
from proxyhash.data.converters.wikipedia import WIKIPEDIA

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONVERTERS", "ConvertOptions", "Converter"]

CONVERTERS: Mapping[str, Converter] = {converter.name: converter for converter in (WIKIPEDIA,)}
"""Every form of a data set that can be converted; the first that recognises a folder reads it."""
