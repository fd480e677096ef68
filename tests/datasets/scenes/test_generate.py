"""The image set as a whole: the same each time, and worth learning from."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.data import open_image, read_collection
from proxyhash.datasets.scenes import generate_scenes
from proxyhash.datasets.scenes.generate import draw_item
from proxyhash.datasets.scenes.thing import THINGS
from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


def test_files_and_columns(scenes: Collection) -> None:
    assert len(scenes) == 200
    assert scenes.has("image").all()
    assert scenes.has("text").all()
    assert read_collection(scenes.root).fingerprint == scenes.fingerprint
    assert set(scenes.items[0].payload) == {"setting", "hour"}
    for path in scenes.sources("image")[:5]:
        assert path is not None
        assert open_image(path).size == (64, 64)


def test_labels_are_many_and_several_an_item(scenes: Collection) -> None:
    assert scenes.classes == tuple(sorted(THINGS))
    assert len(scenes.classes) >= 20
    counts = Counter(scenes.labels.sum(axis=1).tolist())
    assert set(counts) == {1, 2, 3, 4}
    assert counts[1] < 0.2 * len(scenes)


def test_an_item_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few = generate_scenes(tmp_path / "few", items=3, seed=5, size=40)
    many = generate_scenes(tmp_path / "many", items=6, seed=5, size=40)
    assert [item.sources.get("text") for item in few.items] == [
        item.sources.get("text") for item in many.items[:3]
    ]
    for one, other in zip(few.sources("image"), many.sources("image")[:3], strict=True):
        assert one is not None
        assert other is not None
        assert one.read_bytes() == other.read_bytes()


def test_the_seed_decides() -> None:
    images = {
        (seed, index): draw_item(index, seed=seed, size=40) for seed in (0, 1) for index in (0, 1)
    }
    assert len({image.tobytes() for image, _ in images.values()}) == 4
    again, record = draw_item(1, seed=1, size=40)
    assert again.tobytes() == images[1, 1][0].tobytes()
    assert record == images[1, 1][1]


def test_the_same_on_every_machine() -> None:
    """Plans and captions of the first hundred items, which other people's numbers rest on."""
    digest = hashlib.sha256()
    for index in range(100):
        _, record = draw_item(index, seed=0, size=32)
        digest.update(repr(record).encode())
    expected = "d2556eedbae1bd574624248c665d7d7a4548eaffa682e8a18f084c4fd72c2cf1"
    assert digest.hexdigest() == expected


def test_size_changes_neither_plan_nor_caption() -> None:
    small, first = draw_item(7, seed=0, size=32)
    large, second = draw_item(7, seed=0, size=128)
    assert first == second
    shrunk = np.asarray(large.resize((32, 32)), dtype=np.float64)
    assert np.abs(shrunk - np.asarray(small, dtype=np.float64)).mean() < 12


@pytest.mark.parametrize("wrong", [{"items": 0}, {"size": 31}])
def test_too_small(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the minimum is 1 and 32"):
        generate_scenes(tmp_path, **wrong)
