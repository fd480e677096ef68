from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from proxyhash.data.images import open_image
from proxyhash.data.pixel_cache import PixelCache
from proxyhash.data.pixel_decoding import SquashedImages
from proxyhash.errors import ImageError
from proxyhash.training.augment import augment
from proxyhash.training.pixels import TrainingImages, prefetched, stored_side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxyhash.data import Collection

SIZE = 28


@pytest.fixture(scope="module")
def sources(scenes: Collection) -> list[Path]:
    return [path for path in scenes.sources("image")[:40] if path is not None]  # type: ignore[misc]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pixels")


def opened(sources: list[Path], folder: Path, **options: Any) -> TrainingImages:
    options = {"size": SIZE, "device": "cpu", "seed": 3, "workers": 0, **options}
    return TrainingImages(sources, cache=PixelCache(folder), **options)


def steps(count: int, items: int = 40) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.choice(items, 6, replace=False) for _ in range(count)]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def test_stored_images_are_an_eighth_larger_than_a_crop_of_them() -> None:
    assert [stored_side(size) for size in (7, 160, 224)] == [8, 183, 256]


def test_batches_are_the_augmented_originals(sources: list[Path], folder: Path) -> None:
    kinds = ("crop", "flip", "color")
    with opened(sources, folder, kinds=kinds, crop_min=0.6) as images:
        assert len(images) == 40
        for positions, found in zip(steps(4), images.batches(steps(4), epoch=2), strict=True):
            originals = [open_image(sources[position]) for position in positions]
            side = stored_side(SIZE)
            stored = [each.resize((side, side), Image.Resampling.BICUBIC) for each in originals]
            wanted = augment(
                torch.from_numpy(np.stack(stored)).permute(0, 3, 1, 2),
                torch.tensor([each.width / each.height for each in originals]),
                torch.from_numpy(positions),
                epoch=2,
                seed=3,
                size=SIZE,
                kinds=kinds,
                crop_min=0.6,
            )
            torch.testing.assert_close(found, wanted)
            torch.testing.assert_close(images.batch(positions, epoch=2), found)


def test_workers_and_the_cache_change_nothing(sources: list[Path], folder: Path) -> None:
    with opened(sources, folder) as images:
        wanted = torch.cat(list(images.batches(steps(3), epoch=1)))
    nowhere = PixelCache(folder / "other", max_bytes=0)
    for workers in (0, 2):
        with TrainingImages(
            sources, size=SIZE, device="cpu", seed=3, workers=workers, cache=nowhere
        ) as images:
            assert not images.rows.stored.any()
            assert torch.equal(torch.cat(list(images.batches(steps(3), epoch=1))), wanted)


def test_an_image_that_breaks_later_is_named(sources: list[Path], tmp_path: Path) -> None:
    copies = [tmp_path / f"{place}.png" for place in range(6)]
    for copy, source in zip(copies, sources, strict=False):
        copy.write_bytes(source.read_bytes())
    with TrainingImages(
        copies, size=SIZE, device="cpu", seed=0, workers=0, cache=PixelCache(tmp_path, max_bytes=0)
    ) as images:
        copies[4].write_bytes(b"no image")
        batches = images.batches([np.array([0, 1]), np.array([4]), np.array([2])], epoch=0)
        assert len(next(batches)) == 2
        with pytest.raises(ImageError, match=r"row 5: .*4\.png: "):
            next(batches)
    assert threads() == []


def test_squashed_images_are_the_same_from_processes(sources: list[Path]) -> None:
    here, there = SquashedImages(20), SquashedImages(20, workers=1)
    with closing(there):
        for source in sources[:3]:
            pixels, size = here(source)
            others, other_size = there(source)
            np.testing.assert_array_equal(pixels, others)
            assert size == other_size == open_image(source).size


class TestPrefetched:
    def test_everything_comes_in_order_and_not_far_ahead(self) -> None:
        made: list[int] = []

        def numbers() -> Iterator[int]:
            for number in range(20):
                made.append(number)
                yield number

        for number in (read := prefetched(numbers(), ahead=2)):
            time.sleep(0.005)
            assert len(made) <= number + 3
            if 5 < number < 19:
                assert len(made) > number + 1  # it does run ahead
        assert made == list(range(20))
        assert list(read) == []
        assert threads() == []

    def test_an_error_comes_after_what_was_before_it(self) -> None:
        def numbers() -> Iterator[int]:
            yield 1
            yield 2
            raise ImageError("row 3: gone")

        read = prefetched(numbers())
        assert [next(read), next(read)] == [1, 2]
        with pytest.raises(ImageError, match="row 3: gone"):
            next(read)
        assert threads() == []

    def test_closing_early_ends_the_thread_and_what_it_reads(self) -> None:
        closed = []

        def numbers() -> Iterator[int]:
            try:
                while True:
                    yield 1
            finally:
                closed.append(threading.current_thread().name)

        with closing(prefetched(numbers())) as read:
            next(read)
            assert threads() == ["prefetch"]
        assert threads() == []
        assert closed == ["prefetch"]
        closing_unread = prefetched(numbers())
        closing_unread.close()
        assert threads() == []

    def test_none_is_a_result_like_others(self) -> None:
        assert list(prefetched([None, None])) == [None, None]
        assert list(prefetched([])) == []
