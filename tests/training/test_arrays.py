"""Training on arrays: the same run as on a manifest, and clear refusals."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse
import torch

import proxyhash as ph
from proxyhash.data import read_collection
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["red", "green", "blue", "gray"]
OPTIONS: dict[str, Any] = {"bits": 16, "epochs": 2, "hidden": [8], "threads": 1}


def arrays(count: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = np.eye(4, dtype=bool)[rng.integers(4, size=count)]
    images = labels @ rng.normal(size=(4, 6)) + rng.normal(size=(count, 6))
    texts = [WORDS[row.argmax()] for row in labels]
    return {"images": images.astype(np.float32), "texts": texts, "labels": labels}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrays") / "run"
    ph.train(**arrays(), out=folder, **OPTIONS)
    return folder


def test_a_run_on_arrays_is_that_of_a_manifest(run: Path, tmp_path: Path):
    given = arrays()
    np.save(tmp_path / "features.npy", given["images"])
    rows = [
        {"id": f"{row:02}", "text": text, "labels": [f"class {label.argmax()}"]}
        for row, (text, label) in enumerate(zip(given["texts"], given["labels"], strict=True))
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ph.train(tmp_path, out=tmp_path / "run", image_encoder="features:features.npy", **OPTIONS)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["map"] == json.loads((tmp_path / "run" / "metrics.json").read_text())["map"]
    ours = ph.CodeFile.load(run / "codes.npz")
    theirs = ph.CodeFile.load(tmp_path / "run" / "codes.npz")
    assert ours.ids == theirs.ids
    np.testing.assert_array_equal(ours.of("image"), theirs.of("image"))
    np.testing.assert_array_equal(ours.of("text"), theirs.of("text"))


def test_the_model_is_that_of_the_run_folder(run: Path):
    kept = ph.HashModel.load(run / "model")
    assert kept.classes == ("class 0", "class 1", "class 2", "class 3")
    temporary = ph.train(**arrays(), **OPTIONS)
    assert temporary.fingerprint == kept.fingerprint
    np.testing.assert_array_equal(temporary.encode_texts(WORDS), kept.encode_texts(WORDS))


def test_the_run_folder_can_be_evaluated_and_moved(run: Path, tmp_path: Path):
    moved = run.rename(tmp_path / "moved")
    try:
        figures = ph.evaluate(moved, data=moved / "inputs").metrics
        assert figures["map"] == json.loads((moved / "metrics.json").read_text())["map"]
        model = ph.HashModel.load(moved / "model")
        codes = model.encode_collection(read_collection(moved / "inputs"))
        np.testing.assert_array_equal(
            codes.of("image"), ph.CodeFile.load(moved / "codes.npz").of("image")
        )
    finally:
        moved.rename(run)


def test_features_of_both_modalities_and_of_missing_items(tmp_path: Path):
    given = arrays()
    texts = np.array([[len(text), *map(ord, text[:2])] for text in given["texts"]], np.float32)
    texts[5] = np.nan
    model = ph.train(**{**given, "texts": texts}, out=tmp_path, **OPTIONS)
    assert ph.CodeFile.load(tmp_path / "codes.npz").has("text").tolist() == [
        row != 5 for row in range(60)
    ]
    assert model.encode_features(texts[:2], modality="text").shape == (2, 2)
    with pytest.raises(UsageError, match="passed to encode_features"):
        model.encode_texts(["red"])


def test_paths_and_missing_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from proxyhash.datasets.scenes import generate_scenes

    scenes = generate_scenes(tmp_path, items=40, seed=0, size=32)
    monkeypatch.chdir(tmp_path)
    images: list[Any] = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jpg"))[:40]
    texts: list[Any] = [f"text {row % 3}" for row in range(len(images))]
    images[3], texts[4] = None, None
    labels = [sorted(item.labels) for item in scenes.items][: len(images)]
    seen: list[str] = []

    def track(steps, description, total=None):
        seen.append(description)
        yield from steps

    ph.train(
        images=images, texts=texts, labels=labels, out="run", image_encoder="descriptor",
        track=track, **OPTIONS,
    )  # fmt: skip
    codes = ph.CodeFile.load("run/codes.npz")
    assert not codes.has("image")[3]
    assert codes.has("image").sum() == len(images) - 1
    assert not codes.has("text")[4]
    assert any("encoding images" in each for each in seen)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (np.eye(3, dtype=bool), None, [["class 0"], ["class 1"], ["class 2"]]),
        (np.array([[1, 1], [0, 0]]), ["a", "b"], [["a", "b"], []]),
        (scipy.sparse.csr_array(np.array([[0, 1.0]])), None, [["class 1"]]),
        (np.array([2, 0]), None, [["class 2"], ["class 0"]]),
        (np.array(["dog", "cat"]), None, [["dog"], ["cat"]]),
        ([["dog", "cat"], [], "snow"], None, [["dog", "cat"], [], ["snow"]]),
        ([[10, 2], 0], None, [["class 10", "class 02"], ["class 00"]]),
        ([{1}, (0,)], ["a", "b"], [["b"], ["a"]]),
    ],
)
def test_labels_come_in_many_forms(labels, classes, expected):
    from proxyhash.training.array_inputs import _label_names

    assert _label_names(labels, classes) == expected


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.zeros((3, 2))}, UsageError, "images has 3, texts has 60, labels has 60"),
        ({"ids": ["a"]}, UsageError, "ids has 1 items"),
        ({"labels": None, "classes": ["a"]}, UsageError, "classes names the columns of labels"),
        ({"images": None, "texts": None}, UsageError, "no images and no texts"),
        ({"labels": np.full((60, 2), 3)}, DataError, "other values than 0 and 1"),
        ({"labels": [-1] * 60}, DataError, "label -1 of item 0"),
        ({"labels": [1.5] * 60}, DataError, "label 1.5 of item 0"),
        ({"classes": ["a"]}, UsageError, "classes has 1 names for 4 classes"),
        ({"images": np.zeros((60, 2, 2))}, DataError, r"images have shape \(60, 2, 2\)"),
        ({"texts": "red"}, UsageError, "texts is a single string"),
        ({"texts": [3] + ["red"] * 59}, DataError, "neither all strings nor all numbers"),
        ({"texts": ["red", 3] * 30}, DataError, "text 1 has the type int; a string or None"),
        ({"image_encoder": "patches"}, UsageError, "an encoder of images was given, but"),
        ({"encoders": {"image": "patches"}}, UsageError, "an encoder of images was given, but"),
        ({"sources": {"sound": ["a"] * 60}}, UsageError, "modality is 'sound'"),
        ({"data": "photos"}, UsageError, "data and images, texts, labels were given"),
        ({"resume": True}, UsageError, "resume needs the run folder"),
        ({"epoch": 3}, UsageError, "epoch"),
    ],
)
def test_what_cannot_be_used_is_said(change, error, message):
    with pytest.raises(error, match=message):
        ph.train(**{**arrays(), **change})


def test_nothing_given_is_said():
    with pytest.raises(UsageError, match="neither was given"):
        ph.train()


def test_a_folder_in_use_is_left_alone_and_a_run_can_be_continued(run: Path, tmp_path: Path):
    before = (run / "metrics.json").read_bytes()
    with pytest.raises(UsageError, match="not empty"):
        ph.train(**arrays(), out=run, **OPTIONS)
    assert (run / "metrics.json").read_bytes() == before
    other = tmp_path / "other"
    ph.train(**arrays(), out=other, **{**OPTIONS, "epochs": 1})
    with pytest.raises(UsageError, match="epochs"):
        ph.train(**arrays(), out=other, resume=True, **OPTIONS)
    ph.train(**arrays(), out=other, overwrite=True, **OPTIONS)
    again = ph.train(**arrays(), out=other, resume=True, **OPTIONS)
    assert again.fingerprint == ph.HashModel.load(run / "model").fingerprint


def test_epochs_are_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="proxyhash.training.arrays"):
        ph.train(**arrays(), **OPTIONS)
    assert [each.message.split(",")[0] for each in caplog.records] == ["epoch 1/2", "epoch 2/2"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_refused_arrays_leave_the_run_as_it_is(run: Path):
    before = contents(run)
    given = arrays()
    for changed in ({"images": 2 * given["images"]}, {"texts": given["texts"][::-1]}):
        with pytest.raises(UsageError, match="was trained on other arrays"):
            ph.train(**{**given, **changed}, out=run, resume=True, **OPTIONS)
    with pytest.raises(UsageError, match="was trained on other arrays"):
        ph.train(**arrays(40), out=run, resume=True, **OPTIONS)
    with pytest.raises(UsageError, match="bits"):
        ph.train(**arrays(40), out=run, overwrite=True, **{**OPTIONS, "bits": 0})
    assert contents(run) == before


def test_refused_arrays_leave_no_folder(tmp_path: Path):
    with pytest.raises(UsageError, match="bits"):
        ph.train(**arrays(), out=tmp_path / "run", **{**OPTIONS, "bits": 0})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["numbers", "truths", "tensor", "frame"])
def test_multi_hot_labels_may_be_of_any_kind(kind: str):
    given = arrays()
    labels: Any = given["labels"]
    if kind == "numbers":
        labels = labels.astype(int).tolist()
    elif kind == "truths":
        labels = labels.tolist()
    elif kind == "tensor":
        labels = torch.tensor(labels)
    else:
        labels = Frame(labels)
    model = ph.train(**{**given, "labels": labels}, **{**OPTIONS, "epochs": 1})
    assert model.classes == ("class 0", "class 1", "class 2", "class 3")


class Frame:
    """A table: its elements are its columns' names, and only `__array__` has the values."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __iter__(self) -> Any:
        return iter(range(self.values.shape[1]))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        del copy
        return np.asarray(self.values, dtype)


