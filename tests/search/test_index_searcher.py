"""Searching an index that carries its model, with a stub in the model's place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from proxyhash.errors import ModelError, UsageError
from proxyhash.files import write_json
from proxyhash.index import MemoryIndex
from proxyhash.index.filters import Contains
from proxyhash.index.store import Store
from proxyhash.search import Query, Searcher
from proxyhash.search.open import is_index
from proxyhash.search.page import render_page
from tests.search.conftest import StubModel

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.search import Answer


@pytest.fixture
def index() -> MemoryIndex:
    index = MemoryIndex(bits=8, model="m1", modalities=("image", "text"))
    index.add(
        ["a", "b"],
        {"image": codes(0b0001, 0b1110), "text": codes(0b0011, 0b1111)},
        payloads=[
            {"text": "red a", "image": "a.png", "labels": ["red"], "distance": 99},
            {"text": "green b", "image": "/etc/passwd", "labels": ["green"], "id": "no"},
        ],
    )
    index.add(["t"], {"text": codes(0b0001)}, payloads=[{"text": 5, "labels": "none"}])
    return index


@pytest.fixture
def searcher(index: MemoryIndex) -> Searcher:
    searcher = Searcher(index, name="photos.index")
    stub = StubModel()
    searcher.__dict__["model"] = stub
    return searcher


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)[:, None]


def pairs(answer: Answer) -> list[tuple[int, str]]:
    return [(hit.distance, hit.id) for hit in answer.hits]


def test_texts_images_and_items_ask(searcher: Searcher, tmp_path: Path) -> None:
    answer = searcher.search_text("red")
    assert pairs(answer) == [(0, "a"), (4, "b")]
    assert (answer.target, answer.searched, answer.bits) == ("image", 2, 8)
    assert answer.codes.tolist() == [[0b0001], [0b1110]]
    assert pairs(searcher.search_text("red", target="text", k=2)) == [(0, "t"), (1, "a")]
    Image.new("RGB", (5, 5)).save(tmp_path / "x.png")
    assert pairs(searcher.search_image(tmp_path / "x.png", k=1)) == [(1, "b")]
    answer = searcher.search_id("t")
    assert (answer.query.modality, answer.query.text, answer.target) == ("text", None, "image")
    answer = searcher.search_id("a", target="image")
    assert (pairs(answer), answer.searched) == ([(4, "b")], 1)


def test_radius_and_filter_narrow_the_answer(searcher: Searcher) -> None:
    assert pairs(searcher.search_text("red", k=None, radius=3)) == [(0, "a")]
    assert pairs(searcher.search_text("red", k=1, filter=Contains("labels", "green"))) == [(4, "b")]
    answer = searcher.search_id("a", k=None, radius=8, target="text")
    assert pairs(answer) == [(0, "t"), (1, "a"), (3, "b")]
    with pytest.raises(UsageError, match="k is 0"):
        searcher.search_text("red", k=0)


def test_a_second_look_weighs_bits_by_the_query(searcher: Searcher, index: MemoryIndex) -> None:
    index.add(["c", "d"], {"image": codes(0b0010, 0b0100)})
    plain = searcher.search_text("red", k=3)
    assert (pairs(plain), plain.rerank) == ([(0, "a"), (2, "c"), (2, "d")], None)
    assert plain.hits[0].asymmetric is None
    looked = searcher.search_text("red", k=3, rerank="asymmetric")
    assert looked.rerank == "asymmetric"
    found = [(hit.id, hit.distance, hit.asymmetric) for hit in looked.hits]
    assert found == [("a", 0, 0), ("c", 2, 30000 / 65535), ("d", 2, 40000 / 65535)]
    assert looked.to_dict()["hits"][1]["asymmetric"] == 30000 / 65535
    assert searcher.count_ties(looked) is looked
    index.upsert(["b"], {"image": codes(0b0000)})
    short = searcher.search_text("red", k=1, rerank="asymmetric", shortlist=1)
    assert [hit.id for hit in short.hits] == ["a"]
    by_item = searcher.search_id("t", rerank="asymmetric", k=4)  # as sure of each bit
    assert [hit.asymmetric for hit in by_item.hits] == [hit.distance for hit in by_item.hits]
    with pytest.raises(UsageError, match="rerank is 'cosine'; it must be one of asymmetric"):
        searcher.search_text("red", rerank="cosine")
    with pytest.raises(UsageError, match="shortlist is 0"):
        searcher.search_text("red", rerank="asymmetric", shortlist=0)


def test_kept_vectors_rank_by_both_sides(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keeps no vectors to rank by; `proxyhash index vectors"):
        searcher.search_text("red", rerank="vectors")
    with Store.create(tmp_path / "index", bits=8, model="m1", keep_vectors="int8") as store:
        searcher.index = store
        own = np.full((3, 8), 65535, np.uint16)
        own[1, 6] = 0  # c is not sure of the bit in which it differs
        store.add(
            ["a", "c", "d"],
            {"image": codes(0b0001, 0b0011, 0b0101), "text": codes(0b0001, 0b0011, 0b0101)},
            weights={"image": own, "text": own},
        )
        looked = searcher.search_text("red", k=3, rerank="vectors")
        assert looked.rerank == "vectors"
        found = [(hit.id, hit.distance, hit.vector_distance) for hit in looked.hits]
        # 20,000 is how sure the query is of that bit, of which c has nothing: half of it remains
        assert found == [("a", 0, 0), ("c", 1, 10000 / 65535), ("d", 1, 30000 / 65535)]
        assert looked.to_dict()["hits"][1]["vector_distance"] == 10000 / 65535
        assert "asymmetric" not in looked.to_dict()["hits"][1]
        by_item = searcher.search_id("c", rerank="vectors", target="image", k=3)
        assert [(hit.id, hit.vector_distance) for hit in by_item.hits] == [("a", 0), ("d", 1)]
        by_code = searcher.search(Query(code=codes(0b0011)[0]), rerank="vectors", k=1)
        assert [(hit.id, hit.vector_distance) for hit in by_code.hits] == [("c", 0.5)]


def test_an_item_deleted_meanwhile_is_no_hit(
    searcher: Searcher, index: MemoryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*arguments: object, **options: object) -> object:
        found = MemoryIndex.search(index, *arguments, **options)  # type: ignore[arg-type]
        index.delete(["a"])
        return found

    monkeypatch.setattr(index, "search", search)
    answer = searcher.search_text("red")
    assert pairs(answer) == [(4, "b")]
    assert answer.codes.tolist() == [[0b1110]]


def test_a_payload_never_covers_id_and_distance(searcher: Searcher) -> None:
    hits = searcher.search_text("red").to_dict()["hits"]
    assert [(hit["id"], hit["distance"]) for hit in hits] == [("a", 0), ("b", 4)]
    assert list(hits[0])[:2] == ["id", "distance"]


def test_the_page_shows_stored_thumbnails_and_opens_no_path(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    answer = searcher.search_id("a")
    page = render_page([answer], title="x", stored=searcher.stored_images)
    assert "data:image" not in page
    page = render_page([answer], title="x", stored={"a": b"\xff\xd8 a JPEG"})
    assert page.count("data:image/jpeg;base64,/9gg") == 2  # the query, and itself by its text


def test_an_index_of_one_modality() -> None:
    index = MemoryIndex(bits=8, modalities=("text",))
    index.add(["t"], codes(0b0001), payloads=[{}])
    searcher = Searcher(index, name="words.index")
    assert searcher.search_id("t", k=1).target == "text"
    with pytest.raises(UsageError, match=r"target is 'image'; it must be one of text"):
        searcher.search_id("t", target="image")
    with pytest.raises(UsageError, match="no item 'x' in the index"):
        searcher.search_id("x")
    with pytest.raises(UsageError, match=r"has no model.*--model RUN"):
        searcher.search_text("red")


def test_a_folder_is_opened_with_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "x.index"
    assert not is_index(str(folder))
    with Store.create(folder, bits=8, model="m1") as store:
        store.add(["a"], {"image": codes(1), "text": codes(2)})
    assert is_index(str(folder))
    assert is_index("http://host:19530")
    with Searcher.open(str(folder)) as searcher:
        assert pairs(searcher.search_id("a")) == [(2, "a")]
        with pytest.raises(UsageError, match="has no model"):
            _ = searcher.model
    write_json(folder / "model" / "model.json", {})
    for fingerprint, bits in (("m2", 8), ("m1", 16)):
        loaded = SimpleNamespace(fingerprint=fingerprint, bits=bits)
        monkeypatch.setattr(
            "proxyhash.hashing.HashModel",
            SimpleNamespace(load=lambda *_, loaded=loaded, **__: loaded),
        )
        with (
            Searcher.open(str(folder)) as searcher,
            pytest.raises(ModelError, match="is not the model that made the codes"),
        ):
            _ = searcher.model
