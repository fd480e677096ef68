"""Encoder around precomputed features: a file with one row per item."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np

from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.encoders.base import BatchEncoder, EncoderRequest, Features, register_encoder
from proxyhash.encoders.feature_file import FeatureTable, open_table, release
from proxyhash.encoders.folder import fingerprint_of, read_settings, write_settings
from proxyhash.errors import FeatureError, UsageError
from proxyhash.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection

__all__ = ["PrecomputedFeatures"]

logger = logging.getLogger(__name__)

_Opened: TypeAlias = "tuple[FeatureTable, NDArray[np.float32], Mapping[str, int] | None]"

_LARGE_BYTES = 4_000_000_000
_BLOCK_ROWS = 1 << 14


@register_encoder
class PrecomputedFeatures(BatchEncoder):
    """Rows of a feature file, for collections whose features exist already.

    The rows are in the order of the manifest, or are found by id if the file has `ids`. A row of
    NaN, or an id that the file does not have, counts as absent; where the manifest names something
    of the modality, as unreadable.

    Attributes:
        path: the file as given: absolute, or relative to the working directory or else to the
            manifest's folder.
        key: the array in the file, None if it has only one.
        content: hex SHA-256 of the file.
    """

    kind: ClassVar[str] = "features"
    modalities: ClassVar[Names[Modality]] = MODALITIES
    cached: bool = False

    def __init__(
        self, path: Path, *, key: str | None, modality: Modality, dim: int, content: str
    ) -> None:
        self.path = path
        self.key = key
        self.modality = modality
        self.dim = dim
        self.content = content
        self.fingerprint = fingerprint_of(
            {"kind": self.kind, "content": content, "key": key, "dim": dim}, {}
        )
        self._open: tuple[object, _Opened] | None = None  # for `some_rows`
        self._warned: set[Path] = set()

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Read the header of PATH or PATH#KEY."""
        if not request.argument:
            raise UsageError('precomputed features need a file: "features:PATH" or "...:PATH#KEY"')
        path, key = _split(request.argument)
        root = request.collection.root if request.collection is not None else None
        return cls.from_file(path, key=key, modality=request.modality, root=root)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        key: str | None = None,
        modality: Modality,
        root: Path | None = None,
    ) -> Self:
        """Return the encoder around a feature file.

        Args:
            path: `.npy`, `.npz`, `.h5`, `.hdf5` or `.mat`.
            key: the array in the file.
            modality: the modality of the features.
            root: where a relative path is searched for if not in the working directory.

        Raises:
            FeatureError: the file cannot be read or has no such array.
        """
        path = Path(path)
        found = _find(path, root)
        table = open_table(found, key=key)
        return cls(path, key=key, modality=modality, dim=table.shape[1], content=sha256_file(found))

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the saved encoder; the feature file is not needed until rows are requested."""
        del device
        settings = read_settings(folder)
        return cls(
            Path(settings["path"]),
            key=settings["key"],
            modality=settings["modality"],
            dim=settings["dim"],
            content=settings["content"],
        )

    def save(self, folder: Path) -> None:
        """Write path, key and the file's hash as JSON; the features are not copied."""
        settings = {"path": self.path.as_posix(), "key": self.key, "content": self.content}
        write_settings(folder, self, settings)

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Refuse to encode: only a model can turn new items into features.

        Raises:
            UsageError: "... new items need features of their own".
        """
        del prepared
        raise UsageError(
            f"this model was trained on the precomputed {self.modality} features in {self.path} "
            "and cannot encode by itself: new items need features of their own, computed the same "
            "way, in a feature file beside their manifest or, in Python, passed to encode_features"
        )

    def mapped_rows(self, collection: Collection, *, in_memory: bool | None) -> Features | None:
        """Return the features as `rows` does, left in their file; rows of absent items are NaN.

        Args:
            collection: the items.
            in_memory: False for any `.npy` file of float32, None for those of 4 GB and more.

        Returns:
            None where they are to be read into memory.

        Raises:
            FeatureError: as `rows`; or `in_memory` is False and the file cannot be read as needed.
        """
        table = self._table(collection.root)
        size = table.path.stat().st_size
        if in_memory or (in_memory is None and size < _LARGE_BYTES):
            return None
        values = table.mapped()
        if values is None:
            if in_memory is None:
                return None
            raise FeatureError(
                f"{table.path} cannot stay on disk; that takes a .npy file of float32 in C order, "
                "as numpy.save writes it. Use --features-in-memory to read it into memory"
            )
        _check_count(table, collection)
        present = np.zeros(len(values), np.bool_)
        for start in range(0, len(values), _BLOCK_ROWS):
            block = np.asarray(values[start : start + _BLOCK_ROWS])
            unknown = np.isnan(block)
            has = np.logical_not(unknown.all(axis=1))
            _check_finite(block, unknown & has[:, None], table, first=start)
            present[start : start + len(block)] = has
            release(values)
        return Features(values, present, ~present & collection.has(self.modality))

    def check(self, collection: Collection) -> None:
        """Refuse a collection that the file does not belong to, before any of it is encoded.

        Raises:
            FeatureError: "FILE: none of its 9 ids is an item of MANIFEST; ...", or, without ids,
                "FILE has 9 rows, but MANIFEST has 10 items; ...".
        """
        table = self._table(collection.root)
        if not table.has_ids:
            _check_count(table, collection)
            return
        ids = table.ids()
        if len(collection) and set(ids).isdisjoint(collection.ids):
            raise FeatureError(_other_ids(table, ids, collection))

    def _table(self, root: Path | None) -> FeatureTable:
        table = open_table(_find(self.path, root), key=self.key)
        if table.shape[1] != self.dim:
            raise FeatureError(
                f"{table.path} has features of length {table.shape[1]}; this model takes {self.dim}"
            )
        return table

    def some_rows(
        self,
        ids: Sequence[str],
        positions: NDArray[np.int64],
        *,
        items: int,
        root: Path | None = None,
    ) -> Features:
        """Return the features of some items of a manifest, without reading others of a `.npy` file.

        Args:
            ids: of the items.
            positions: of the items in the manifest.
            items: number of items of the whole manifest.
            root: the manifest's folder.

        Raises:
            FeatureError: as `rows`.
        """
        table, values, places = self._opened(root, items)
        if places is not None:
            positions = np.array([places.get(id_, -1) for id_ in ids], dtype=np.int64)
        found = np.array(values[positions], dtype=np.float32)
        release(values)
        found[positions < 0] = np.nan
        unknown = np.isnan(found)
        present: NDArray[np.bool_] = np.logical_not(unknown.all(axis=1))
        first = int(positions[0]) if len(positions) else 0
        _check_finite(found, unknown & present[:, None], table, first=first)
        found[~present] = 0
        if len(ids) and not present.any() and table.path not in self._warned:
            self._warned.add(table.path)
            logger.warning(
                "%s has no %s features for any of %d items in a row, the first of them %r",
                *(table.path, self.modality, len(ids), ids[0]),
            )
        return Features(found, present, ~present)

    def _opened(self, root: Path | None, items: int) -> _Opened:
        """Return the file, its matrix and, where it has ids, the row of each; read once."""
        if self._open is None or self._open[0] != (root, items):
            table = self._table(root)
            if not table.has_ids and table.shape[0] != items:
                raise FeatureError(_other_count(table, items))
            mapped = table.mapped()
            values = table.values() if mapped is None else mapped
            places = {id_: row for row, id_ in enumerate(table.ids())} if table.has_ids else None
            self._open = (root, items), (table, values, places)
        return self._open[1]

    def rows(self, collection: Collection) -> Features:
        """Return the features of a collection's items, aligned with them.

        Raises:
            FeatureError: the file is missing, does not have one row per item of the manifest, or
                has values that are not finite.
        """
        table = self._table(collection.root)
        values = _aligned(table, collection)
        unknown = np.isnan(values)
        present: NDArray[np.bool_] = np.logical_not(unknown.all(axis=1))
        _check_finite(values, unknown & present[:, None], table)
        values[~present] = 0
        if not present.all():
            count = np.count_nonzero(~present)
            logger.warning("%s has no %s features for %d items", table.path, self.modality, count)
        return Features(values, present, ~present & collection.has(self.modality))


def _split(argument: str) -> tuple[Path, str | None]:
    """Split PATH#KEY; a path with a # of its own works if the file exists."""
    path, hash_, key = argument.rpartition("#")
    if not hash_ or Path(argument).is_file():
        return Path(argument), None
    return Path(path), key


