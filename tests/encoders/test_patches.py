from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import RidgeClassifier

from proxyhash.encoders import ImageDescriptor, PatchFeatures, make_encoder
from proxyhash.encoders.patches import (
    CONTRAST,
    PatchVocabulary,
    learn_vocabulary,
    normalized,
)
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxyhash.data import Collection


def noise(count: int, size: int = 48) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, size // 8, size // 8, 3)).astype(np.uint8)
    smooth = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return (smooth // 2 + random.integers(0, 128, smooth.shape)).astype(np.uint8)


def small(images: NDArray[np.uint8], **options: Any) -> PatchVocabulary:
    settings = {"count": 7, "side": 6, "samples": 3000, "seed": 0, **options}
    return learn_vocabulary(images, **settings)


def features_by_loop(image: NDArray[np.uint8], words: PatchVocabulary) -> NDArray[np.float64]:
    """Patch by patch, as the paper has it."""
    places = 48 - 6 + 1
    maps = np.zeros((len(words.centers), places, places))
    for y in range(places):
        for x in range(places):
            patch = image[y : y + 6, x : x + 6].astype(np.float64).ravel()
            patch = (patch - patch.mean()) / np.sqrt(patch.var() + CONTRAST)
            white = (patch - words.mean) @ words.whitening
            distances = np.sqrt(((white - words.centers) ** 2).sum(axis=1))
            maps[:, y, x] = np.maximum(0, distances.mean() - distances)
    low, high = slice(0, 22), slice(21, 43)  # 43 places: the quarters share the middle ones
    quarters = [maps[:, rows, columns] for rows in (low, high) for columns in (low, high)]
    means = np.stack([quarter.mean(axis=(1, 2)) for quarter in quarters], axis=1)
    maxima = np.stack([quarter.max(axis=(1, 2)) for quarter in quarters], axis=1)
    return np.concatenate([means.ravel(), maxima.ravel(), maps.max(axis=(1, 2))])


def test_features_are_those_of_a_loop() -> None:
    images = noise(3)
    words = small(images)
    found = PatchFeatures(words).encode([Image.fromarray(image) for image in images])
    for row, image in zip(found, images, strict=True):
        np.testing.assert_allclose(row, features_by_loop(image, words), rtol=1e-3, atol=1e-3)


def test_patches_are_normalized() -> None:
    patches = np.random.default_rng(0).normal(100, 30, size=(50, 108)).astype(np.float32)
    found = normalized(patches)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-5)
    variance = patches.var(axis=1)
    np.testing.assert_allclose(found.var(axis=1), variance / (variance + CONTRAST), rtol=1e-4)
    assert not normalized(np.full((1, 108), 77, dtype=np.float32)).any()


def test_whitened_patches_have_variance_one_in_strong_directions() -> None:
    images = noise(20)
    words = small(images, samples=20_000)
    windows = np.lib.stride_tricks.sliding_window_view(images, (6, 6), axis=(1, 2))
    chosen = np.moveaxis(windows[:, ::5, ::5], 3, -1).reshape(-1, 108).astype(np.float32)
    white = (normalized(chosen) - words.mean) @ words.whitening
    variances = np.linalg.eigvalsh(np.cov(white, rowvar=False))
    assert variances.max() < 1.5
    assert variances[-20:].min() > 0.5


def test_every_center_is_the_mean_of_its_own() -> None:
    words = small(noise(10), count=5, samples=20_000)
    assert words.side == 6
    assert words.centers.shape == (5, 108)
    distances = np.linalg.norm(words.centers[:, None] - words.centers[None], axis=-1)
    assert distances[np.triu_indices(5, 1)].min() > 0.5


def test_the_seed_decides() -> None:
    images = noise(5)
    first, again, other = (small(images, seed=seed) for seed in (0, 0, 1))
    assert first.centers.tobytes() == again.centers.tobytes()
    assert first.centers.tobytes() != other.centers.tobytes()


def test_train_features_have_mean_zero_and_deviation_one() -> None:
    images = [Image.fromarray(image) for image in noise(30)]
    features = PatchFeatures.fit(images, count=8).encode(images)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-2)


def test_only_train_images_teach(scenes: Collection) -> None:
    def made(train: NDArray[np.int64]) -> str:
        options = {"modality": "image", "collection": scenes, "train": train}
        return make_encoder("patches:count=4", **options).fingerprint  # type: ignore[arg-type]

    assert made(np.arange(30)) == made(np.arange(30)) != made(np.arange(31))


def test_images_that_cannot_be_read_do_not_teach(tmp_path: Any) -> None:
    good = [Image.fromarray(image) for image in noise(4)]
    encoder = PatchFeatures.fit([*good, tmp_path / "missing.png"], count=4)
    assert encoder.encode(good).shape == (4, 36)
    with pytest.raises(DataError, match="none of the 1 train images can be read"):
        PatchFeatures.fit([tmp_path / "missing.png"], count=4)
    with pytest.raises(DataError, match="none of the 0 train images"):
        PatchFeatures.fit([])
    with pytest.raises(UsageError, match="patches:count is 1"):
        PatchFeatures.fit(good, count=1)


def test_statistics_must_fit_the_vocabulary() -> None:
    with pytest.raises(ValueError, match="must have 63 values"):
        PatchFeatures(small(noise(2)), mean=np.zeros(3, dtype=np.float32))


def test_things_are_recognized_better_than_by_the_descriptor(scenes: Collection) -> None:
    train, rest = np.arange(140), np.arange(140, 200)
    paths = [path for path in scenes.sources("image") if path is not None]
    labels = scenes.labels[:, scenes.labels[:140].sum(axis=0) > 10] * 2 - 1
    right = []
    for encoder in (PatchFeatures.fit(paths[:140], count=64), ImageDescriptor()):
        features = encoder.encode(paths)
        features = (features - features[train].mean(axis=0)) / (features[train].std(axis=0) + 1e-3)
        probe = RidgeClassifier(alpha=300).fit(features[train], labels[train])
        scores = probe.decision_function(features[rest])
        hits = [
            (scores[labels[rest][:, c] > 0, c][:, None] > scores[labels[rest][:, c] < 0, c]).mean()
            for c in range(labels.shape[1])
            if abs(labels[rest][:, c].sum()) < 60
        ]
        right.append(np.mean(hits))
    assert right[0] > right[1] + 0.03
    assert right[0] > 0.75