def test_sparse_features_are_features():
    given = arrays()
    images = scipy.sparse.csr_matrix(given["images"])
    model = ph.train(**{**given, "images": images}, **{**OPTIONS, "epochs": 1})
    assert model.networks["image"].dim_in == 6


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"labels": 3}, UsageError, "labels is 3"),
        ({"labels": np.array(3)}, DataError, r"shape \(\)"),
        ({"labels": "red"}, UsageError, "labels is 'red'"),
        ({"labels": np.zeros((60, 1, 4), bool)}, DataError, r"shape \(60, 1, 4\)"),
        ({"classes": ["a", "a", "b", "c"]}, DataError, "classes 0 and 1 are both 'a'"),
        ({"classes": "abcd"}, UsageError, "classes is the string"),
        ({"ids": ["a"] * 60}, DataError, "ids 0 and 1 are both 'a'"),
        ({"images": np.ones((60, 6)) * 1j}, DataError, "complex128"),
        ({"images": torch.ones(60, 6, requires_grad=True)}, DataError, "grad"),
        ({"images": iter("ab")}, UsageError, "images is a str_"),
        ({"texts": ["a\ud800"] * 60}, DataError, "item 0 holds '\\\\ud800'"),
        ({"sources": {"image": ["a"] * 60}}, UsageError, "sources has image, too"),
        ({"encoders": "bow"}, UsageError, "encoders is 'bow'"),
        ({"posterior": "maybe"}, UsageError, "posterior is 'maybe'"),
    ],
)  # fmt: skip
def test_more_that_cannot_be_used_is_said(changed: dict[str, Any], kind: type, said: str):
    with pytest.raises(kind, match=said):
        ph.train(**{**arrays(), **changed}, **OPTIONS)


def test_a_run_on_arrays_can_be_moved(run: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    ph.train(**arrays(), out=tmp_path / "copy", **OPTIONS)
    (tmp_path / "copy").rename(moved)
    assert ph.evaluate(moved).metrics["map"] == ph.evaluate(run).metrics["map"]
    with ph.open_searcher(moved) as searcher:
        assert len(searcher.search_text("red", k=3).hits) == 3


def test_indexes_are_opened_by_path(tmp_path: Path):
    with ph.create_index(tmp_path / "i", bits=8, modalities=["text"]) as index:
        index.add(["a"], np.array([[3]], np.uint8))
    with ph.open_index(tmp_path / "i") as index:
        assert len(index) == 1
    with ph.open_searcher(tmp_path / "i") as searcher:
        assert searcher.search(ph.Query(code="03"), k=1).hits[0].id == "a"
