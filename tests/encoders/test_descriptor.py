from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from proxyhash.encoders import ImageDescriptor, make_encoder
from proxyhash.errors import UsageError

COLORS, EDGES = slice(0, 64), slice(64, 640)
LAYOUT = slice(640, 832)


def describe(array: np.ndarray) -> np.ndarray:
    return ImageDescriptor().encode([Image.fromarray(array.astype(np.uint8))])[0]


def stripes(degrees: float) -> np.ndarray:
    """Dark and light bands whose brightness changes fastest in this direction, on 64x64."""
    y, x = np.mgrid[:64, :64]
    angle = math.radians(degrees)
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / 16)
    return np.repeat((128 + 100 * wave)[..., None], 3, axis=2)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3))


def test_each_part_has_norm_one() -> None:
    features = describe(noise())
    for part in (COLORS, EDGES, LAYOUT):
        assert np.linalg.norm(features[part]) == pytest.approx(1, abs=1e-5)


def test_colors_are_counted_as_by_a_loop() -> None:
    image = noise()
    counts = np.zeros((4, 4, 4))
    for red, green, blue in image.reshape(-1, 3):
        counts[red // 64, green // 64, blue // 64] += 1
    wanted = np.sqrt(counts.ravel() / counts.sum())
    np.testing.assert_allclose(describe(image)[COLORS], wanted, atol=1e-6)


def test_layout_is_the_mean_of_each_cell() -> None:
    image = noise()
    wanted = [
        image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, channel].mean() / 255 - 0.5
        for row in range(8)
        for column in range(8)
        for channel in range(3)
    ]
    wanted = np.array(wanted) / np.linalg.norm(wanted)
    np.testing.assert_allclose(describe(image)[LAYOUT], wanted, atol=1e-5)


def test_edges_are_counted_as_by_a_loop() -> None:
    image = noise()
    gray = (image / 255) @ [0.299, 0.587, 0.114]
    cells = np.zeros((8, 8, 9))
    for y in range(64):
        for x in range(64):
            across = gray[y, x + 1] - gray[y, x - 1] if 0 < x < 63 else 0.0
            down = gray[y + 1, x] - gray[y - 1, x] if 0 < y < 63 else 0.0
            place = math.atan2(down, across) * 9 / math.pi % 9
            low = math.floor(place)
            for direction, vote in ((low, 1 - (place - low)), (low + 1, place - low)):
                cells[y // 8, x // 8, direction % 9] += vote * math.hypot(across, down) / 64
    energy = (cells**2).sum(axis=2)
    wanted = np.zeros_like(cells)
    for row in range(8):
        for column in range(8):
            rows = slice(max(row - 1, 0), row + 2)
            around = energy[rows, max(column - 1, 0) : column + 2].sum()
            wanted[row, column] = cells[row, column] / math.sqrt(around + 1e-4)
    wanted /= np.linalg.norm(wanted)
    np.testing.assert_allclose(describe(image)[EDGES], wanted.ravel(), atol=1e-4)


@pytest.mark.parametrize("direction", range(9))
def test_stripes_vote_for_their_direction(direction: int) -> None:
    cells = describe(stripes(direction * 20))[EDGES].reshape(64, 9)
    assert cells.sum(axis=0).argmax() == direction
    assert cells.sum(axis=0)[direction] > 0.8 * cells.sum()


def test_a_plain_image_has_no_edges() -> None:
    features = describe(np.full((20, 30, 3), 200))
    assert not features[EDGES].any()
    assert np.isfinite(features).all()
    assert not describe(np.full((20, 30, 3), 127))[EDGES].any()


def test_there_are_no_options() -> None:
    with pytest.raises(UsageError, match="option of encoder 'descriptor'"):
        make_encoder("descriptor:size=3", modality="image")
