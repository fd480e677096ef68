"""The files of shards: what belongs to which work, and that nothing is lost or there twice."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from proxyhash.data import read_collection
from proxyhash.encoding.shards import Shards
from proxyhash.errors import DataError, ProxyhashError, UsageError


@pytest.fixture
def collection(tmp_path):
    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(name.encode() * 8)
    rows = [{"id": name, "image": f"{name}.png", "text": name * 3} for name in "abcde"]
    del rows[3]["image"]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_collection(path)


def shards_of(collection, folder, **changes):
    settings = {"model": "m", "bits": 8, "modalities": ("image", "text"), "size": 2} | changes
    shards = Shards(folder, collection, **settings)
    shards.open()
    return shards


def encoded(batch):
    """Codes that tell which item they are of."""
    codes = np.array([[ord(id_)] for id_ in batch["id"]], np.uint8)
    has = np.array([image is not None for image in batch["image"]])
    return {
        "position": batch["position"],
        "id": np.array(batch["id"]),
        "image_codes": codes * has[:, None],
        "has_image": has,
        "text_codes": codes,
        "has_text": np.ones(len(codes), np.bool_),
    }


def test_a_shard_that_lacks_something_is_done_where_that_may_be(collection, tmp_path):
    skipping = shards_of(collection, tmp_path / "s", skips=True)
    for number in range(3):
        codes = encoded(skipping.batch(number))
        codes["has_image"] &= np.array([id_ != "b" for id_ in codes["id"]])
        codes["image_codes"] = codes["image_codes"] * codes["has_image"][:, None]
        codes["unreadable_image"] = np.array([id_ == "b" for id_ in codes["id"]])
        skipping.put(number, codes)
    assert skipping.done() == [0, 1, 2]
    strict = shards_of(collection, tmp_path / "s")
    assert strict.done() == [1, 2]
    with pytest.raises(DataError, match="shard 0 of 3 is not in"):
        strict.merged()
    strict.put(0, encoded(strict.batch(0)))  # it can be read now
    assert strict.done() == [0, 1, 2]
    for shards in (strict, shards_of(collection, tmp_path / "s", skips=True)):
        merged = shards.merged()
        assert merged.has("image").tolist() == [True, True, True, False, True]
        assert not merged.missed("image").any()
    assert shards_of(collection, tmp_path / "s").done() == [0, 1, 2]


def test_every_item_is_in_one_shard_and_comes_back_once_in_order(collection, tmp_path):
    shards = shards_of(collection, tmp_path / "s")
    assert (len(shards), [*map(shards.items_of, range(3))]) == (3, [2, 2, 1])
    assert [*map(shards.sources_of, range(3))] == [4, 3, 2]
    for number in (2, 0, 1):  # whichever comes first
        assert not shards.is_done(number)
        shards.put(number, encoded(shards.batch(number)))
        assert shards.is_done(number)
    merged = shards_of(collection, tmp_path / "s").merged()
    assert merged.ids == tuple("abcde")
    assert merged.of("text")[:, 0].tolist() == [*b"abcde"]
    assert merged.has("image").tolist() == [True, True, True, False, True]
    assert merged.of("image")[:, 0].tolist() == [97, 98, 99, 0, 101]
    assert (merged.bits, merged.model) == (8, "m")
    shards.remove()
    assert not (tmp_path / "s").exists()


def test_a_batch_has_the_rows_of_the_manifest(collection, tmp_path):
    batch = shards_of(collection, tmp_path / "s").batch(1)
    assert batch["position"].tolist() == [2, 3]
    assert batch["row"].tolist() == [3, 4]
    assert batch["id"] == ["c", "d"]
    assert batch["image"] == ["c.png", None]
    assert batch["text"] == ["ccc", "ddd"]
    there = shards_of(collection, tmp_path / "s").batch(1, root=tmp_path)
    assert there["image"] == [str(tmp_path / "c.png"), None]


def test_only_shards_of_what_is_there_now_are_done(collection, tmp_path):
    shards = shards_of(collection, tmp_path / "s")
    for number in range(3):
        shards.put(number, encoded(shards.batch(number)))
    assert shards_of(collection, tmp_path / "s").done() == [0, 1, 2]
    (tmp_path / "c.png").write_bytes(b"another image")
    text = collection.path.read_text().replace('"eee"', '"other"')
    collection.path.write_text(text + '{"id": "f", "text": "f"}\n')
    grown = shards_of(read_collection(collection.path), tmp_path / "s")
    assert grown.done() == [0]
    with pytest.raises(DataError, match=r"shard 1 of 3 is not in .* images changed meanwhile"):
        grown.merged()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 3}, "holds shards of 2 items, .* not of 3; continue it with --shard-items 2, or"),
        ({"model": "n"}, "holds shards of another model, .* or delete .*/s to start over"),
    ],
)
def test_shards_of_other_work_are_refused(collection, tmp_path, changes, message):
    shards_of(collection, tmp_path / "s")
    with pytest.raises(UsageError, match=message):
        shards_of(collection, tmp_path / "s", **changes)


def test_a_folder_of_something_else_is_left_alone(collection, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / ".plan-1.json").write_text("")  # what a kill may leave
    shards_of(collection, folder)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="is not a folder of shards"):
        shards_of(collection, folder)


def test_items_that_are_lost_twice_or_of_another_shard_are_refused(collection, tmp_path):
    shards = shards_of(collection, tmp_path / "s")
    whole = encoded(shards.batch(0))
    wrong = [
        {name: column[:1] for name, column in whole.items()},
        {name: np.concatenate([column, column]) for name, column in whole.items()},
        {name: column[::-1] for name, column in whole.items()},
        encoded(shards.batch(1)),
    ]
    for each in wrong:
        with pytest.raises(ProxyhashError, match=r"shard 0 of .* came back with other items"):
            shards.put(0, each)
    assert shards.is_empty


def test_a_shard_that_was_damaged_or_exchanged_is_named(collection, tmp_path):
    shards = shards_of(collection, tmp_path / "s")
    for number in range(3):
        shards.put(number, encoded(shards.batch(number)))
    first, second, _ = sorted((tmp_path / "s").glob("0*.npz"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=f"{first.name} holds codes of other items"):
        shards.merged()
    first.write_bytes(content[:-40])
    with pytest.raises(DataError, match=f"{first.name} .* delete it and run the same command"):
        shards.merged()
