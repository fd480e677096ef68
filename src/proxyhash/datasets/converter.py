"""What a converter is: how one published data set is recognized and read."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from proxyhash.errors import UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxyhash.data.source import Source

__all__ = ["ConvertOptions", "Converter"]


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What the user may say about the files; None leaves it to the converter.

    Attributes:
        version: which of the versions that papers use, a key of `Converter.versions`.
        images: the folder that the images are in, where they lie apart from the other files.
        captions: `all` captions of an image as one text, or the `first` alone.
    """

    version: str | None = None
    images: Path | None = None
    captions: str | None = None


@dataclass(frozen=True, slots=True)
class Converter:
    """One data set, in one form that it is distributed in.

    Attributes:
        name: what `--kind` calls it.
        recognizes: whether a folder, or a file, is this data set; looks at names, reads little.
        read: reads it. A record's `image` is absolute, or relative to the data set's folder.
        expects: the files that it needs, for the message where nothing recognizes a folder.
        versions: what each value of `ConvertOptions.version` is, in words; the first is default.
        options: names of the other `ConvertOptions` that `read` heeds.
    """

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path, ConvertOptions], Source]
    expects: str
    versions: Mapping[str, str] = field(default_factory=dict)
    options: frozenset[str] = frozenset()

    def check(self, options: ConvertOptions) -> None:
        """Refuse what this data set has no use for.

        Raises:
            UsageError: "nus-wide has no option 'captions'", or the version is unknown.
        """
        for each in fields(options):
            if each.name == "version" or getattr(options, each.name) is None:
                continue
            if each.name not in self.options:
                raise UsageError(
                    f"{self.name} has no use for the option {each.name!r}; leave it out"
                )
        if options.version is not None:
            if not self.versions:
                raise UsageError(f"{self.name} has one version only; leave the option out")
            check_option("version", options.version, self.versions)
