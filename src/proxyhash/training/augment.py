"""Augment a batch of training images on its device: random crops, flips, colors, RandAugment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from proxyhash.errors import UsageError, check_option
from proxyhash.training.draws import uniform_draws
from proxyhash.training.rand_augment import RAND_DRAWS, RandAugment, change_color

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["AUGMENTATIONS", "CROP_MIN", "augment", "check_augmentations"]

AUGMENTATIONS = ("crop", "flip", "color", "rand", "none")
"""What `augment` can do; "none" stands alone."""

CROP_MIN = 0.35
"""Area of a random crop at least, as a part of the image, by default."""

_ASPECTS = 3 / 4, 4 / 3  # of a crop, width over height
_STRENGTH = 0.3  # brightness, contrast and saturation are changed by so much at most
_TRIES = 10
_POSITION = 2 * _TRIES  # places of the random numbers of one image
_FLIP = _POSITION + 2
_COLOR = _FLIP + 1
_RAND = _COLOR + 3


def check_augmentations(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the augmentations without "none".

    Raises:
        UsageError: one is unknown, or "none" is not alone.
    """
    for kind in kinds:
        check_option("augment", kind, AUGMENTATIONS)
    if "none" in kinds and len(kinds) > 1:
        others = ", ".join(kind for kind in kinds if kind != "none")
        raise UsageError(f"augment is none together with {others}; leave out one or the other")
    return tuple(kind for kind in kinds if kind != "none")


def augment(
    images: Tensor,
    aspect: Tensor,
    items: Tensor,
    *,
    epoch: int,
    seed: int,
    size: int,
    kinds: Sequence[str] = ("crop", "flip", "color"),
    crop_min: float = CROP_MIN,
) -> Tensor:
    """Return augmented images, float32 (b, 3, size, size) in 0..255, on the device of the images.

    Every random number depends on seed, epoch and item alone. Images are resampled once, for crop,
    flip and the geometric part of "rand" together, by bilinear interpolation.

    - "crop": a random part of the original image of `crop_min` to 1 of its area and with an aspect
      of 3/4 to 4/3, resized to a square (Szegedy et al., CVPR 2015, as torchvision's
      RandomResizedCrop draws it); without it, the whole image is.
    - "flip": mirrored, every other time.
    - "color": brightness, contrast and saturation times 0.7 to 1.3, in this order.
    - "rand": two of nine changes, see `RandAugment`.
    - "none", or nothing: the whole image, resized.

    Args:
        images: uint8 (b, 3, S, S), resized to a square whatever their aspect was.
        aspect: width over height of the original images, float (b,); best on the CPU.
        items: numbers of the items, int64 (b,); best on the CPU.
        epoch: number of the epoch.
        seed: of the run.
        size: width and height of the result.
        kinds: any of `AUGMENTATIONS`.
        crop_min: least area of a crop, in (0, 1].

    Raises:
        UsageError: a kind is unknown, or crop_min is out of range.
    """
    kinds = check_augmentations(kinds)
    if not 0 < crop_min <= 1:
        raise UsageError(f"crop_min is {crop_min}; it must be more than 0 and at most 1")
    draws = uniform_draws(
        items.cpu().numpy().astype(np.int64), _RAND + RAND_DRAWS, seed=seed, epoch=epoch
    )
    maps = np.tile(np.eye(3), (len(images), 1, 1))
    if "crop" in kinds:
        maps = crop_maps(draws, aspect.cpu().numpy().astype(np.float64), crop_min)
    if "flip" in kinds:
        maps[:, :, 0] *= np.where(draws[:, _FLIP] < 0.5, -1.0, 1.0)[:, None]
    rand = RandAugment(draws[:, _RAND:]) if "rand" in kinds else None
    if rand is not None:
        maps = maps @ rand.maps()
    result = resample(images, maps, size)
    if "color" in kinds:
        factors = 1 + _STRENGTH * (2 * draws[:, _COLOR:_RAND] - 1)
        result = change_color(result, torch.from_numpy(factors).to(result))
    if rand is not None:
        rand.change_pixels(result)
    return result.clamp_(0, 255)  # interpolation may leave the range by rounding


def crop_maps(
    draws: NDArray[np.float64], aspect: NDArray[np.float64], crop_min: float
) -> NDArray[np.float64]:
    """Return the map of each random crop, float64 (b, 3, 3), see `resample`.

    Area and aspect are drawn up to ten times until the crop is within the image; then it is the
    central part of full width or height whose aspect is closest to the image's.
    """
    low, high = np.log(_ASPECTS)
    areas = crop_min + (1 - crop_min) * draws[:, :_POSITION:2]
    ratios = np.exp(low + (high - low) * draws[:, 1:_POSITION:2])
    widths = np.sqrt(areas * ratios / aspect[:, None])  # as parts of the image's
    heights = np.sqrt(areas / ratios * aspect[:, None])
    inside = (widths <= 1) & (heights <= 1)
    rows, first = np.arange(len(draws)), inside.argmax(1)
    fits = inside[rows, first]
    closest = np.clip(aspect, *_ASPECTS)
    width = np.where(fits, widths[rows, first], np.minimum(1, closest / aspect))
    height = np.where(fits, heights[rows, first], np.minimum(1, aspect / closest))
    x, y = np.where(fits[:, None], draws[:, _POSITION:_FLIP], 0.5).T
    maps = np.zeros((len(draws), 3, 3))
    maps[:, 0, 0], maps[:, 0, 2] = width, (1 - width) * (2 * x - 1)
    maps[:, 1, 1], maps[:, 1, 2] = height, (1 - height) * (2 * y - 1)
    maps[:, 2, 2] = 1
    return maps


def resample(images: Tensor, maps: NDArray[np.float64], size: int) -> Tensor:
    """Return the images under affine maps, float32 (b, 3, size, size).

    Args:
        images: (b, 3, S, S).
        maps: from the place of a pixel in the result to its place in the image, (b, 3, 3); both
            are (x, y, 1), and x and y are -1 and 1 at the outer edges.
        size: width and height of the result.

    What lies outside an image is its reflection at the edge.
    """
    theta = torch.from_numpy(maps).to(images.device, torch.float32)
    places = (2 * torch.arange(size, device=images.device) + 1) / size - 1
    grid = torch.empty(len(images), size, size, 2, device=images.device)
    for axis in range(2):
        across, down, shift = theta[:, axis].unbind(1)
        column = torch.addcmul(shift[:, None], down[:, None], places)
        grid[..., axis] = (across[:, None] * places)[:, None] + column[:, :, None]
    return functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
