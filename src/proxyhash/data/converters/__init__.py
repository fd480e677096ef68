"""Data sets of the literature, each in the form it is distributed in: one file a form.

To add one, write a file with a `Converter` beside `wikipedia.py` and name it in `CONVERTERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.data.converters.arrays import ARRAYS, TEXT_LISTS
from proxyhash.data.converters.base import Converter, ConvertOptions
from proxyhash.data.converters.coco import COCO
from proxyhash.data.converters.iapr_tc12 import IAPR_TC12
from proxyhash.data.converters.mirflickr import MIRFLICKR
from proxyhash.data.converters.nus_wide import NUS_WIDE
from proxyhash.data.converters.wikipedia import WIKIPEDIA

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONVERTERS", "ConvertOptions", "Converter"]

CONVERTERS: Mapping[str, Converter] = {
    converter.name: converter
    for converter in (
        WIKIPEDIA,
        MIRFLICKR,
        NUS_WIDE,
        COCO,
        IAPR_TC12,
        TEXT_LISTS,
        ARRAYS,
    )
}
"""Every form of a data set that can be converted; the first that recognises a folder reads it."""
