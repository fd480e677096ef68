"""Descriptor encoder: colors, edges and layout of images, without learned weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import Image

from proxyhash.data.images import open_image
from proxyhash.encoders.base import BatchEncoder, EncoderRequest, read_options, register_encoder
from proxyhash.encoders.folder import fingerprint_of, write_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.modalities import Modality

__all__ = ["ImageDescriptor"]

_SIDE = 64  # images are resized to this width and height
_CELLS = 8  # cells per side in which edges are counted
_DIRECTIONS = 9  # of edges, over half a turn
_LEVELS = 4  # of red, green and blue in the color histogram
_LAYOUT = 8  # cells per side of the color layout
_VERSION = 1  # part of the fingerprint: raise it when the numbers change


@register_encoder
class ImageDescriptor(BatchEncoder):
    """Three classic descriptors side by side, 832 numbers, each part of Euclidean norm 1.

    * 64: histogram over 4x4x4 colors, by square roots, so that the product of two histograms is
      their Bhattacharyya coefficient;
    * 576: histograms of oriented gradients (Dalal and Triggs, CVPR 2005) in 8x8 cells with nine
      directions each, votes shared between neighboring directions, each cell divided by the energy
      of the 3x3 cells around it;
    * 192: mean color of 8x8 cells, centered on mid gray.

    A baseline for learned features, which needs no pretrained weights.
    """

    kind: ClassVar[str] = "descriptor"
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)

    modality: Modality = "image"
    dim = _LEVELS**3 + _CELLS**2 * _DIRECTIONS + _LAYOUT**2 * 3

    def __init__(self) -> None:
        self.fingerprint = fingerprint_of({"kind": self.kind, "version": _VERSION}, {})

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Return the encoder; there are no options."""
        read_options(cls.kind, request.argument, {})
        return cls()

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the encoder; it has no state."""
        del folder, device
        return cls()

    def save(self, folder: Path) -> None:
        """Write the encoder's name."""
        write_settings(folder, self, {"version": _VERSION})

    def prepare(self, source: Any) -> NDArray[np.uint8]:
        """Return the image resized to 64x64, uint8 (64, 64, 3)."""
        image = open_image(source)
        return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX))

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the descriptors of one batch of prepared images."""
        images = np.stack(prepared)
        color = images.astype(np.float32) / np.float32(255)
        parts = (_color_histogram(images), _oriented_gradients(color), _color_layout(color))
        return np.concatenate([_unit(part) for part in parts], axis=1)


def _color_histogram(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    level = images // (256 // _LEVELS)
    color = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    flat = color.reshape(len(images), -1) + np.arange(len(images))[:, None] * _LEVELS**3
    counts = np.bincount(flat.ravel(), minlength=len(images) * _LEVELS**3)
    return np.sqrt(counts.reshape(len(images), -1)).astype(np.float32)


def _oriented_gradients(color: NDArray[np.float32]) -> NDArray[np.float32]:
    gray = color @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    across, down = np.zeros_like(gray), np.zeros_like(gray)
    across[:, :, 1:-1] = gray[:, :, 2:] - gray[:, :, :-2]
    down[:, 1:-1, :] = gray[:, 2:, :] - gray[:, :-2, :]
    strength = np.hypot(across, down)
    direction = np.arctan2(down, across) * np.float32(_DIRECTIONS / np.pi) % _DIRECTIONS
    cells = np.empty((len(gray), _CELLS, _CELLS, _DIRECTIONS), dtype=np.float32)
    for number in range(_DIRECTIONS):
        apart = np.abs(direction - number)
        vote = np.maximum(1 - np.minimum(apart, _DIRECTIONS - apart), 0) * strength
        cells[..., number] = _cell_means(vote[..., None], _CELLS)[..., 0]
    energy = np.pad((cells**2).sum(axis=-1), ((0, 0), (1, 1), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(energy, (3, 3), axis=(1, 2)).sum(axis=(3, 4))
    cells /= np.sqrt(around + np.float32(1e-4))[..., None]
    return cells.reshape(len(gray), -1)


def _color_layout(color: NDArray[np.float32]) -> NDArray[np.float32]:
    return _cell_means(color - np.float32(0.5), _LAYOUT).reshape(len(color), -1)


def _cell_means(values: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Return the means over cells x cells parts: (b, side, side, c) to (b, cells, cells, c)."""
    count, side, _, channels = values.shape
    pixels = side // cells
    blocks = values.reshape(count, cells, pixels, cells, pixels, channels)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4))
    return means


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = values / np.maximum(norms, np.float32(1e-6))
    return scaled
