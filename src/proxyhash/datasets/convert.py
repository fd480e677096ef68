"""Converting the files of a published data set to a manifest with feature files beside it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from proxyhash.data.manifest import read_collection
from proxyhash.datasets import CONVERTERS, Converter, ConvertOptions
from proxyhash.errors import DataError
from proxyhash.files import naming_full_disk, write_atomic, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from proxyhash.data.collection import Collection
    from proxyhash.datasets.converter import Source

__all__ = ["Conversion", "convert_data_set", "write_manifest"]

_COMPRESSION = 3  # of PNG: photographs take under half the time of the default, for 3 % more bytes

_RENAMED = {"labelled": "labeled", "unlabelled": "unlabeled"}
"""Versions by the names that they had in release 0.1."""


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: the collection, and the feature file of each modality."""

    source: str
    collection: Collection
    features: Mapping[str, Path]


def convert_data_set(
    path: Path | str,
    out: Path | str,
    *,
    kind: str | None = None,
    options: ConvertOptions | None = None,
) -> Conversion:
    """Write `items.jsonl` and one `MODALITY_features.npy` for each kind of features into `out`.

    Image files stay where they are: the manifest names each by its path relative to `out`.
    Images in an array are written to `out/images` as PNG, which keeps every value.

    Args:
        path: the data set as it is distributed, a folder or a file.
        out: folder to write to, created if missing.
        kind: a name in `CONVERTERS`; auto-detected by default.
        options: which version of the data set, and the like; see `ConvertOptions`.

    Raises:
        DataError: no converter recognizes the files, or they are bad.
        UsageError: there is no converter `kind`, or the data set has no such option.
    """
    path, out, options = Path(path), Path(out), options or ConvertOptions()
    converter = _converter(path, kind)
    options = replace(options, version=_RENAMED.get(options.version or "", options.version))
    converter.check(options)
    source = converter.read(path, options)
    records = source.records if source.images is None else _write_images(source, out)
    features: dict[str, Path] = {}
    for modality, values in source.features.items():
        features[modality] = out / f"{modality}_features.npy"
        with write_atomic(features[modality]) as temporary:
            np.save(temporary, values, allow_pickle=False)
    root = path if path.is_dir() else path.parent
    write_manifest(out / "items.jsonl", _with_image_paths(records, root, out))
    return Conversion(source.name, read_collection(out / "items.jsonl"), features)


def write_manifest(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    write_text(path, "\n".join(lines) + "\n")


def _write_images(source: Source, out: Path) -> Iterable[Mapping[str, Any]]:
    """Write each image under its item's id; return the records that name them."""
    assert source.images is not None
    folder = out.resolve() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for record, values in zip(source.records, source.images(), strict=True):
        image = folder / f"{record['id']}.png"
        with naming_full_disk(image):
            Image.fromarray(values).save(image, compress_level=_COMPRESSION)
        records.append({**record, "image": image.as_posix()})
    return records


def _with_image_paths(
    records: Iterable[Mapping[str, Any]], root: Path, out: Path
) -> Iterator[Mapping[str, Any]]:
    """Yield the records with each image's path relative to `out`, links in either resolved.

    It is absolute if there is no relative path, as between two drives of Windows.
    """
    root, out = root.resolve(), out.resolve()
    for record in records:
        if record.get("image") is None:
            yield record
            continue
        image = root / record["image"]
        with suppress(ValueError):
            image = Path(os.path.relpath(image, out))
        yield {**record, "image": image.as_posix()}


def _converter(path: Path, kind: str | None) -> Converter:
    if not path.exists():
        raise DataError(f"{path} does not exist; give the folder of the data set's files")
    if kind is not None:
        return CONVERTERS[kind]
    every = sorted((each for _, each in CONVERTERS.items()), key=lambda each: each.fallback)
    for converter in every:
        if converter.recognizes(path):
            return converter
    known = "".join(f"\n  {each.name}: {each.expects}" for each in every)
    raise DataError(f"{path} is not a known data set; known are{known}")
