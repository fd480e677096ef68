from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from proxyhash.data import pixel_job, pixel_shard
from proxyhash.data.images import open_image
from proxyhash.data.pixel_cache import PixelCache
from proxyhash.errors import ImageError, SourceError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxyhash.data.pixel_rows import PixelRows

SHAPE = (3, 8, 8)
ROW = 3 * 8 * 8


class Decoder:
    """Decodes to 8x8, and counts."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, source: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        self.names.append(source.stem)
        image = open_image(source)
        pixels = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
        return np.moveaxis(pixels, -1, 0), image.size


def save_image(path: Path, number: int) -> Path:
    pixels = np.random.default_rng(number).integers(0, 256, (9, 12 + number, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Ten images of 12x9 to 21x9 pixels."""
    folder = tmp_path / "images"
    folder.mkdir()
    return [save_image(folder / f"{number}.png", number) for number in range(10)]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_job, "_SHARD_BYTES", 4 * ROW)


def rows_of(cache: PixelCache, sources: list[Any], decode: Any, **options: Any) -> PixelRows:
    return cache.rows(sources, recipe="small", shape=SHAPE, decode=decode, **options)


def filled(folder: Path, sources: list[Path], **options: Any) -> tuple[PixelRows, list[str]]:
    """The rows from a cache, and what had to be decoded for them."""
    decoder = Decoder()
    rows = rows_of(PixelCache(folder, **options), sources, decoder)
    return rows, decoder.names


def assert_right(rows: PixelRows, sources: list[Path]) -> None:
    positions = np.random.default_rng(0).permutation(len(sources))
    pixels, sizes = rows.read(positions)
    for row, position in enumerate(positions):
        wanted, size = Decoder()(sources[position])
        np.testing.assert_array_equal(pixels[row], wanted)
        assert tuple(sizes[row]) == size


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.safetensors") if path.name[0] != ".")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_every_image_is_decoded_once_and_read_as_it_was(images: list[Path], tmp_path: Path) -> None:
    rows, decoded = filled(tmp_path / "cache", images)
    assert sorted(decoded) == sorted(path.stem for path in images)
    assert len(rows) == 10
    assert rows.stored.all()
    assert not rows.unreadable.any()
    assert_right(rows, images)
    again, decoded = filled(tmp_path / "cache", images)
    assert_right(again, images)
    assert decoded == []
    assert len(shards(tmp_path / "cache" / "pixels")) == 3  # of four images each
    assert files(tmp_path / "cache") == [path.name for path in shards(tmp_path / "cache")]


def test_the_default_folder_is_that_of_the_other_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYHASH_CACHE", str(tmp_path))
    assert PixelCache().folder == tmp_path / "pixels"


def test_without_a_home_folder_images_are_decoded_each_time(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PROXYHASH_CACHE")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError))
    cache = PixelCache()
    assert "no home folder" in caplog.text
    rows = rows_of(cache, images, decoder := Decoder())
    assert decoder.names == []
    assert_right(rows, images)


def test_content_decides_not_names(images: list[Path], tmp_path: Path) -> None:
    filled(tmp_path / "cache", images)
    moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in images]
    save_image(moved[3], 77)
    rows, decoded = filled(tmp_path / "cache", moved)
    assert decoded == ["moved-3"]
    assert_right(rows, moved)


def test_the_same_content_is_decoded_once(images: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copy(images[0], images[0].with_name(f"copy-{each}.png")) for each in "ab"]
    rows, decoded = filled(tmp_path / "cache", [*images[:2], *copies, images[1]])
    assert decoded == ["0", "1"]
    assert_right(rows, [*images[:2], *copies, images[1]])


