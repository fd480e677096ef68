"""Tensors: safetensors files that are written atomically, and small sums on one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from threadpoolctl import threadpool_limits
from torch import Tensor

from proxyhash.errors import ModelError
from proxyhash.files import write_bytes

__all__ = ["one_thread", "read_tensors", "write_tensors"]


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str]
) -> None:
    """Write named tensors with string metadata."""
    # Copies: safetensors refuses tensors that share memory or are not contiguous.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # Not `save_file`, which reports a full disk as a format error.
    write_bytes(path, save(whole, metadata=dict(metadata)))


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file, on the CPU, and its metadata.

    Raises:
        ModelError: "networks.safetensors is missing ..." or "... is damaged ..."; names the path.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} is missing; copy the whole model folder or train the model again")
    try:
        with safe_open(path, framework="pt") as file:
            # The handle has `keys` but cannot be iterated.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} is damaged ({error}); copy it again from the original or train the model again"
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and numpy's BLAS to one thread inside the block (or decorated function).

    Sums are then always rounded the same way. It is faster, too: on a busy machine a small matrix
    product spread over threads waits for the slowest, which made codebooks ten times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