def _find(path: Path, root: Path | None) -> Path:
    path = path.expanduser()
    if path.is_absolute() or path.exists() or root is None:
        return path
    beside = root / path
    if not beside.exists():
        raise FeatureError(f"{path}: no such file, neither here nor in {root}")
    return beside


def _aligned(table: FeatureTable, collection: Collection) -> NDArray[np.float32]:
    """Return the rows in the collection's order, NaN where the file has none."""
    if not table.has_ids:
        _check_count(table, collection)
        return table.values()
    positions = {id_: row for row, id_ in enumerate(table.ids())}
    wanted = np.array([positions.get(id_, -1) for id_ in collection.ids], dtype=np.int64)
    if len(wanted) and (wanted < 0).all():
        raise FeatureError(_other_ids(table, [*positions], collection))
    values = table.values()[wanted]
    values[wanted < 0] = np.nan
    return values


def _other_ids(table: FeatureTable, ids: Sequence[str], collection: Collection) -> str:
    return (
        f"{table.path}: none of its {table.shape[0]} ids is an item of {collection.path}; "
        f"the first is {next(iter(ids), '')!r}, the manifest's {collection.ids[0]!r}; "
        "write `ids` as the manifest has them"
    )


def _check_count(table: FeatureTable, collection: Collection) -> None:
    if table.shape[0] != len(collection):
        raise FeatureError(_other_count(table, len(collection), f"{collection.path}"))


def _other_count(table: FeatureTable, items: int, manifest: str = "the manifest") -> str:
    return (
        f"{table.path} has {table.shape[0]} rows, but {manifest} has {items} items; give one "
        "row per item in the manifest's order, or add an array `ids`"
    )


def _check_finite(
    values: NDArray[np.float32],
    partly: NDArray[np.bool_],
    table: FeatureTable,
    *,
    first: int = 0,
) -> None:
    for wrong, what in ((np.isinf(values), "infinite"), (partly, "partly NaN")):
        rows = np.flatnonzero(wrong.any(axis=1))
        if len(rows):
            raise FeatureError(
                f"{table.path}: {len(rows)} rows are {what}, the first for item "
                f"{first + rows[0] + 1} of the manifest; a row must be finite, or all NaN where "
                "there are no features"
            )
