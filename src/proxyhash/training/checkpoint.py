"""One checkpoint is one file: tensors as safetensors, and a few numbers as JSON in its header.

One rename makes a checkpoint complete, so there is no moment in which weights and epoch disagree.
Nothing is pickled.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from proxyhash.errors import ModelError
from proxyhash.networks.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["read_checkpoint", "write_checkpoint"]

FORMAT = 1


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and numbers atomically."""
    text = json.dumps({"format": FORMAT, **numbers}, allow_nan=False)
    write_tensors(path, tensors, metadata={"numbers": text})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and numbers of a checkpoint.

    Raises:
        ModelError: the file is missing, damaged, or of another format.
    """
    tensors, metadata = read_tensors(path)
    try:
        numbers = json.loads(metadata["numbers"])
        found = numbers["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no checkpoint; train into a new folder") from error
    if found != FORMAT:
        raise ModelError(f"checkpoint {path} has format {found!r}; this version reads {FORMAT}")
    return tensors, numbers
