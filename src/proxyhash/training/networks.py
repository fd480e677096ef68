"""Both hashing networks of a run in one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from proxyhash.data.item import Modality
    from proxyhash.networks.hashing_network import HashingNetwork

__all__ = ["Networks"]


class Networks(nn.Module):
    """The image network and the text network.

    They share the code length, and their PHNet where they predict classes on the way.
    """

    def __init__(self, image: HashingNetwork, text: HashingNetwork) -> None:
        super().__init__()
        self.image = image
        self.text = text
        if image.phnet is not None:
            text.phnet = image.phnet

    def of(self, modality: Modality) -> HashingNetwork:
        """Return the network of one modality."""
        return self.image if modality == "image" else self.text
