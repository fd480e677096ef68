from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from proxyhash.data import Collection, Item
from proxyhash.data.protocols import PROTOCOLS, SplitProtocol
from proxyhash.errors import DataError, ModelError, UsageError
from proxyhash.training.config import read_config
from proxyhash.training.prepare import preparing_key
from proxyhash.training.split import choose_split


def collection_of(count, *, split=lambda _: None, labeled=lambda _: True):
    items = [
        Item(
            id=str(position),
            sources={"image": "a.jpg", "text": "words"},
            labels=("x",) if labeled(position) else (),
            split=split(position),
        )
        for position in range(count)
    ]
    return Collection.of(Path("items.jsonl"), items)


def sizes(collection, **values):
    split = choose_split(read_config({"data": "d", "out": "o", **values}), collection)
    return len(split.query), len(split.train), len(split.validation), len(split.strict_gallery)


def test_defaults_follow_the_size():
    # 40 queries; 360 * 4/5 = 288 may teach, a twentieth of them chooses the epoch
    assert sizes(collection_of(400)) == (40, 288 - 14, 14, 72)


def test_defaults_are_capped():
    assert sizes(collection_of(20_000)) == (1000, 15_200 - 500, 500, 3800)


def test_numbers_given_are_taken():
    assert sizes(collection_of(400), query=50, train=100, validation=0) == (50, 100, 0, 250)
    assert sizes(collection_of(400), query=50, train=100) == (50, 95, 5, 250)


def test_unlabeled_items_stay_in_the_gallery():
    collection = collection_of(400, labeled=lambda position: position % 2 == 0)
    query, train, validation, strict = sizes(collection)
    assert (query, train + validation) == (20, 144)
    assert strict == 400 - 20 - 144


def test_named_parts_are_followed():
    names = {0: "test", 1: "train", 2: "val"}
    collection = collection_of(90, split=lambda position: names[position % 3])
    assert sizes(collection) == (30, 30, 30, 0)
    without = collection_of(90, split=lambda position: names[position % 2])
    assert sizes(without) == (45, 43, 2, 0)
    assert sizes(without, validation=0) == (45, 45, 0, 0)
    assert sizes(without, train=20) == (9, 19, 1, 61)


def test_too_few_labeled_items():
    with pytest.raises(UsageError, match="9 items with labels; training needs at least 10"):
        sizes(collection_of(9))


def test_a_protocol_fixes_the_sizes(monkeypatch):
    collection = collection_of(400)
    small = SplitProtocol("dcmh-mirflickr", "MIRFLICKR-25K", 400, 1, 50, 200, "nowhere")
    monkeypatch.setitem(PROTOCOLS, "dcmh-mirflickr", small)
    assert sizes(collection, protocol="dcmh-mirflickr") == (50, 190, 10, 150)
    assert sizes(collection, protocol="dcmh-mirflickr", validation=0) == (50, 200, 0, 150)
    named = collection_of(400, split=lambda position: ("test", "train")[position % 2])
    assert sizes(named, protocol="dcmh-mirflickr") == (50, 190, 10, 150)


def test_runs_of_another_protocol_share_no_inputs():
    """Or the second of two cells of a suite would be measured on the split of the first."""
    least = {"data": "d", "out": "o"}
    keys = [
        preparing_key(read_config({**least, "protocol": name}))
        for name in (None, "dcmh-mirflickr", "dcmh-mirflickr")
    ]
    assert keys[0] != keys[1] == keys[2]


def test_a_protocol_of_another_collection():
    with pytest.raises(DataError, match=r"400 items of 1 classes.*needs MS COCO with 122,218"):
        sizes(collection_of(400), protocol="dchmt-coco")


def test_encoders_are_made_before_the_first_image_is_encoded(scenes, tmp_path, monkeypatch):
    """A text model without a tokenizer was found out after hours of encoding images."""
    from proxyhash.training import prepare as module

    encoded = []

    def encode(encoder, *_, **__):
        encoded.append(encoder.modality)

    monkeypatch.setattr(module, "encode_collection", encode)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    save_file({"a": np.zeros(1, np.float32)}, folder / "model.safetensors")
    values = {"data": str(scenes.root), "out": "o", "image_encoder": "descriptor"}
    with pytest.raises(ModelError, match="has no tokenizer"):
        module.prepare(read_config({**values, "text_encoder": str(folder)}))
    assert not encoded
