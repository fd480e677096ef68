"""Searching a run whose codes are known by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from proxyhash.data.run_data import read_run_collection
from proxyhash.errors import DataError, ModelError, UsageError
from proxyhash.files import read_json, write_json
from proxyhash.index.filters import Range
from proxyhash.search import RunSearcher

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.search import Answer


def pairs(answer: Answer) -> list[tuple[int, str]]:
    return [(hit.distance, hit.id) for hit in answer.hits]


def test_a_text_finds_images_of_the_gallery(searcher: RunSearcher) -> None:
    answer = searcher.search_text("  something\n red ", k=3)
    assert pairs(answer) == [(0, "a"), (0, "b"), (2, "gone")]  # q is a query, not in the gallery
    assert answer.target == "image"
    assert answer.searched == 6
    assert answer.bits == 8
    assert answer.query.text == "something red"
    assert answer.codes.tolist() == [[0b0001], [0b0001], [0b0111]]


def test_hits_carry_text_image_and_labels(searcher: RunSearcher, run: Path) -> None:
    hit = searcher.search_text("red", k=1).hits[0]
    assert hit.payload["text"] == "red a"
    assert hit.payload["labels"] == ["red", "green"]
    assert hit.payload["image"] == str(run.parent / "data" / "a.png")


def test_hits_keep_further_keys_and_filters_read_them(searcher: RunSearcher) -> None:
    answer = searcher.search_text("red", k=10, filter=Range("price", lt=4))
    assert [(hit.id, hit.payload["price"]) for hit in answer.hits] == [("c", 3)]
    assert answer.searched == 1


def test_a_key_that_cannot_be_stored_costs_the_other_items_nothing(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = run.parent / "data" / "items.jsonl"
    manifest.write_text(manifest.read_text().replace('"price": 3', f'"price": {2**70}'))
    searcher = RunSearcher.open(run)
    assert len(searcher.search_id("b", k=50).hits) == 6
    assert "row 4: key 'price' holds an integer of more than 64 bits" in caplog.text
    assert "the key is left out" in caplog.text


def test_a_text_finds_texts(searcher: RunSearcher) -> None:
    answer = searcher.search_text("blue", target="text", k=3)
    assert pairs(answer) == [(0, "only-text"), (0, "plain"), (1, "a")]


def test_an_image_finds_texts(searcher: RunSearcher, run: Path) -> None:
    answer = searcher.search_image(run.parent / "data" / "c.png", k=2)
    assert pairs(answer) == [(0, "c"), (1, "gone")]
    assert str(answer.query) == "the image c.png"


def test_an_item_finds_the_other_modality_without_a_model(run: Path) -> None:
    searcher = RunSearcher.open(run)
    assert pairs(searcher.search_id("c", k=1)) == [(0, "c")]  # its own text is a fair answer
    answer = searcher.search_id("only-text", k=2)
    assert (answer.query.modality, answer.target) == ("text", "image")
    assert pairs(answer) == [(0, "gone"), (0, "plain")]


def test_an_item_is_no_answer_to_its_own_code(run: Path) -> None:
    searcher = RunSearcher.open(run)
    answer = searcher.search_id("b", k=2, target="image")
    assert pairs(answer) == [(0, "a"), (2, "gone")]
    assert answer.searched == 5
    assert len(searcher.search_id("b", k=50, target="image").hits) == 5
    assert pairs(searcher.search_id("q", k=2, target="image")) == [(0, "a"), (0, "b")]


def test_gives_at_most_the_gallery(searcher: RunSearcher) -> None:
    assert len(searcher.search_text("red", k=100).hits) == 6
    assert len(searcher.search_text("red", k=100, target="text").hits) == 6


def test_answers_are_ready_for_json(searcher: RunSearcher) -> None:
    answer = searcher.search_id("b", k=1)
    value = json.loads(json.dumps(answer.to_dict()))
    assert value["query"]["id"] == "b"
    assert value["hits"][0]["distance"] == 0
    assert set(value["hits"][0]) == {"id", "distance", "text", "image", "labels"}
    assert str(answer) == "1 nearest of 6 texts to the image of item b (8 bits)"
    assert str(searcher.search_text("red", k=2)) == (
        '2 nearest of 6 images to the text "red" (8 bits)'
    )


def test_wrong_queries_say_what_is_wrong(searcher: RunSearcher) -> None:
    with pytest.raises(UsageError, match="the text is empty; write some words"):
        searcher.search_text(" \n")
    with pytest.raises(UsageError, match="knows no word of 'xyzzy plugh'"):
        searcher.search_text("xyzzy plugh")
    with pytest.raises(UsageError, match="k is 0"):
        searcher.search_text("red", k=0)
    with pytest.raises(UsageError, match="target is 'video'"):
        searcher.search_text("red", target="video")
    with pytest.raises(UsageError, match=r"has no item 'nope'; its ids look like 'q'"):
        searcher.search_id("nope")


def test_a_model_of_one_modality(searcher: RunSearcher, run: Path) -> None:
    searcher.model.encoders.clear()
    with pytest.raises(UsageError, match="no text encoder"):
        searcher.search_text("red")
    with pytest.raises(UsageError, match="no image encoder"):
        searcher.search_image(run / "x.png")


def test_codes_of_another_model_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "proxyhash.hashing.HashModel",
        SimpleNamespace(load=lambda *_, **__: SimpleNamespace(fingerprint="m2")),
    )
    write_json(run / "model" / "model.json", {})
    with pytest.raises(ModelError, match="was made by another model"):
        RunSearcher.open(run).search_text("red")


def test_a_gallery_without_the_modality(run: Path) -> None:
    data = run.parent / "data"
    lines = [{"id": "x", "text": "one", "labels": []}, {"id": "y", "text": "two", "labels": []}]
    (data / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    from proxyhash.codes import CodeFile
    from proxyhash.data import Split, read_collection

    collection = read_collection(data)
    Split.of(2, query=[0], train=[], validation=[], seed=0, source="drawn").save(
        run / "split.json", collection
    )
    codes = CodeFile.load(run / "codes.npz")
    CodeFile(
        ids=("x", "y"),
        codes={"image": codes.of("image")[:2] * 0, "text": codes.of("text")[:2]},
        present={name: collection.has(name) for name in ("image", "text")},
        bits=8,
    ).save(run / "codes.npz")
    answer = RunSearcher.open(run).search_id("x")
    assert (answer.target, answer.hits, answer.searched) == ("image", (), 0)
    assert str(answer) == "0 nearest of 0 images to the text of item x (8 bits)"


def test_folders_that_are_no_runs(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere does not exist; give the folder that"):
        RunSearcher.open(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="is not a run folder"):
        RunSearcher.open(tmp_path)
    (run / "codes.npz").unlink()
    with pytest.raises(ModelError, match=r"has no codes.npz; the training did not finish"):
        RunSearcher.open(run)


def test_a_config_that_was_damaged(run: Path) -> None:
    write_json(run / "config.json", {"date": 1})
    with pytest.raises(ModelError, match="no key 'data'"):
        read_run_collection(run)
    (run / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config.json, line 1"):
        read_run_collection(run)


def test_a_collection_that_changed_is_refused(run: Path) -> None:
    manifest = run.parent / "data" / "items.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ModelError, match="codes of other items than"):
        RunSearcher.open(run)


def test_a_collection_that_moved_can_be_named(run: Path) -> None:
    (run.parent / "data").rename(run.parent / "moved")
    with pytest.raises(ModelError, match="give its new location with --data"):
        RunSearcher.open(run)
    searcher = RunSearcher.open(run, data=run.parent / "moved")
    assert pairs(searcher.search_id("b", k=1)) == [(0, "b")]
    assert read_json(run / "config.json")["data"].endswith("data")


def test_opening_a_run_does_not_load_torch(run: Path) -> None:
    code = (
        "import sys\n"
        "from proxyhash.search import RunSearcher\n"
        f"RunSearcher.open({str(run)!r}).search_id('b')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
