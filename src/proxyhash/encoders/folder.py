"""Folder of a saved encoder: `encoder.json`, and safetensors files for arrays.

`encoder.json` has kind, format, modality, dim and fingerprint, then the encoder's own settings.
It is written last, so a folder that has it is complete.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError, ModelError
from proxyhash.files import read_json, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.encoders.base import BatchEncoder

__all__ = [
    "COPY_AGAIN",
    "FORMAT",
    "MANIFEST_NAME",
    "fingerprint_of",
    "read_arrays",
    "read_settings",
    "write_arrays",
    "write_settings",
]

COPY_AGAIN = (
    "copy the whole folder of the run or model again from the original, or train it again "
    "(`proxyhash train --overwrite`)"
)
"""Next step where a file of a saved encoder cannot be read; a clause."""
FORMAT = 1
MANIFEST_NAME = "encoder.json"


def write_settings(folder: Path, encoder: BatchEncoder, settings: Mapping[str, Any]) -> None:
    """Write `encoder.json`."""
    head = {
        "kind": encoder.kind,
        "format": FORMAT,
        "modality": encoder.modality,
        "dim": encoder.dim,
        "fingerprint": encoder.fingerprint,
    }
    write_json(folder / MANIFEST_NAME, {**head, **settings})


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of `encoder.json`.

    Raises:
        ModelError: "FOLDER is not a saved encoder: ...", or it was written by a newer version.
    """
    try:
        settings = read_json(folder / MANIFEST_NAME)
    except DataError as error:
        raise ModelError(f"{folder} is not a saved encoder: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
        raise ModelError(f"{folder / MANIFEST_NAME} does not say which kind of encoder it is")
    if settings.get("format") != FORMAT:
        raise ModelError(
            f"{folder / MANIFEST_NAME} has format {settings.get('format')!r}; this version reads "
            f"format {FORMAT}: upgrade proxyhash"
        )
    return settings


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as safetensors; float32 is stored as float16 where that is exact."""
    from safetensors.numpy import save

    compact = {name: np.require(_halved(array), requirements="C") for name, array in arrays.items()}
    write_bytes(path, save(compact))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays that `write_arrays` wrote, float16 converted back to float32.

    Raises:
        ModelError: "PATH is missing ..." or "... is damaged ..."; says what to do.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; {COPY_AGAIN}") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); {COPY_AGAIN}") from error
    return {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in arrays.items()
    }


def fingerprint_of(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a hex SHA-256 over JSON settings and arrays with their names, types and shapes.

    The arrays are hashed as they are in memory, independent of how a file stores them.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _halved(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array
