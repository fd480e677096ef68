from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from proxyhash.training.augment import resample
from proxyhash.training.draws import uniform_draws
from proxyhash.training.rand_augment import RAND_CHANGES, RAND_DRAWS, RandAugment, change_color

SIDE = 24


def photo(side: int = SIDE) -> torch.Tensor:
    """A photo-like image of one item, uint8 (1, 3, side, side), of less than full contrast."""
    y, x = np.mgrid[0:side, 0:side] / side
    channels = [40 + 150 * x, 60 + 120 * y, 90 + 80 * np.sin(6 * x * y)]
    return torch.from_numpy(np.stack(channels).round().astype(np.uint8))[None]


def as_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image[0].permute(1, 2, 0).numpy())


def alone(change: str, strength: float) -> RandAugment:
    """This change, and after it another kind that does nothing to what is compared."""
    pointwise = RAND_CHANGES.index(change) >= RAND_CHANGES.index("posterize")
    rand = RandAugment(np.zeros((1, RAND_DRAWS)))
    rand.chosen = np.array([[RAND_CHANGES.index(change), 0 if pointwise else 7]])
    rand.strength = np.array([[strength, 0.5]])
    return rand


def changed(change: str, strength: float) -> np.ndarray:
    images = photo().float()
    alone(change, strength).change_pixels(images)
    return images[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("strength", "bits"), [(0.0, 7), (0.3, 6), (0.6, 5), (0.99, 4)])
def test_posterize_is_pillows(strength: float, bits: int) -> None:
    wanted = np.asarray(ImageOps.posterize(as_pillow(photo()), bits), np.float32)
    np.testing.assert_array_equal(changed("posterize", strength), wanted)


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_solarize_is_pillows(strength: float) -> None:
    wanted = ImageOps.solarize(as_pillow(photo()), 256 - 128 * strength)
    np.testing.assert_array_equal(changed("solarize", strength), np.asarray(wanted, np.float32))


def test_autocontrast_is_pillows_but_for_rounding() -> None:
    wanted = np.asarray(ImageOps.autocontrast(as_pillow(photo())), np.float32)
    assert np.abs(changed("autocontrast", 0.3) - wanted).max() <= 1
    flat = torch.full((1, 3, 4, 4), 77.0)
    alone("autocontrast", 0.5).change_pixels(flat)
    assert (flat == 77).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.99])
def test_color_is_pillows_but_for_rounding(strength: float) -> None:
    wanted = ImageEnhance.Color(as_pillow(photo())).enhance(0.5 + strength)
    assert np.abs(changed("color", strength) - np.asarray(wanted, np.float32)).max() <= 1.5


def test_rotation_is_pillows() -> None:
    images = photo(64)
    for strength in (0.0, 0.3, 0.99):
        found = resample(images, alone("rotate", strength).maps(), 64)[0].permute(1, 2, 0).numpy()
        angle = 15 * (2 * strength - 1)
        turned = as_pillow(images).rotate(angle, Image.Resampling.BILINEAR)
        inner = slice(14, -14)
        difference = np.abs(found - np.asarray(turned, np.float32))[inner, inner]
        assert difference.max() <= 1.5


@pytest.mark.parametrize(
    ("change", "data"),
    [
        # where a pixel comes from: x' = a x + b y + c, y' = d x + e y + f, in pixels, for 0.9
        ("shear-x", (1, 0.12, -0.12 * 32, 0, 1, 0)),
        ("shear-y", (1, 0, 0, 0.12, 1, -0.12 * 32)),
        ("translate-x", (1, 0, 0.08 * 64, 0, 1, 0)),
        ("translate-y", (1, 0, 0, 0, 1, 0.08 * 64)),
    ],
)
def test_shears_and_translations_are_pillows(change: str, data: tuple[float, ...]) -> None:
    images = photo(64)
    found = resample(images, alone(change, 0.9).maps(), 64)[0].permute(1, 2, 0).numpy()
    moved = as_pillow(images).transform(
        (64, 64), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    inner = slice(8, -8)
    difference = np.abs(found - np.asarray(moved, np.float32))[inner, inner]
    assert difference.max() <= 1.5


def test_beyond_the_edge_is_the_reflection() -> None:
    images = torch.arange(8.0).expand(1, 3, 8, 8)
    maps = np.eye(3)[None].copy()
    maps[0, 0, 2] = 0.5  # two of eight pixels to the right
    found = resample(images, maps, 8)
    np.testing.assert_allclose(found[0, 0, 0].numpy(), [2, 3, 4, 5, 6, 7, 7, 6], atol=1e-5)


def test_two_different_changes_all_alike() -> None:
    rand = RandAugment(uniform_draws(np.arange(36_000), RAND_DRAWS, seed=0, epoch=0))
    assert (rand.chosen[:, 0] != rand.chosen[:, 1]).all()
    pairs = np.bincount(9 * rand.chosen[:, 0] + rand.chosen[:, 1], minlength=81).reshape(9, 9)
    assert (pairs.diagonal() == 0).all()
    others = pairs[~np.eye(9, dtype=bool)]
    assert abs(others - 500).max() < 5 * np.sqrt(500)


def test_changes_are_applied_in_their_order() -> None:
    rand = RandAugment(np.zeros((2, RAND_DRAWS)))
    solarize, autocontrast = RAND_CHANGES.index("solarize"), RAND_CHANGES.index("autocontrast")
    rand.chosen = np.array([[solarize, autocontrast], [autocontrast, solarize]])
    rand.strength = np.full((2, 2), 0.99)
    images = photo().float().repeat(2, 1, 1, 1)
    rand.change_pixels(images)
    threshold = 256 - 128 * 0.99
    first = np.asarray(ImageOps.autocontrast(ImageOps.solarize(as_pillow(photo()), threshold)))
    then = np.asarray(ImageOps.solarize(ImageOps.autocontrast(as_pillow(photo())), threshold))
    found = images.permute(0, 2, 3, 1).numpy()
    assert np.abs(found[0] - first).max() <= 2
    close = np.abs(found[1] - then) <= 2
    assert close.mean() > 0.98  # all but values that rounding puts on the threshold's other side


def test_color_factors_by_hand() -> None:
    """One red and one gray pixel, gray values .299 * 200 = 59.8 and 100, their mean 79.9."""
    image = torch.tensor([[[[200.0, 100.0]], [[0.0, 100.0]], [[0.0, 100.0]]]])

    def values(bright: float, contrast: float, saturation: float) -> list[list[float]]:
        result = change_color(image.clone(), torch.tensor([[bright, contrast, saturation]]))
        return result[0, :, 0].T.tolist()

    assert values(1, 1, 1) == [[200, 0, 0], [100, 100, 100]]
    assert values(0.5, 1, 1) == [[100, 0, 0], [50, 50, 50]]
    np.testing.assert_allclose(
        values(1, 0.5, 1), [[139.95, 39.95, 39.95], [89.95, 89.95, 89.95]], atol=1e-3
    )
    np.testing.assert_allclose(values(1, 1, 0.5), [[129.9, 29.9, 29.9], [100, 100, 100]], atol=1e-3)
    # both halved in contrast first: (139.95, 39.95, 39.95) has gray value 69.85
    np.testing.assert_allclose(values(1, 0.5, 0.5)[0], [104.9, 54.9, 54.9], atol=1e-3)
