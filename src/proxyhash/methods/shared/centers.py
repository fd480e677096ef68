"""Base of the methods with fixed hash centers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxyhash.methods.shared.objective import Context, Objective
from proxyhash.proxies.codebooks import hadamard_codebook, make_codebook
from proxyhash.proxies.known_codes import next_hadamard_order
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.settings import Settings

__all__ = ["CenterObjective", "hash_centers"]


def hash_centers(classes: int, bits: int, *, seed: int) -> Proxies:
    """Return one center per class: rows of a Hadamard matrix and their negatives.

    With more classes than those, the code of `make_codebook` with the largest minimum distance; the
    papers draw random codes there, whose distances are no larger.
    """
    room = 2 * next_hadamard_order(bits)
    make = hadamard_codebook if classes <= room else make_codebook
    return make(classes, bits, seed=seed)


class CenterObjective(Objective):
    """An objective that aims at fixed hash centers, in whatever order they were drawn."""

    reads_memory = False
    center_codes: Tensor

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        centers = hash_centers(context.classes, context.bits, seed=context.seed)
        self.register_buffer("center_codes", centers.tensor())
        self._origin = centers.origin

    @property
    def proxies(self) -> Proxies:
        """The centers as they are used: after a resume, those of the checkpoint."""
        codes = self.center_codes.to(torch.int8).cpu().numpy()
        return Proxies(codes=codes, origin=self._origin)
