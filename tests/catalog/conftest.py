"""Six scenes in a folder of their own, and what an index holds of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.catalog.catalog import Catalog
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


@pytest.fixture
def items(scenes: Collection, tmp_path: Path) -> list[dict[str, Any]]:
    """Records of six scenes, whose images are copied beside them."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    found = []
    for row in range(6):
        source = scenes.sources("image")[row]
        shutil.copy(str(source), tmp_path / "data" / "images" / f"{row}.png")
        text = scenes.items[row].sources["text"]
        found.append({"id": f"i{row}", "image": f"images/{row}.png", "text": text})
    return found


def write(folder: Path, records: list[dict[str, Any]]) -> Path:
    path = folder / "data" / "items.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def contents(index: Path) -> dict[str, Any]:
    """Codes, payload and thumbnail of every item."""
    thumbnails = Catalog(index).thumbnails
    with Store.open(index) as store:
        return {
            item.id: (
                {name: code.tolist() for name, code in item.codes.items()},
                item.payload,
                thumbnails and thumbnails.get(item.id),
            )
            for some in store.items()
            for item in some
        }
