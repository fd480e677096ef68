from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from proxyhash.data import Collection
from proxyhash.data.item import item_from_record
from proxyhash.encoders import (
    BagOfWords,
    FeatureCache,
    ImageDescriptor,
    TransformersTextEncoder,
    encode_collection,
)
from proxyhash.errors import ImageError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from proxyhash.data import Modality


class Counting(ImageDescriptor):
    """Counts the images that go through it."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.pause = pause

    @property
    def seen(self) -> int:
        return sum(self.batches)

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        time.sleep(self.pause)
        self.batches.append(len(prepared))
        return super().embed(prepared)


class Foreign:
    """An encoder that only follows the protocol."""

    kind = "foreign"
    dim = 2
    fingerprint = "f" * 64

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def encode(self, inputs: Sequence[Any], **_: Any) -> NDArray[np.float32]:
        values = [
            item.size if isinstance(item, Image.Image) else (len(item), item.count("a"))
            for item in inputs
        ]
        return np.array(values, dtype=np.float32)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def collection(folder: Path, items: Iterable[tuple[str | None, str | None]]) -> Collection:
    return Collection.of(
        folder / "items.jsonl",
        [
            item_from_record({"id": f"i{number}", "image": image, "text": text}, row=number + 1)
            for number, (image, text) in enumerate(items)
        ],
    )


def noise(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8))


@pytest.fixture
def images(tmp_path: Path) -> Collection:
    """Seven items; the third has no image, the last two have the same one."""
    for number in range(7):
        noise(min(number, 5)).save(tmp_path / f"{number}.png")
    return collection(
        tmp_path,
        [(None if n == 2 else f"{n}.png", None if n == 4 else f"text {n}") for n in range(7)],
    )


def test_rows_are_aligned_with_the_items(images: Collection) -> None:
    encoder = ImageDescriptor()
    features = encode_collection(encoder, images, batch_size=2)
    assert features.values.shape == (7, encoder.dim)
    assert features.present.tolist() == [True, True, False, True, True, True, True]
    assert not features.values[2].any()
    for number in (0, 1, 3, 4, 5, 6):
        np.testing.assert_allclose(
            features.values[number],
            encoder.encode([noise(min(number, 5))])[0],
            rtol=1e-5,
            atol=1e-6,
        )


def test_texts_without_known_words_are_present(tmp_path: Path) -> None:
    items = collection(tmp_path, [(None, "dog and cat"), (None, None), (None, "nothing")])
    features = encode_collection(BagOfWords(["cat", "dog"]), items)
    np.testing.assert_array_equal(features.values, [[1, 1], [0, 0], [0, 0]])
    assert features.present.tolist() == [True, False, True]


def test_texts_are_encoded_longest_first_and_come_back_in_place(bert: Path, tmp_path: Path) -> None:
    encoder = TransformersTextEncoder.from_source(bert)
    texts = ["snow", "a dog runs", None, "a red boat on the sea", "the boat"]
    items = collection(tmp_path, [(None, text) for text in texts])
    features = encode_collection(encoder, items, batch_size=2, cache=FeatureCache(tmp_path))
    for number, text in enumerate(texts):
        wanted = encoder.encode([text])[0] if text else np.zeros(encoder.dim)
        np.testing.assert_allclose(features.values[number], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_any_encoder_that_follows_the_protocol_will_do(
    modality: Modality, images: Collection, tmp_path: Path
) -> None:
    for _ in range(2):
        features = encode_collection(
            Foreign(modality), images, batch_size=3, cache=FeatureCache(tmp_path)
        )
        wanted = [10, 12] if modality == "image" else [6, 0]
        missing = 2 if modality == "image" else 4
        assert features.values.tolist() == [wanted if n != missing else [0, 0] for n in range(7)]


def test_every_item_is_reported(images: Collection) -> None:
    told: list[tuple[str, int | None, int]] = []

    def track(steps: Iterable[Any], description: str, total: int | None = None) -> Iterator[Any]:
        steps = list(steps)
        told.append((description, total, len(steps)))
        yield from steps

    encode_collection(ImageDescriptor(), images, track=track)
    assert told == [("encoding images", 6, 6)]


def test_the_cache_goes_by_content(images: Collection, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    first, second = Counting(), Counting()
    features = encode_collection(first, images, cache=cache, batch_size=1)
    assert first.seen in (5, 6)  # the last two images are one, if they do not go side by side
    again = encode_collection(second, images, cache=cache)
    assert second.seen == 0
    assert again.values.tobytes() == features.values.tobytes()

    (images.root / "0.png").rename(images.root / "moved.png")
    noise(99).save(images.root / "1.png")
    moved = collection(images.root, [("moved.png", None), ("1.png", None)])
    third = Counting()
    found = encode_collection(third, moved, cache=cache)
    assert third.seen == 1
    np.testing.assert_array_equal(found.values[0], features.values[0])
    np.testing.assert_array_equal(found.values[1], third.encode([noise(99)])[0])


def test_another_encoder_does_not_get_these_features(images: Collection, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    encode_collection(Counting(), images, cache=cache)
    other = Counting()
    other.fingerprint = "0" * 64
    encode_collection(other, images, cache=cache)
    assert other.seen >= 5


def test_encoders_as_fast_as_a_file_are_not_cached(tmp_path: Path) -> None:
    items = collection(tmp_path, [(None, "cat")])
    encode_collection(BagOfWords(["cat"]), items, cache=FeatureCache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def hostile(folder: Path) -> dict[str, str]:
    """Images nobody can or should decode: file name -> what is said about it."""
    good = BytesIO()
    noise(0).resize((200, 200)).save(good, "JPEG")
    (folder / "truncated.jpg").write_bytes(good.getvalue()[: len(good.getvalue()) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", size), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    (folder / "folder.png").mkdir()
    return {
        "truncated.jpg": "not an image that can be read",
        "empty.png": "the file is empty",
        "text.jpg": "the format is not recognized",
        "bomb.png": "pixels",
        "folder.png": "not a file",
        "missing.jpg": "no such file",
    }


@pytest.mark.parametrize("cached", [False, True])
def test_a_bad_image_is_named_by_row_and_path(tmp_path: Path, cached: bool) -> None:
    cache = FeatureCache(tmp_path / "cache") if cached else None
    noise(0).save(tmp_path / "good.png")
    reasons = hostile(tmp_path)
    if Path("/proc/self/status").exists():  # one of the system, of which some have no end
        reasons["/proc/self/status"] = "the file is empty"
    for name, reason in reasons.items():
        items = collection(tmp_path, [("good.png", None), (name, None)])
        with pytest.raises(ImageError, match=f"row 2, item 'i1': .*{name}: .*{reason}") as caught:
            encode_collection(ImageDescriptor(), items, cache=cache)
        assert str(items.path) in str(caught.value)


@pytest.mark.parametrize("cached", [False, True])
def test_bad_images_can_be_skipped_with_a_count(
    tmp_path: Path, cached: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FeatureCache(tmp_path / "cache") if cached else None
    noise(0).save(tmp_path / "good.png")
    names = ["good.png", *hostile(tmp_path), "good.png"]
    items = collection(tmp_path, [(name, None) for name in names])
    encoder = ImageDescriptor()
    features = encode_collection(encoder, items, cache=cache, batch_size=3, on_bad_item="skip")
    assert features.present.tolist() == [True] + [False] * 6 + [True]
    assert not features.values[1:7].any()
    np.testing.assert_array_equal(features.values[[0, 7]], encoder.encode([noise(0)] * 2))
    (record,) = caplog.records
    assert record.getMessage().startswith("6 images cannot be read")
    assert "row 2, item 'i1'" in record.getMessage()
    assert record.getMessage().endswith("...")


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (1, 1), 7),
        Image.new("CMYK", (9, 7)),
        Image.new("P", (3, 300)),
        Image.new("RGBA", (300, 2), (9, 9, 9, 0)),
        Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900),
        Image.new("1", (5, 5), 1),
    ],
    ids=lambda image: image.mode,
)
def test_odd_images_are_encoded(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "odd.tiff")
    features = encode_collection(ImageDescriptor(), collection(tmp_path, [("odd.tiff", None)]))
    assert features.present.all()
    assert np.isfinite(features.values).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named_and_not_cached(
    images: Collection, tmp_path: Path, value: float
) -> None:
    class Broken(ImageDescriptor):
        def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
            values = super().embed(prepared)
            values[0, 3] = value
            return values

    position = int(np.flatnonzero(images.has("image"))[0])
    item = images.items[position]
    cache = FeatureCache(tmp_path)
    says = rf"row {item.row}, item '{item.id}': the image encoder .* not finite.*leave the item out"
    for how in ("fail", "skip"):  # all items would be left out
        with pytest.raises(SourceError, match=says):
            encode_collection(Broken(), images, cache=cache, batch_size=1, on_bad_item=how)
    good = encode_collection(ImageDescriptor(), images, cache=cache)
    assert np.isfinite(good.values).all()
    assert good.present.tolist() == images.has("image").tolist()


def test_on_bad_item_is_checked(images: Collection) -> None:
    with pytest.raises(UsageError, match="on_bad_item is 'ignore'"):
        encode_collection(ImageDescriptor(), images, on_bad_item="ignore")


ENCODE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from proxyhash.data.manifest import read_collection
    from proxyhash.encoders import FeatureCache, cache, encode_collection
    from tests.encoders.test_collection import Counting

    cache._FLUSH_ROWS = 8
    encoder = Counting(pause=0.02)
    data = read_collection(Path(sys.argv[1]))
    encode_collection(encoder, data, cache=FeatureCache(sys.argv[2]), batch_size=4)
    """
)


