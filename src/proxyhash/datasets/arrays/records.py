"""Records of a manifest from items in arrays."""

from __future__ import annotations

import re
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.datasets.arrays.tables import label_names
from proxyhash.datasets.converter import Source
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from proxyhash.datasets.arrays.items import Items

__all__ = ["find_images", "source_of"]

_TRIED = 5  # of the first names, when the folder in front of them is looked for
_FILE_NAME = re.compile(r"\w[\w.-]*")


def source_of(
    folder: Path,
    blocks: Sequence[Items],
    images: Path | None,
    notes: Sequence[str],
    *,
    form: str,
    first_only: bool = False,
) -> Source:
    """Return the items of all blocks, one after the other, as records with features beside them.

    An item's id is the stem of its image's name where those are all different, else its number,
    from 1. Names of images that are not there are kept as payload, `file`, where the items have
    something else to go by.

    Args:
        folder: the data set's.
        blocks: items; all of one form.
        images: where images are looked for first.
        notes: what had to be decided on the way; they end up in the source's name.
        form: what the files are, in words; the source's name begins with it.
        first_only: whether the first sentence of each text is taken, and not all of them.

    Raises:
        DataError: labels do not fit together, or the images that items need are not there.
    """
    columns = {block.columns for block in blocks}
    if len(columns) > 1:
        raise DataError(
            f"{folder}: the labels of its parts have {' or '.join(map(str, sorted(columns)))} "
            "columns; are they of one data set?"
        )
    numbers = [each for block in blocks for each in block.labels]
    labels = label_names(folder, numbers, columns=columns.pop())
    features = {
        modality: np.concatenate([block.features[modality] for block in blocks])
        for modality in sorted(blocks[0].features)
    }
    arrays = [block.images for block in blocks if block.images is not None]
    names = _chained([block.names for block in blocks])
    found = _files(folder, names, images, needed=not arrays and "image" not in features)
    texts = _chained([block.texts for block in blocks])
    splits = list(chain.from_iterable(block.splits for block in blocks))
    records: list[dict[str, Any]] = []
    for position, (id_, split) in enumerate(zip(_ids(names, len(splits)), splits, strict=True)):
        record: dict[str, Any] = {"id": id_, "labels": labels[position]}
        if split is not None:
            record["split"] = split
        if texts is not None:
            record["text"] = " ".join(texts[position][: 1 if first_only else None])
        if found is not None and not arrays:
            record["image"] = found[position].as_posix()
        elif names is not None:
            record["file"] = names[position]
        records.append(record)
    return Source(
        name=_describe(form, features, notes, images=bool(arrays)),
        records=tuple(records),
        features=features,
        images=(lambda: chain.from_iterable(arrays)) if arrays else None,
    )


def _chained(blocks: Sequence[list[Any] | None]) -> list[Any] | None:
    known = [block for block in blocks if block is not None]
    return list(chain.from_iterable(known)) if known else None


def _ids(names: list[str] | None, count: int) -> Iterator[str]:
    stems = [PurePosixPath(name.replace("\\", "/")).stem for name in names or ()]
    if stems and len(set(stems)) == count and all(map(_FILE_NAME.fullmatch, stems)):
        return iter(stems)
    width = len(str(count))
    return (f"{number:0{width}d}" for number in range(1, count + 1))


def _files(
    folder: Path, names: list[str] | None, images: Path | None, *, needed: bool
) -> list[Path] | None:
    if names is None:
        return None
    folder = folder.resolve()
    here = [folder, folder / "images", Path(folder.anchor)]  # the last for paths that are absolute
    folders = here if images is None else [images.resolve()]
    found = find_images(names, folders)
    if found is None and (needed or images is not None):
        raise DataError(
            f"{folders[0]} has no image {names[0]!r}, with or without its leading folders; give "
            "the folder of the images with --images"
        )
    return found


def _describe(
    form: str, features: dict[str, NDArray[np.float32]], notes: Sequence[str], *, images: bool
) -> str:
    """Return the contents in words, by which versions of a data set can be told apart."""
    told = ["images"] if images else []
    told += [f"{values.shape[1]:,} {modality} features" for modality, values in features.items()]
    return "; ".join([f"{form} with {' and '.join(told)}" if told else form, *notes])


def find_images(names: Sequence[str], folders: Sequence[Path]) -> list[Path] | None:
    """Return the file that each name means, None where there are none of them.

    Lists often begin with a folder of the machine they were made on. So much is left out in front
    as it takes for one of the first images to be there, and the same for all of them; the first
    of `folders` where that works holds them.
    """
    parts = [PurePosixPath(name.replace("\\", "/")).parts for name in names]
    for folder in folders:
        for first in islice(parts, _TRIED):
            for dropped in range(len(first)):
                if first[dropped] != "/" and folder.joinpath(*first[dropped:]).is_file():
                    return [folder.joinpath(*_dropped(each, dropped)) for each in parts]
    return None


def _dropped(parts: tuple[str, ...], count: int) -> tuple[str, ...]:
    return parts[min(count, len(parts) - 1) :]
