"""From the files of a published data set to a manifest with features beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.data.manifest import read_collection
from proxyhash.data.wikipedia import is_wikipedia, read_wikipedia
from proxyhash.errors import DataError, check_option
from proxyhash.files import write_atomic, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxyhash.data.collection import Collection
    from proxyhash.data.source import Source

__all__ = ["CONVERTERS", "Conversion", "Converter", "convert_data_set", "write_manifest"]


@dataclass(frozen=True, slots=True)
class Converter:
    """One data set: how its folder is recognised and read."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path], Source]
    expects: str


CONVERTERS: Mapping[str, Converter] = {
    "wikipedia": Converter(
        is_wikipedia,
        read_wikipedia,
        expects="raw_features.mat, categories.list, trainset_txt_img_cat.list, "
        "testset_txt_img_cat.list",
    ),
}
"""Every data set that can be converted; a new one is a file beside `wikipedia.py` and a line."""


@dataclass(frozen=True)
class Conversion:
    """What was written: the collection as it reads back, and the feature file of each modality."""

    source: str
    collection: Collection
    features: Mapping[str, Path]


def convert_data_set(folder: Path | str, out: Path | str, *, kind: str | None = None) -> Conversion:
    """Write `items.jsonl` and one `MODALITY_features.npy` for each kind of features into `out`.

    Args:
        folder: the data set as it is distributed.
        out: folder that is written to, made where it is missing.
        kind: which of `CONVERTERS` reads it; by default the one that recognises the folder.

    Raises:
        DataError: no converter recognises the folder, or its files are bad.
        UsageError: `kind` is none of the converters.
    """
    folder, out = Path(folder), Path(out)
    source = _converter(folder, kind).read(folder)
    features: dict[str, Path] = {}
    for modality, values in source.features.items():
        features[modality] = out / f"{modality}_features.npy"
        with write_atomic(features[modality]) as temporary:
            np.save(temporary, values, allow_pickle=False)
    write_manifest(out / "items.jsonl", source.records)
    return Conversion(source.name, read_collection(out / "items.jsonl"), features)


def write_manifest(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    write_text(path, "\n".join(lines) + "\n")


def _converter(folder: Path, kind: str | None) -> Converter:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the one that holds the data set's files")
    if kind is not None:
        return CONVERTERS[check_option("kind", kind, CONVERTERS)]
    for converter in CONVERTERS.values():
        if converter.recognises(folder):
            return converter
    known = "; ".join(f"{name} ({each.expects})" for name, each in CONVERTERS.items())
    raise DataError(f"{folder} holds no data set that is known here; known are: {known}")
