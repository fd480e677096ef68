from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import stats

from proxyhash.data.decoding import squashed
from proxyhash.errors import UsageError
from proxyhash.training.augment import augment, check_augmentations, crop_maps
from proxyhash.training.draws import uniform_draws
from tests.training.test_draws import slow_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, SIZE = 16, 14


def noise(count: int, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def run(
    images: torch.Tensor,
    *,
    aspect: float = 1.0,
    first: int = 0,
    size: int = SIZE,
    epoch: int = 0,
    seed: int = 0,
    kinds: tuple[str, ...] = ("crop", "flip", "color"),
    crop_min: float = 0.35,
) -> torch.Tensor:
    return augment(
        images,
        torch.full((len(images),), aspect),
        torch.arange(first, first + len(images)),
        epoch=epoch,
        seed=seed,
        size=size,
        kinds=kinds,
        crop_min=crop_min,
    )


def slow_crop(
    draws: list[float], aspect: float, crop_min: float
) -> tuple[float, float, float, float]:
    """Left, top, width and height of a crop, as parts of the image, step by step in its pixels."""
    width, height = 1000 * aspect, 1000.0
    for attempt in range(10):
        area = (crop_min + (1 - crop_min) * draws[2 * attempt]) * width * height
        low, high = math.log(3 / 4), math.log(4 / 3)
        ratio = math.exp(low + (high - low) * draws[2 * attempt + 1])
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = draws[20] * (width - w), draws[21] * (height - h)
            return left / width, top / height, w / width, h / height
    if aspect < 3 / 4:
        w, h = width, width / (3 / 4)
    elif aspect > 4 / 3:
        w, h = height * (4 / 3), height
    else:
        w, h = width, height
    return (width - w) / 2 / width, (height - h) / 2 / height, w / width, h / height


def slow_sample(image: NDArray[np.float64], x: float, y: float) -> NDArray[np.float64]:
    """The value at a place in pixels, bilinear between the centers of pixels."""
    side = image.shape[-1]
    x, y = (min(max(each - 0.5, 0.0), side - 1.0) for each in (x, y))
    left, top = min(int(x), side - 2), min(int(y), side - 2)
    right, low = x - left, y - top
    return (
        image[:, top, left] * (1 - right) * (1 - low)
        + image[:, top, left + 1] * right * (1 - low)
        + image[:, top + 1, left] * (1 - right) * low
        + image[:, top + 1, left + 1] * right * low
    )


def slow_augment(
    image: NDArray[np.float64],
    item: int,
    *,
    aspect: float,
    epoch: int,
    seed: int,
    kinds: tuple[str, ...],
    crop_min: float,
) -> NDArray[np.float64]:
    draws = slow_draws(item, 30, seed=seed, epoch=epoch)
    left, top, width, height = 0.0, 0.0, 1.0, 1.0
    if "crop" in kinds:
        left, top, width, height = slow_crop(draws, aspect, crop_min)
    side = image.shape[-1]
    result = np.zeros((3, SIZE, SIZE))
    for row in range(SIZE):
        for column in range(SIZE):
            x, y = (column + 0.5) / SIZE, (row + 0.5) / SIZE
            if "flip" in kinds and draws[22] < 0.5:
                x = 1 - x
            result[:, row, column] = slow_sample(
                image, side * (left + x * width), side * (top + y * height)
            )
    if "color" in kinds:
        bright, contrast, saturation = (0.7 + 0.6 * draw for draw in draws[23:26])
        result = bright * result
        gray = 0.299 * result[0] + 0.587 * result[1] + 0.114 * result[2]
        result = gray.mean() + contrast * (result - gray.mean())
        gray = 0.299 * result[0] + 0.587 * result[1] + 0.114 * result[2]
        result = gray + saturation * (result - gray)
    return result.clip(0, 255)


@pytest.mark.parametrize("kinds", [("crop",), ("flip",), ("crop", "flip"), ("color", "crop")])
@pytest.mark.parametrize("aspect", [0.4, 1.0, 1.5, 4.0])
def test_it_is_what_slow_loops_give(kinds: tuple[str, ...], aspect: float) -> None:
    images = noise(6)
    options = {"aspect": aspect, "epoch": 3, "seed": 5, "kinds": kinds, "crop_min": 0.5}
    found = run(images, first=40, **options)
    for row, image in enumerate(images.double().numpy()):
        wanted = slow_augment(image, 40 + row, **options)
        np.testing.assert_allclose(found[row].double().numpy(), wanted, atol=2e-3)


def test_crop_and_flip_are_those_of_pillow() -> None:
    images = noise(8)
    found = run(images, kinds=("crop", "flip"), seed=1)
    for row, image in enumerate(images):
        draws = slow_draws(row, 30, seed=1, epoch=0)
        left, top, width, height = (SIDE * each for each in slow_crop(draws, 1.0, 0.35))
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy())
        data = (width / SIZE, 0, left, 0, height / SIZE, top)
        pillow = pillow.transform(
            (SIZE, SIZE), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
        if draws[22] < 0.5:
            pillow = ImageOps.mirror(pillow)
        difference = np.abs(np.moveaxis(np.asarray(pillow, np.float64), -1, 0) - found[row].numpy())
        assert difference[:, 1:-1, 1:-1].max() <= 1.01  # Pillow rounds, and fills beyond the edge


def test_none_is_the_whole_image_resized() -> None:
    images = noise(3, 32)
    found = run(images, kinds=("none",), size=16)
    wanted = torch.nn.functional.interpolate(
        images.float(), (16, 16), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    assert torch.equal(run(images, kinds=(), size=16), found)
    torch.testing.assert_close(run(images, kinds=(), size=32), images.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kinds", [("crop", "flip", "color"), ("crop", "flip", "color", "rand")])
def test_batches_and_their_order_do_not_matter(kinds: tuple[str, ...]) -> None:
    images, items = noise(12), torch.arange(100, 112)
    aspect = torch.linspace(0.5, 2, 12)

    def results(rows: list[int]) -> torch.Tensor:
        return augment(
            images[rows], aspect[rows], items[rows], epoch=1, seed=2, size=SIZE, kinds=kinds
        )

    whole = results(list(range(12)))
    order = [5, 3, 11, 0, 7, 1, 2, 10, 9, 8, 6, 4]
    parts = torch.cat([results(order[:1]), results(order[1:8]), results(order[8:])])
    torch.testing.assert_close(parts, whole[order], atol=1e-4, rtol=0)


def test_epochs_seeds_and_items_differ_and_one_kind_does_not_change_another() -> None:
    images = noise(1).expand(4, -1, -1, -1)
    found = run(images)
    assert len({image.numpy().tobytes() for image in found}) == 4
    assert not torch.equal(found, run(images, epoch=1))
    assert not torch.equal(found, run(images, seed=1))
    assert torch.equal(found, run(images))
    flat = torch.full((64, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    torch.testing.assert_close(run(flat, kinds=("color",)), run(flat, kinds=("crop", "color")))


def test_areas_aspects_places_and_flips_are_spread_as_they_should() -> None:
    draws = uniform_draws(np.arange(20_000), 40, seed=0, epoch=0)
    maps = crop_maps(draws, np.ones(len(draws)), 0.35)
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    assert (width <= 1).all()
    assert (height <= 1).all()
    area, ratio = width * height, width / height
    assert 0.35 <= area.min() < 0.36
    assert 0.99 < area.max() <= 1
    assert ratio.min() >= 3 / 4 - 1e-9
    assert ratio.max() <= 4 / 3 + 1e-9
    assert abs(np.log(ratio).mean()) < 0.01  # wide and high ones alike
    small = area < 0.7  # never refused, so evenly spread
    assert stats.kstest((area[small] - 0.35) / 0.35, "uniform").pvalue > 1e-3
    place = (maps[:, 0, 2] + 1 - width) / (2 * (1 - width)).clip(1e-9)
    assert stats.kstest(place[width < 1], "uniform").pvalue > 1e-3
    flipped = (draws[:, 22] < 0.5).mean()
    assert abs(flipped - 0.5) < 0.02


@pytest.mark.parametrize("aspect", [0.05, 0.7, 1.4, 30.0])
def test_crops_have_their_aspect_in_the_original_geometry(aspect: float) -> None:
    draws = uniform_draws(np.arange(3000), 40, seed=0, epoch=0)
    maps = crop_maps(draws, np.full(len(draws), aspect), 0.2)
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    ratio = width * aspect / height
    assert ratio.min() >= 3 / 4 - 1e-9
    assert ratio.max() <= 4 / 3 + 1e-9
    assert (np.abs(maps[:, :2, 2]) <= 1 - maps[:, [0, 1], [0, 1]] + 1e-12).all()  # inside


def test_squashing_then_cropping_is_cropping_the_original() -> None:
    y, x = np.mgrid[0:300, 0:500] / 300
    smooth = np.stack([np.sin(3 * x + y), np.cos(2 * y - x), np.sin(x * y)], -1) * 100 + 128
    original = Image.fromarray(smooth.round().astype(np.uint8))
    small = torch.from_numpy(np.asarray(squashed(original, 64)).copy()).permute(2, 0, 1)[None]
    for item in range(10):
        found = run(small, aspect=500 / 300, first=item, size=56, kinds=("crop",))
        left, top, width, height = slow_crop(slow_draws(item, 30, seed=0, epoch=0), 500 / 300, 0.35)
        box = (500 * left, 300 * top, 500 * (left + width), 300 * (top + height))
        wanted = original.resize((56, 56), Image.Resampling.BILINEAR, box=box)
        difference = np.abs(found[0].permute(1, 2, 0).numpy() - np.asarray(wanted, np.float64))
        assert difference.max() < 3
        assert difference.mean() < 0.7


@pytest.mark.parametrize("kinds", [("crop", "flip", "color"), ("crop", "rand", "color")])
def test_values_stay_in_their_range(kinds: tuple[str, ...]) -> None:
    images = (noise(64) > 127).to(torch.uint8) * 255
    for epoch in range(4):
        found = run(images, epoch=epoch, kinds=kinds)
        assert found.dtype == torch.float32
        assert found.shape == (64, 3, SIZE, SIZE)
        assert found.min() >= 0
        assert found.max() <= 255


def test_the_input_is_left_as_it_is() -> None:
    images = noise(4)
    before = images.clone()
    run(images, kinds=("crop", "flip", "color", "rand"), size=SIDE)
    assert torch.equal(images, before)


def test_an_empty_batch() -> None:
    assert run(noise(0), kinds=("crop", "flip", "color", "rand")).shape == (0, 3, SIZE, SIZE)


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match=r"augment is 'crops'; it must be one of .*mean 'crop'"):
        run(noise(1), kinds=("crops",))
    with pytest.raises(UsageError, match="augment is none together with flip; leave out"):
        check_augmentations(("none", "flip"))
    with pytest.raises(UsageError, match=r"crop_min is 0; it must be more than 0"):
        run(noise(1), crop_min=0)
    assert check_augmentations(("none",)) == ()
