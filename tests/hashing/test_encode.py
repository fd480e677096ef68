"""`Encode` against the model itself, for every kind of column that a batch can have."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from proxyhash.encoders import PrecomputedFeatures
from proxyhash.errors import DataError, ImageError, ModelError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.hashing.encode import Encode
from proxyhash.networks import HashingNetwork


@pytest.fixture
def model(small_run):
    return HashModel.load(small_run / "model")


def test_a_batch_comes_back_with_codes_in_place_of_its_sources(model, scenes):
    paths, texts = scenes.sources("image")[:9], scenes.sources("text")[:9]
    batch = {
        "id": np.array(scenes.ids[:9]),
        "image": [*map(str, paths)],
        "text": texts,
        "n": [*"123456789"],
    }
    found = Encode(model)(batch)
    assert [*found] == ["id", "n", "image_codes", "has_image", "text_codes", "has_text"]
    assert (found["image_codes"] == model.encode_images(paths)).all()
    assert (found["text_codes"] == model.encode_texts(texts)).all()
    assert found["id"] is batch["id"]
    assert found["has_image"].all()
    assert found["has_text"].all()


def test_bytes_paths_and_arrays_give_the_same_codes(small_run, scenes):
    paths = scenes.sources("image")[:5]
    encode = Encode(small_run, root=scenes.root)  # the folder: loaded at the first batch
    expected = encode({"image": [path.relative_to(scenes.root) for path in paths]})
    content = np.array([path.read_bytes() for path in paths], dtype=object)
    assert (encode({"image": content})["image_codes"] == expected["image_codes"]).all()
    names = np.array([str(path) for path in paths])
    assert (encode({"image": names})["image_codes"] == expected["image_codes"]).all()
    assert not encode({"image": names})["has_text"].any()


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan"), np.float32("nan")])
def test_missing_cells(model, missing):
    found = Encode(model)({"text": ["a red car", missing]})
    assert found["has_text"].tolist() == [True, False]
    assert not found["text_codes"][1].any()


def test_rows_may_repeat_and_batches_may_be_empty(model):
    found = Encode(model)({"id": ["a", "a"], "text": ["a red car"] * 2})
    assert (found["text_codes"][0] == found["text_codes"][1]).all()
    assert Encode(model)({"text": []})["text_codes"].shape == (0, 2)


def test_what_cannot_be_read_is_named_or_marked(model, scenes):
    batch = {
        "row": [7, 8],
        "id": ["a", "b"],
        "image": ["gone.jpg", str(scenes.sources("image")[0])],
    }
    with pytest.raises(ImageError, match=r"^m\.csv, row 7, item 'a': gone\.jpg: no such file"):
        Encode(model, manifest="m.csv")(batch)
    with pytest.raises(ImageError, match=r"^the batch, row 0: the image"):
        Encode(model)({"image": [b"not an image"]})
    found = Encode(model, on_bad_item="skip")(batch)
    assert found["unreadable_image"].tolist() == [True, False]
    assert found["has_image"].tolist() == [False, True]


def test_wrong_batches(model, small_run, tmp_path):
    with pytest.raises(UsageError, match="columns img; the model takes image and text"):
        Encode(model)({"img": ["a.jpg"]})
    with pytest.raises(UsageError, match=r"different lengths: {'id': 1, 'text': 2}"):
        Encode(model)({"id": [1], "text": ["a", "b"]})
    with pytest.raises(
        DataError, match=r"row 1: text is 3 \(a Python int\); a string is expected$"
    ):
        Encode(model)({"text": ["a", 3]})
    with pytest.raises(DataError, match="a string is expected, or the bytes of a file"):
        Encode(model)({"image": [3]})
    with pytest.raises(ModelError, match="another model here than where the work was started"):
        Encode(small_run, fingerprint="0" * 64)({"text": ["a"]})
    with pytest.raises(ModelError, match="holds no trained model"):
        Encode(tmp_path)({"text": ["a"]})
    with pytest.raises(UsageError, match="on_bad_item"):
        Encode(model, on_bad_item="ignore")


def test_an_unused_one_can_be_sent_to_another_process(small_run, model):
    sent = pickle.loads(pickle.dumps(Encode(small_run)))
    assert (sent({"text": ["a red car"]})["text_codes"] == model.encode_texts(["a red car"])).all()


@pytest.mark.parametrize("by_id", [False, True])
def test_precomputed_features_are_found_by_position_or_id(by_id, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((6, 5)).astype(np.float32)
    values[4] = np.nan
    path = tmp_path / ("f.npz" if by_id else "f.npy")
    if by_id:
        order = rng.permutation(6)
        np.savez(path, x=values[order], ids=np.array([*"abcdef"])[order])
    else:
        np.save(path, values)
    model = HashModel(
        bits=16,
        classes=["x"],
        method="dchml",
        networks={"text": HashingNetwork(5, 16)},
        encoders={"text": PrecomputedFeatures.from_file(path, modality="text")},
    )
    batch = {"position": [5, 1, 4], "id": ["f", "b", "e"], "text": ["x", None, "x"]}
    found = Encode(model, items=6, on_bad_item="skip")(batch)
    assert found["has_text"].tolist() == [True, True, False]
    assert found["unreadable_text"].tolist() == [False, False, True]
    expected = model.encode_features(values[[5, 1]], modality="text")
    assert (found["text_codes"][:2] == expected).all()
    with pytest.raises(UsageError, match="pass items=, and the columns position and id"):
        Encode(model)(batch)
    if not by_id:
        with pytest.raises(DataError, match="has 6 rows, but the manifest has 7 items"):
            Encode(model, items=7)(batch)
