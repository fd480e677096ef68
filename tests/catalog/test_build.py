"""What is said when an index is built."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from proxyhash.catalog.build import build_index, warn_of_unlearned
from proxyhash.catalog.catalog import Catalog
from proxyhash.data import Collection
from proxyhash.data.item import item_from_record
from proxyhash.errors import DataError
from tests.catalog.conftest import contents, write

if TYPE_CHECKING:
    from pathlib import Path


def collection(path: Path, *labels: list[str]) -> Collection:
    records = [{"id": f"i{row}", "text": "x", "labels": each} for row, each in enumerate(labels)]
    return Collection.of(path, [item_from_record(each, row=1) for each in records])


def test_labels_that_the_model_never_learned_are_named(tmp_path: Path, caplog: Any) -> None:
    classes = ["car", "crowd_group", "dog"]
    warn_of_unlearned(classes, collection(tmp_path, ["car"], ["dog", "car"], []))
    warn_of_unlearned([], collection(tmp_path, ["drone"]))  # learned from pairs
    assert caplog.text == ""
    warn_of_unlearned(classes, collection(tmp_path, ["cars", "drone"], ["drone"], ["dog"]))
    (record,) = caplog.records
    assert record.getMessage() == (
        'the model was trained on 3 classes; "drone" (2 items), "cars" (1 item, did you mean '
        '"car"?) are only filters until you train again'
    )
    many = [[f"label{row}"] for row in range(50)]
    warn_of_unlearned(classes, collection(tmp_path, *many))
    assert "and 45 more are only filters" in caplog.records[-1].getMessage()


def test_an_image_that_stops_a_build_before_anything_is_stored_leaves_no_index(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    manifest, folder = write(tmp_path, items), tmp_path / "new.index"
    (tmp_path / "data" / "images" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"3\.png"):
        build_index(small_run, manifest, folder)
    assert not folder.exists()
    build_index(small_run, manifest, folder, on_bad_item="skip")
    assert list(contents(folder)["i3"][0]) == ["text"]


def test_a_disk_that_is_full_before_anything_is_stored_leaves_no_index(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, folder = write(tmp_path, items), tmp_path / "new.index"
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "put_model", Mock(side_effect=full))
        with pytest.raises(OSError, match="No space left"):
            build_index(small_run, manifest, folder)
    assert not folder.exists()
    assert build_index(small_run, manifest, folder).added == 6