def test_recipes_and_shapes_do_not_mix(images: list[Path], tmp_path: Path) -> None:
    cache = PixelCache(tmp_path)
    rows_of(cache, images, Decoder())

    def dark(source: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        return np.zeros(SHAPE, np.uint8), (1, 1)

    rows = cache.rows(images, recipe="dark", shape=SHAPE, decode=dark)
    assert not rows.read(np.arange(10)).pixels.any()
    flat = cache.rows(
        images, recipe="small", shape=(2, 2), decode=lambda _: (np.ones((2, 2)), (1, 1))
    )
    assert flat.read(np.arange(10)).pixels.shape == (10, 2, 2)
    assert len(list((tmp_path / "pixels").iterdir())) == 3


def test_a_shard_is_a_safetensors_file(images: list[Path], tmp_path: Path) -> None:
    import hashlib
    import zlib

    filled(tmp_path, images[:3])
    (path,) = shards(tmp_path)
    arrays = load_file(path)
    for row, image in enumerate(images[:3]):
        pixels, size = Decoder()(image)
        assert arrays["keys"][row].tobytes() == hashlib.sha256(image.read_bytes()).digest()
        assert tuple(arrays["sizes"][row]) == size
        np.testing.assert_array_equal(arrays["pixels"][row], pixels)
        assert arrays["sums"][row] == zlib.crc32(pixels.tobytes())


def test_progress_is_told_of_every_image(images: list[Path], tmp_path: Path) -> None:
    told: list[tuple[str, int | None, int]] = []

    def track(steps: Any, description: str, total: int | None = None, /) -> Any:
        passed = list(steps)
        told.append((description, total, len(passed)))
        yield from passed

    filled(tmp_path, images[:4])
    rows_of(PixelCache(tmp_path), images, Decoder(), track=track, workers=3)
    assert told == [("checking images", 10, 10), ("decoding images", 6, 6)]


class TestBadImages:
    @pytest.fixture
    def broken(self, images: list[Path]) -> list[Path | None]:
        images[2].write_bytes(images[2].read_bytes()[:60])
        images[5].write_bytes(b"")
        return [*images[:7], None, images[7].with_name("gone.png"), *images[8:]]

    def test_the_first_is_named_with_the_next_step(
        self, broken: list[Path | None], tmp_path: Path
    ) -> None:
        with pytest.raises(ImageError, match=r"row 6: .*5\.png: .*--on-bad-item skip goes on"):
            rows_of(PixelCache(tmp_path), broken, Decoder())
        with pytest.raises(ImageError, match=r"item 2: .*2\.png: not an image that can be read"):
            rows_of(PixelCache(tmp_path), broken[:4], Decoder(), name=lambda row: f"item {row}")
        assert [name for name in files(tmp_path) if name.startswith(".")] == []

    def test_they_are_skipped_with_one_warning(
        self, broken: list[Path | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = rows_of(PixelCache(tmp_path), broken, Decoder(), on_bad_item="skip")
        assert np.flatnonzero(rows.unreadable).tolist() == [2, 5, 8]
        (record,) = caplog.records
        lines = record.getMessage().splitlines()
        assert lines[0] == "3 images cannot be read; these items are taken without:"
        assert [line.partition(":")[0] for line in lines[1:]] == ["row 3", "row 6", "row 9"]
        good = [place for place in range(11) if place not in {2, 5, 7, 8}]
        assert_right(
            rows_of(PixelCache(tmp_path), [broken[place] for place in good], Decoder()),
            [broken[place] for place in good],  # type: ignore[misc]
        )
        with pytest.raises(ImageError, match=r"row 3: .*2\.png: not an image"):
            rows.read(np.array([0, 2]))
        with pytest.raises(SourceError, match="row 8 has no image"):
            rows.read(np.array([7]))

    def test_copies_of_a_bad_image_are_bad_as_well(
        self, images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        images[2].write_bytes(b"GIF89a but no more")
        shutil.copy(images[2], images[6])
        rows = rows_of(PixelCache(tmp_path), list(images), Decoder(), on_bad_item="skip")
        assert np.flatnonzero(rows.unreadable).tolist() == [2, 6]
        assert "row 3: " in caplog.text
        assert str(images[6]) in caplog.text

    def test_an_image_that_changes_meanwhile_is_not_kept_as_what_it_was(
        self, images: list[Path], tmp_path: Path
    ) -> None:
        before = images[1].read_bytes()
        decoder = Decoder()

        def decode(source: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
            if source == images[1]:
                save_image(source, 99)
            return decoder(source)

        rows = rows_of(PixelCache(tmp_path / "cache"), images, decode)
        assert rows.stored.tolist() == [True, False] + 8 * [True]
        images[1].write_bytes(before)
        rows, decoded = filled(tmp_path / "cache", images)
        assert decoded == ["1"]
        assert_right(rows, images)

    def test_another_word_than_fail_or_skip(self, images: list[Path], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="on_bad_item is 'stop'"):
            rows_of(PixelCache(tmp_path), images, Decoder(), on_bad_item="stop")


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    if kind == "truncated":
        content = content[:-1]
    elif kind == "empty":
        content.clear()
    elif kind == "header":
        content[:8] = b"\xff" * 8
    elif kind == "no json":
        content[8:20] = b"x" * 12
    elif kind == "key":
        content[8 + length] ^= 1
    elif kind == "size":
        content[8 + length + 4 * 32] ^= 1
    elif kind == "sum":
        content[8 + length + 4 * 40] ^= 1
    else:
        content[-1] ^= 1
    path.unlink()
    if kind == "link":
        other = path.with_name("other")
        other.write_bytes(content)
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content)


KINDS = ["truncated", "empty", "header", "no json", "key", "size", "sum", "pixel", "link", "pipe"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_shard_costs_time_only(
    kind: str, images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path / "cache", images)
    damage(shards(tmp_path / "cache")[0], kind)
    rows, decoded = filled(tmp_path / "cache", images)
    assert len(decoded) == (0 if kind == "pixel" else 4 if len(decoded) == 4 else 2)
    assert_right(rows, images)
    assert len(caplog.records) == 1
    assert "damaged" in caplog.text
    caplog.clear()
    again, _ = filled(tmp_path / "cache", images)  # what was damaged has been replaced
    assert_right(again, images)
    after, decoded = filled(tmp_path / "cache", images)
    assert decoded == []
    assert_right(after, images)


def test_random_damage_never_gives_wrong_pixels(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that change, go or come, most of them in the header and the tables."""
    monkeypatch.setattr(pixel_job, "_SHARD_BYTES", 10 * ROW)
    filled(tmp_path / "cache", images)
    (path,) = shards(tmp_path / "cache")
    content = path.read_bytes()
    wanted = np.stack([Decoder()(image)[0] for image in images])
    sizes = [Decoder()(image)[1] for image in images]
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(150):
        bad = bytearray(content)
        place = int(generator.integers(0, 700 if generator.random() < 0.8 else len(bad)))
        kind = generator.integers(0, 4)
        if kind == 0:
            bad[place] ^= 1 << int(generator.integers(0, 8))
        elif kind == 1:
            bad[place] = int(generator.choice(list(b"0123456789-[]{},.eE")))
        elif kind == 2:
            del bad[place : place + int(generator.integers(1, 40))]
        else:
            bad[place:place] = generator.bytes(int(generator.integers(1, 40)))
        path.write_bytes(bad)
        rows, decoded = filled(tmp_path / "cache", images)
        found += bool(decoded)
        pixels, read_sizes = rows.read(np.arange(10))
        np.testing.assert_array_equal(pixels, wanted)
        assert [tuple(size) for size in read_sizes] == sizes
    assert found > 75  # the rest is in pixels, or where a blank of the header was


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"null",
        b"[" * 20_000,
        b'{"keys": {"shape": [-1]}}',
        b'{"keys": {"shape": [1e400]}}',
        b'{"keys": 3}',
    ],
)
def test_odd_headers(header: bytes, images: list[Path], tmp_path: Path) -> None:
    filled(tmp_path / "cache", images[:4])
    (path,) = shards(tmp_path / "cache")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    rows, decoded = filled(tmp_path / "cache", images[:4])
    assert len(decoded) == 4
    assert_right(rows, images[:4])


@pytest.mark.parametrize(
    ("old", "new"), [(b"[4, ", b"[4.0, "), (b"[4, ", b"[9999999999999999999, ")]
)
def test_odd_counts(old: bytes, new: bytes, images: list[Path], tmp_path: Path) -> None:
    filled(tmp_path / "cache", images[:4])
    (path,) = shards(tmp_path / "cache")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    assert old in header
    header = header.replace(old, new).replace(b"[4]", new.replace(b", ", b"]"))
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    rows, decoded = filled(tmp_path / "cache", images[:4])
    assert len(decoded) == 4
    assert_right(rows, images[:4])


def test_a_shard_cut_short_while_it_is_used(images: list[Path], tmp_path: Path) -> None:
    rows, _ = filled(tmp_path, images)
    for path in shards(tmp_path):
        os.truncate(path, 100)
    assert_right(rows, images)


def test_only_so_many_files_stay_open(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_job, "_SHARD_BYTES", ROW)
    monkeypatch.setattr(pixel_shard, "_MOST_OPEN", 3)

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    rows, _ = filled(tmp_path, images)
    assert_right(rows, images)
    assert open_files() - before == 3
    del rows
    assert open_files() == before


class TestBounds:
    def size(self, folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def test_what_was_not_used_for_longest_goes_first(
        self, images: list[Path], tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"
        for start in (0, 4):
            filled(cache, images[start : start + 4])
            time.sleep(0.02)
        most = self.size(cache) + 300
        filled(cache, images[:1])  # used again
        filled(cache, images[8:], max_bytes=most)
        assert self.size(cache) <= most
        assert filled(cache, images[:4])[1] == []
        assert sorted(filled(cache, images[4:8])[1]) == ["4", "5", "6", "7"]

    def test_beyond_the_bound_images_are_decoded_each_time(
        self, images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        most = 2 * pixel_shard.shard_bytes(4, SHAPE)
        decoder = Decoder()
        cache = PixelCache(tmp_path / "cache", max_bytes=most)
        rows = rows_of(cache, images, decoder, workers=2)
        assert rows.stored.sum() == 8 == len(decoder.names)
        (record,) = caplog.records
        assert record.getMessage().startswith(
            "2 of 10 images are decoded whenever they are used: the pixel cache in "
        )
        assert "--pixel-cache-gb" in record.getMessage()
        assert self.size(tmp_path / "cache") <= most
        for _ in range(2):
            assert_right(rows, images)
        assert sorted(decoder.names[8:]) == list("8899")

    def test_no_shard_is_larger_than_is_said(self, images: list[Path], tmp_path: Path) -> None:
        filled(tmp_path, images[:3])
        (path,) = shards(tmp_path)
        most = pixel_shard.shard_bytes(3, SHAPE)
        assert most - 300 < path.stat().st_size <= most

    def test_nothing_is_written_where_there_is_no_cache(
        self, images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows, decoded = filled(tmp_path, images, max_bytes=0)
        assert decoded == []
        assert files(tmp_path) == [path.name for path in images]
        assert_right(rows, images)
        assert not caplog.records

    def test_shards_that_are_used_stay(self, images: list[Path], tmp_path: Path) -> None:
        used, _ = filled(tmp_path / "cache", images[:4])
        most = pixel_shard.shard_bytes(4, SHAPE)
        rows, decoded = filled(tmp_path / "cache", images[4:8], max_bytes=most)
        assert decoded == []
        assert_right(rows, images[4:8])
        assert_right(used, images[:4])
        del used
        _, decoded = filled(tmp_path / "cache", images[4:8], max_bytes=most)
        assert len(decoded) == 4

    def test_a_shard_that_is_removed_while_it_is_used(
        self, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pixel_shard, "_MOST_OPEN", 1)
        rows, _ = filled(tmp_path / "cache", images)
        shutil.rmtree(tmp_path / "cache")
        assert_right(rows, images)

    def test_nothing_beyond_a_link_is_removed(self, images: list[Path], tmp_path: Path) -> None:
        other = tmp_path / "other"
        filled(other, images[:4])
        (foreign,) = shards(other)
        (tmp_path / "cache" / "pixels").mkdir(parents=True)
        (tmp_path / "cache" / "pixels" / "link").symlink_to(foreign.parent)
        filled(tmp_path / "cache", images[4:8], max_bytes=pixel_shard.shard_bytes(4, SHAPE))
        filled(tmp_path / "cache", images[8:], max_bytes=pixel_shard.shard_bytes(4, SHAPE))
        assert foreign.exists()

    def test_what_killed_processes_left_is_removed_in_time(
        self, images: list[Path], tmp_path: Path
    ) -> None:
        filled(tmp_path, images)
        folder = shards(tmp_path)[0].parent
        old, new = folder / ".old-1.safetensors", folder / ".new-1.safetensors"
        lock = folder / ".some.lock"
        for path in (old, new, lock):
            path.write_bytes(b"half")
        for path in (old, lock):
            os.utime(path, (0, 0))
        filled(tmp_path, images)
        assert [path.exists() for path in (old, new, lock)] == [False, True, False]


def test_a_folder_that_cannot_be_written_costs_time_only(
    images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder belongs")
    rows, decoded = filled(tmp_path / "cache", images)
    assert decoded == []
    assert_right(rows, images)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "10 of 10 images are decoded whenever they are used" in caplog.text
    assert "cannot be written" in caplog.text
