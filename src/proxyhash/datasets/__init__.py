"""Data sets of the literature in the form they are distributed in, and a generated one.

A converter is one file in `converters/` with a `register_converter(Converter(...))`; a package of
its own names its module under the entry-point group `proxyhash.converters`.
"""

from proxyhash.datasets.converter import (
    CONVERTERS,
    Converter,
    ConvertOptions,
    register_converter,
)

__all__ = ["CONVERTERS", "ConvertOptions", "Converter", "register_converter"]
