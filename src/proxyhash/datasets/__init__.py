"""Data sets of the literature in the form they are distributed in, and a generated one.

A converter is one file in `converters/` of the same name that calls `register_converter`; another
package names its module under the entry-point group `proxyhash.converters`.
"""

from proxyhash.datasets.converter import (
    CONVERTERS,
    Converter,
    ConvertOptions,
    converter_names,
    register_converter,
)

__all__ = ["CONVERTERS", "ConvertOptions", "Converter", "converter_names", "register_converter"]
