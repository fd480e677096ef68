"""Encoder around precomputed features: a file with one row per item."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.encoders.base import BatchEncoder, EncoderRequest, Features, register_encoder
from proxyhash.encoders.feature_file import FeatureTable, open_table
from proxyhash.encoders.folder import fingerprint_of, read_settings, write_settings
from proxyhash.errors import FeatureError, UsageError
from proxyhash.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection

__all__ = ["PrecomputedFeatures"]

logger = logging.getLogger(__name__)


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

    def rows(self, collection: Collection) -> Features:
        """Return the features of a collection's items, aligned with them.

        Raises:
            FeatureError: the file is missing, does not have one row per item of the manifest, or
                has values that are not finite.
        """
        table = open_table(_find(self.path, collection.root), key=self.key)
        if table.shape[1] != self.dim:
            raise FeatureError(
                f"{table.path} has features of length {table.shape[1]}; this model takes {self.dim}"
            )
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
    rows, items = table.shape[0], len(collection)
    if not table.has_ids:
        if rows != items:
            raise FeatureError(
                f"{table.path} has {rows} rows, but {collection.path} has {items} items; give one "
                "row per item in the manifest's order, or add an array `ids`"
            )
        return table.values()
    positions = {id_: row for row, id_ in enumerate(table.ids())}
    wanted = np.array([positions.get(id_, -1) for id_ in collection.ids], dtype=np.int64)
    if (wanted < 0).all():
        raise FeatureError(
            f"{table.path}: none of its {rows} ids is an item of {collection.path}; "
            f"the first is {next(iter(positions), '')!r}, the manifest's {collection.ids[0]!r}"
        )
    values = table.values()[wanted]
    values[wanted < 0] = np.nan
    return values


def _check_finite(
    values: NDArray[np.float32], partly: NDArray[np.bool_], table: FeatureTable
) -> None:
    for wrong, what in ((np.isinf(values), "infinite"), (partly, "partly NaN")):
        rows = np.flatnonzero(wrong.any(axis=1))
        if len(rows):
            raise FeatureError(
                f"{table.path}: {len(rows)} rows are {what}, the first for item {rows[0] + 1} of "
                "the manifest; a row must be finite, or all NaN where there are no features"
            )
