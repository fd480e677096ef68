"""Converters, which recognize and read one published data set each, and their registry."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CONVERTERS",
    "ConvertOptions",
    "Converter",
    "Source",
    "converter_names",
    "register_converter",
]


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Options for reading the files; None leaves the choice to the converter.

    Attributes:
        version: which of the versions that papers use, a key of `Converter.versions`.
        images: the folder of the images, if they are apart from the other files.
        captions: `all` captions of an image as one text, or the `first` alone.
    """

    version: str | None = None
    images: Path | None = None
    captions: str | None = None


@dataclass(frozen=True)
class Source:
    """Records of a manifest, and the features that came with them.

    Attributes:
        name: the data set, and its version where there are several.
        records: one per item, with the keys of a manifest.
        features: float32 (n, d) by modality, rows aligned with the records.
        images: for images in arrays instead of files, yields them in the order of the records:
            uint8 (height, width, 3), RGB, one at a time in memory.
    """

    name: str
    records: tuple[Mapping[str, Any], ...]
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    images: Callable[[], Iterator[NDArray[np.uint8]]] | None = None

    def __post_init__(self) -> None:
        import numpy as np  # here, so that the help can name the converters without it

        for modality, values in self.features.items():
            if values.ndim != 2 or len(values) != len(self.records):
                raise DataError(
                    f"{self.name}: {modality} features have shape {values.shape} for "
                    f"{len(self.records):,} items; one row per item is expected"
                )
            if not np.isfinite(values).all():
                raise DataError(f"{self.name}: {modality} features hold NaN or infinity")


@dataclass(frozen=True, slots=True)
class Converter:
    """One data set, in one form that it is distributed in.

    Attributes:
        name: the name that `--kind` takes.
        recognizes: whether a folder, or a file, is this data set; looks at names, reads little.
        read: reads it. A record's `image` is absolute, or relative to the data set's folder.
        expects: the files that it needs, for the message if nothing recognizes a folder.
        versions: what each value of `ConvertOptions.version` is, in words; the first is default.
        options: names of the other `ConvertOptions` that `read` uses.
        fallback: whether it is a form rather than a data set, and tried after all others.
    """

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path, ConvertOptions], Source]
    expects: str
    versions: Mapping[str, str] = field(default_factory=dict)
    options: frozenset[str] = frozenset()
    fallback: bool = False

    def check(self, options: ConvertOptions) -> None:
        """Check that this data set has the given options.

        Raises:
            UsageError: "nus-wide has no option 'captions'", or the version is unknown.
        """
        for each in fields(options):
            if each.name == "version" or getattr(options, each.name) is None:
                continue
            if each.name not in self.options:
                raise UsageError(f"{self.name} has no option {each.name!r}; leave it out")
        if options.version is not None:
            if not self.versions:
                raise UsageError(f"{self.name} has only one version; leave the option out")
            check_option("version", options.version, self.versions)


CONVERTERS: Registry[Converter] = Registry(
    "kind", group="proxyhash.converters", modules=("proxyhash.datasets.converters.*",)
)
"""Every form of a data set that can be converted, by the name that `--kind` takes."""


def register_converter(converter: Converter) -> Converter:
    """Add a converter to `CONVERTERS` under its name and return it.

    Raises:
        ValueError: another converter has that name.
    """
    return CONVERTERS.add(converter.name, converter)


def converter_names() -> list[str]:
    """Return the names of all converters, sorted, without importing any.

    A converter's name is that of its file, with hyphens for underscores, or of its entry point.
    """
    package = find_spec("proxyhash.datasets.converters")
    folders = package.submodule_search_locations if package is not None else None
    files = [found.name.replace("_", "-") for found in iter_modules(folders)]
    return sorted({*files, *(entry.name for entry in entry_points(group=CONVERTERS.group))})