def encode_elsewhere(scenes: Collection, cache: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", ENCODE, str(scenes.path), str(cache)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_stopped_encoding_goes_on_where_it_was(
    scenes: Collection, tmp_path: Path, stop: signal.Signals
) -> None:
    process = encode_elsewhere(scenes, tmp_path)
    folder = tmp_path / "features" / ImageDescriptor().fingerprint
    try:
        limit = time.monotonic() + 60
        while not folder.is_dir() or len(list(folder.glob("[!.]*"))) < 4:
            assert time.monotonic() < limit
            time.sleep(0.002)
    finally:
        process.send_signal(stop)
        assert process.wait(timeout=60) != 0
    kept = len(FeatureCache(tmp_path).open(ImageDescriptor().fingerprint, dim=832))
    assert 0 < kept < len(scenes)
    encoder = Counting()
    resumed = encode_collection(encoder, scenes, cache=FeatureCache(tmp_path))
    distinct = len({path.read_bytes() for path in scenes.sources("image") if path is not None})
    assert distinct - kept <= encoder.seen <= len(scenes) - kept
    fresh = encode_collection(ImageDescriptor(), scenes)
    np.testing.assert_allclose(resumed.values, fresh.values, rtol=1e-5, atol=1e-6)


def test_two_processes_fill_one_cache(scenes: Collection, tmp_path: Path) -> None:
    processes = [encode_elsewhere(scenes, tmp_path) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    encoder = Counting()
    found = encode_collection(encoder, scenes, cache=FeatureCache(tmp_path))
    assert encoder.seen == 0
    fresh = encode_collection(ImageDescriptor(), scenes)
    np.testing.assert_allclose(found.values, fresh.values, rtol=1e-5, atol=1e-6)
