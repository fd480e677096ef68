"""An index remembers what images it took, and its searches and its service take as much."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from proxyhash.catalog.build import add_to_index, build_index
from proxyhash.catalog.images import ImagesTaken, images_taken
from proxyhash.catalog.manage import snapshot_index, verify_index
from proxyhash.cli.serve import _image_limits
from proxyhash.data.images import ImageLimits, current_limits
from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandResult


def photos(folder: Path, **sizes: tuple[int, int]) -> Path:
    folder.mkdir(exist_ok=True)
    rows = []
    for name, size in sizes.items():
        Image.effect_noise(size, 50).convert("RGB").save(folder / f"{name}.png")
        rows.append({"id": name, "image": f"{name}.png", "text": "a duck and a boat"})
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_what_was_taken_is_remembered_and_can_ask(
    small_run: Path, tmp_path: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    items = photos(tmp_path / "photos", small=(40, 30), large=(100, 80))
    index = tmp_path / "index"
    with pytest.raises(ImageError, match=r"large.png: 100x80 has more than 5,000 pixels"):
        build_index(small_run, items, index, max_megapixels=0.005)
    report = build_index(small_run, items, index, max_megapixels=0.005, on_bad_item="skip")
    assert (report.stored, images_taken(index).max_pixels) == (2, 5000)  # one by its text
    with pytest.raises(ImageError, match=r"large.png: 100x80 has more than 5,000 pixels"):
        add_to_index(str(index), items)
    report = add_to_index(str(index), items, max_megapixels=0.008)
    assert (report.replaced, report.unchanged, report.incomplete) == (1, 1, 0)
    largest = (items / "large.png").stat().st_size
    assert images_taken(index) == ImagesTaken(8000, largest)
    assert current_limits() == ImageLimits()
    assert verify_index(str(index)) == []

    found = proxyhash_command("search", index, "--image", items / "large.png", "--json")
    assert found.json["query"]["kind"] == "image"
    too_large = photos(tmp_path / "more", larger=(100, 90))
    refused = proxyhash_command("search", index, "--image", too_large / "larger.png")
    assert refused.code == 3
    assert "100x90 has more than 8,000 pixels" in refused.err
    assert "--max-megapixels" in refused.err

    snapshot_index(str(index), tmp_path / "copy")
    assert images_taken(tmp_path / "copy") == images_taken(index)
    (index / "images.json").unlink()
    assert images_taken(index) == ImagesTaken()


def test_the_limits_of_a_service_default_to_those_of_its_index(tmp_path: Path) -> None:
    given = {"format": 1, "max_pixels": 90_000_000, "largest_file": 14_000_000}
    (tmp_path / "images.json").write_text(json.dumps(given))
    index = str(tmp_path)
    assert _image_limits(index, None, None) == {"upload_bytes": 14_000_000, "pixels": 90_000_000}
    assert _image_limits(index, 1.5, 2.0) == {"upload_bytes": 1_500_000, "pixels": 2_000_000}
    given = {"format": 1, "max_pixels": None, "largest_file": 10**12}
    (tmp_path / "images.json").write_text(json.dumps(given))
    assert _image_limits(index, None, None) == {"upload_bytes": 200_000_000}
    assert _image_limits(str(tmp_path / "none"), None, None) == {"upload_bytes": 10_000_000}


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", '{"format": 2, "max_pixels": 5}', '{"format": 1}',
        '{"format": 1, "max_pixels": -1, "largest_file": "x"}',
        '{"format": 1, "max_pixels": true, "largest_file": 1.5}',
        '{"format": 1, "max_pixels": 1e99, "largest_file": []}',
        '{"format": 1, "max_pixels": 99999999999999, "largest_file": -3}',
    ],
)  # fmt: skip
def test_a_damaged_memory_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text(content)
    assert images_taken(tmp_path) == ImagesTaken()
