"""Proxies: one binary code per class, a target for the codes of its items."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Int8

from proxyhash.errors import ModelError, UsageError
from proxyhash.networks.tensors import read_tensors, write_tensors

__all__ = ["Proxies", "check_capacity", "pairwise_distances"]


def pairwise_distances(codes: Int8[np.ndarray, "c k"]) -> Int[np.ndarray, "c c"]:
    """Return the Hamming distances between the rows of a matrix of -1 and +1.

    Peak memory: 8 bytes per pair.
    """
    # Sums of up to 2^24 products of signs are exact in float32, and BLAS has no int8.
    signs = codes.astype(np.float32)
    distances: np.ndarray = (codes.shape[1] - signs @ signs.T) / 2
    return distances.astype(np.int32)


def check_capacity(classes: int, bits: int) -> None:
    """Check that `classes` different codes of `bits` bits exist.

    Raises:
        UsageError: "300 classes do not fit in 8 bits (at most 256 codes); use more bits".
    """
    if classes < 1 or bits < 1:
        raise UsageError(
            f"proxies for {classes} classes of {bits} bits were requested; "
            "both numbers must be at least 1"
        )
    if bits < 63 and classes > 2**bits:
        raise UsageError(
            f"{classes} classes do not fit in {bits} bits (at most {2**bits} codes); use more bits"
        )


@dataclass(frozen=True, eq=False)
class Proxies:
    """The codes of C classes.

    Attributes:
        codes: (C, K) of -1 and +1, int8; row c belongs to class c of the model.
        origin: how they were made: "phnet", "hadamard", "kerdock", "linear", "bch", "search",
            or a name of the method that made them.
    """

    codes: Int8[np.ndarray, "c k"]
    origin: str

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or 0 in self.codes.shape or not (np.abs(self.codes) == 1).all():
            raise UsageError(
                f"proxies need a matrix of -1 and +1, one row per class; got an array of shape "
                f"{self.codes.shape} with values from "
                f"{self.codes.min(initial=0)} to {self.codes.max(initial=0)}"
            )

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return int(self.codes.shape[0])

    @property
    def bits(self) -> int:
        """Code length K."""
        return int(self.codes.shape[1])

    @cached_property
    def pair_distances(self) -> Int[np.ndarray, " pairs"]:
        """Hamming distances of all C (C - 1) / 2 pairs of classes."""
        return pairwise_distances(self.codes)[np.triu_indices(self.classes, 1)]

    @property
    def minimum_distance(self) -> int:
        """Smallest distance of a pair; K without pairs."""
        return int(self.pair_distances.min(initial=self.bits))

    @property
    def mean_distance(self) -> float:
        """Mean distance of the pairs; K without pairs."""
        return float(self.pair_distances.mean()) if self.classes > 1 else float(self.bits)

    @property
    def bit_balance(self) -> float:
        """Mean over bits of |share of classes with the bit set - 1/2|; 0 is balanced."""
        return float(np.abs(self.codes.mean(axis=0)).mean() / 2)

    def distance_histogram(self) -> Int[np.ndarray, " distances"]:
        """Return the number of pairs at distance 0, 1, ..., K."""
        return np.bincount(self.pair_distances, minlength=self.bits + 1)

    def tensor(self, *, device: str | torch.device = "cpu") -> torch.Tensor:
        """Return the codes as float32 (C, K), for inner products with outputs."""
        return torch.from_numpy(self.codes.astype(np.float32)).to(device)

    def reordered(self, order: Int[np.ndarray, " c"]) -> Proxies:
        """Return the proxies with row `order[c]` moved to class c."""
        return Proxies(codes=np.ascontiguousarray(self.codes[order]), origin=self.origin)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, atomically."""
        tensors = {"codes": torch.from_numpy(np.ascontiguousarray(self.codes))}
        write_tensors(path, tensors, metadata={"kind": "proxies", "origin": self.origin})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Proxies:
        """Read a file written by `save`.

        Raises:
            ModelError: the file is missing, damaged, or holds something else; names it.
        """
        tensors, metadata = read_tensors(path)
        codes = tensors.get("codes")
        if metadata.get("kind") != "proxies" or codes is None or codes.dtype != torch.int8:
            raise ModelError(
                f"{Path(path)} does not hold proxies (an int8 tensor named codes); "
                "train the model again or copy the file from the original"
            )
        try:
            return cls(codes=codes.numpy(), origin=metadata.get("origin", "unknown"))
        except UsageError as error:
            raise ModelError(f"{Path(path)} is damaged: {error}") from error
