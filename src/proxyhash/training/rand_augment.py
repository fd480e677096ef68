"""RandAugment with moderate changes: two of nine for each image, applied to a whole batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["RAND_CHANGES", "RAND_DRAWS", "RandAugment", "change_color"]

_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L
_TURN, _SHEAR, _SHIFT = np.deg2rad(15.0), 0.15, 0.2
_SATURATION = 0.5

RAND_CHANGES = (
    "rotate",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "posterize",
    "solarize",
    "autocontrast",
    "color",
)
"""The changes; the geometric ones come first."""

_GEOMETRIC = 5
RAND_DRAWS = 4
"""Random numbers per image: both changes, then their strengths."""


class RandAugment:
    """Two different changes per image, of a random strength (after Cubuk et al., CVPRW 2020).

    The geometric ones are part of the one resampling of `augment`: rotate by up to 15 degrees,
    shear-x and shear-y by up to 0.15, translate-x and translate-y by up to a tenth of the image.
    Then, in their order: posterize to 4 to 7 bits, solarize from a value of 128 to 256 on,
    autocontrast (each channel stretched to 0..255), color (saturation times 0.5 to 1.5).

    Args:
        draws: uniform in [0, 1), (b, RAND_DRAWS).

    Attributes:
        chosen: places in `RAND_CHANGES`, (b, 2), in the order in which they are applied.
        strength: in [0, 1), (b, 2).
    """

    def __init__(self, draws: NDArray[np.float64]) -> None:
        count = len(RAND_CHANGES)
        first = (draws[:, 0] * count).astype(np.int64)
        second = (first + 1 + (draws[:, 1] * (count - 1)).astype(np.int64)) % count
        self.chosen = np.stack([first, second], 1)
        self.strength = draws[:, 2:4]

    def maps(self) -> NDArray[np.float64]:
        """Return the geometric changes as affine maps, (b, 3, 3), as `resample` takes them."""
        maps = np.tile(np.eye(3), (len(self.chosen), 1, 1))
        for turn in range(2):
            maps = maps @ _maps(self.chosen[:, turn], 2 * self.strength[:, turn] - 1)
        return maps

    def change_pixels(self, images: Tensor) -> None:
        """Apply the other changes in place, to float (b, 3, h, w) in 0..255."""
        images.clamp_(0, 255)
        for turn in range(2):
            for place in range(_GEOMETRIC, len(RAND_CHANGES)):
                rows = np.flatnonzero(self.chosen[:, turn] == place)
                if len(rows):
                    where = torch.from_numpy(rows).to(images.device)
                    strength = torch.from_numpy(self.strength[rows, turn]).to(images)
                    change = _CHANGES[RAND_CHANGES[place]]
                    images[where] = change(images[where], strength[:, None, None, None])


def _maps(chosen: NDArray[np.int64], signed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine maps of one change per image; strengths are in [-1, 1)."""
    maps = np.tile(np.eye(3), (len(chosen), 1, 1))
    turn = np.where(chosen == 0, _TURN * signed, 0.0)
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(turn)
    maps[:, 1, 0], maps[:, 0, 1] = np.sin(turn), -np.sin(turn)
    for place, row, column, most in (
        (1, 0, 1, _SHEAR),
        (2, 1, 0, _SHEAR),
        (3, 0, 2, _SHIFT),
        (4, 1, 2, _SHIFT),
    ):
        maps[:, row, column] += np.where(chosen == place, most * signed, 0.0)
    return maps


def gray_of(images: Tensor) -> Tensor:
    """Return the luminance, (b, 1, h, w)."""
    red, green, blue = _GRAY
    gray = images[:, :1] * red
    return gray.add_(images[:, 1:2], alpha=green).add_(images[:, 2:], alpha=blue)


def change_color(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation in place, and return the images.

    Brightness multiplies the values; contrast their distance from the image's mean luminance;
    saturation their distance from the pixel's luminance. The result is not limited to 0..255.

    Args:
        images: float (b, 3, h, w).
        factors: of brightness, contrast and saturation, (b, 3).
    """
    bright, contrast, saturation = (factor[:, None, None, None] for factor in factors.unbind(1))
    gray = gray_of(images)
    middle = bright * (1 - contrast) * gray.mean((2, 3), keepdim=True)
    scale = bright * contrast
    gray.mul_(scale * (1 - saturation)).add_(middle)
    return images.mul_(scale * saturation).add_(gray)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    step = 2.0 ** torch.floor(1 + 4 * strength)  # 2 to 16: 7 to 4 bits remain
    return torch.floor(images / step) * step


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    return torch.where(images < 256 - 128 * strength, images, 255 - images)


def _autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * (255 / (high - low).clamp_min(1e-6)), images)


def _color(images: Tensor, strength: Tensor) -> Tensor:
    factor = 1 + _SATURATION * (2 * strength - 1)
    return (images * factor).add_(gray_of(images) * (1 - factor)).clamp_(0, 255)


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "color": _color,
}
