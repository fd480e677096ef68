"""Reader of Parquet tables, through pyarrow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proxyhash.data.readers.base import Record, Records, register_reader
from proxyhash.errors import ManifestError, require_extra

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_parquet"]

_BATCH_ROWS = 1024  # rows converted to Python objects at a time


@register_reader(
    "parquet",
    suffixes=(".parquet", ".pq"),
    example="columns id (string or integer), image (string), text (string), labels (list<string>)",
)
def read_parquet(path: Path) -> Records:
    """Yield one record per row, counted from 1; nulls are missing values.

    The payload keeps JSON values; dates and the like become strings, binary values are dropped.

    Raises:
        ManifestError: the file is not Parquet.
        MissingExtraError: "reading Parquet needs pyarrow: pip install 'proxyhash[formats]'".
    """
    pyarrow = require_extra("pyarrow", extra="formats", purpose="reading Parquet")
    parquet = require_extra("pyarrow.parquet", extra="formats", purpose="reading Parquet")
    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    row += 1
                    yield Record(row, _plain_row(values))
    except (OSError, pyarrow.ArrowException) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from error


def _plain_row(values: Mapping[str, Any]) -> dict[str, object]:
    return {
        key: _plain(value)
        for key, value in values.items()
        if value is not None and not isinstance(value, bytes)
    }


def _plain(value: Any) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value)
