"""Data sets of the literature, each in the form it is distributed in: one file a form.

To add one, write a file with a `Converter` beside `wikipedia.py` and name it in `CONVERTERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.datasets.arrays import ARRAYS, TEXT_LISTS
from proxyhash.datasets.coco import COCO
from proxyhash.datasets.converter import Converter, ConvertOptions
from proxyhash.datasets.iapr_tc12 import IAPR_TC12
from proxyhash.datasets.mirflickr import MIRFLICKR
from proxyhash.datasets.nus_wide import NUS_WIDE
from proxyhash.datasets.wikipedia import WIKIPEDIA

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
"""Every form of a data set that can be converted; the first that recognizes a folder reads it."""
