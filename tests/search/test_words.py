"""Words and codes together, through `Searcher`, with a stub in the model's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.index import MemoryIndex
from proxyhash.index.store import Store
from proxyhash.search import Query, Searcher, SearchOptions, search_many
from proxyhash.search.page import render_page
from proxyhash.search.query import UnknownWordsError
from tests.search.conftest import StubModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxyhash.search import Answer

TEXTS = {"a": "red kayak XJ-900", "b": "green tent", "c": "red tent", "d": "a boat"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    codes = np.array([[0b1110], [0b0001], [0b0011], [0b0111]], np.uint8)
    with Store.create(tmp_path / "i", bits=8, model="m1") as store:
        payloads = [{"text": text, "labels": [f"l-{id_}"]} for id_, text in TEXTS.items()]
        store.add(list(TEXTS), {"image": codes, "text": codes}, payloads=payloads)
        yield store


@pytest.fixture
def searcher(store: Store) -> Searcher:
    searcher = Searcher(store, name=str(store.folder))
    searcher.__dict__["model"] = StubModel()
    return searcher


def ids(answer: Answer) -> str:
    return "".join(hit.id for hit in answer.hits)


def test_the_default_is_codes_until_there_is_a_word_index(searcher: Searcher, store: Store) -> None:
    before = searcher.search_text("red xj-900")
    assert (before.mode, ids(before)) == ("codes", "bcda")
    assert all(hit.fused is None and hit.matched == () for hit in before.hits)
    with pytest.raises(UsageError, match=r"mode is both, but .*i has no word index; `proxyhash"):
        searcher.search_text("red", mode="both")
    store.fill_words()
    after = searcher.search_text("red xj-900")
    assert (after.mode, after.hits[0].id) == ("both", "a")
    assert after.hits[0].matched == ("red", "xj 900", "xj", "900")
    assert [hit.distance for hit in after.hits if hit.id == "a"] == [4]
    assert ids(searcher.search_text("red xj-900", mode="codes")) == ids(before)
    words = searcher.search_text("red xj-900", mode="words")
    assert (ids(words), words.amount) == ("a", "1 with these words among 4 images")
    assert words.to_dict()["hits"][0]["matched"] == ["red", "xj 900", "xj", "900"]
    assert ids(searcher.search_text("red l-c", k=1)) == "c"  # labels have words, too
    assert "by code and words" in str(after)


def test_only_texts_have_words(searcher: Searcher, store: Store) -> None:
    store.fill_words()
    for query in (Query(item="a"), Query(code="01"), Query(vector=np.ones(2), modality="text")):
        for mode in (None, "both", "codes"):
            assert searcher.search(query, mode=mode).mode == "codes"
        with pytest.raises(
            UsageError, match=r"mode is words, but the query is by \w+, and only a text"
        ):
            searcher.search(query, mode="words")


def test_texts_that_the_model_does_not_know_are_found_by_their_words(
    searcher: Searcher, store: Store
) -> None:
    with pytest.raises(UnknownWordsError):
        searcher.search_text("kayak")
    store.fill_words()
    answer = searcher.search_text("kayak")
    assert (ids(answer), answer.mode, answer.hits[0].matched) == ("a", "both", ("kayak",))
    assert not answer.remarks  # it was found, whatever the model knows
    with pytest.raises(UnknownWordsError, match="knows no word"):
        searcher.search_text("zebra")
    assert ids(searcher.search_text("zebra", mode="words")) == ""
    together = search_many(
        searcher, [Query(text="kayak"), Query(text="red"), Query(item="b")], SearchOptions(k=2)
    )
    assert next(ids(one) for one in together) == "a"
    assert [one.mode for one in together] == ["both", "both", "codes"]


def test_a_damaged_word_index_is_said_and_codes_still_answer(
    searcher: Searcher, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.fill_words()
    (path,) = store.folder.glob("generation-*/words-*.sqlite")
    path.write_bytes(b"not a database" * 1000)
    answer = searcher.search_text("red")
    assert (ids(answer), answer.mode) == ("bcda", "codes")
    assert [note.kind for note in answer.notes] == ["no_words"]
    assert "proxyhash index words" in caplog.text
    with pytest.raises(DataError, match="proxyhash index words"):
        searcher.search_text("red", mode="both")


def test_other_indexes_say_what_to_do() -> None:
    index = MemoryIndex(bits=8, model="m1")
    searcher = Searcher(index, name="runs/1")
    searcher.__dict__["model"] = StubModel()
    assert searcher.search_text("red").mode == "codes"
    with pytest.raises(UsageError, match="runs/1 is searched by codes alone; `proxyhash index bui"):
        searcher.search_text("red", mode="words")
    index.kind = "milvus"  # type: ignore[misc]
    with pytest.raises(UsageError, match="a milvus index has no word index; a folder has: `proxyh"):
        searcher.search_text("red", mode="words")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "word"}, "mode is 'word'; it must be one of both, codes, words"),
        ({"words_weight": 1.5}, "words_weight is 1.5; it must be from 0 to 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SearchOptions(**options)  # type: ignore[arg-type]


def test_the_page_marks_the_words_found(searcher: Searcher, store: Store) -> None:
    store.upsert(
        ["e"],
        {"image": np.array([[1]], np.uint8)},
        payloads=[{"text": "<b>Kâyak</b> & kayaks, XJ 900"}],
    )
    store.fill_words()
    page = render_page([searcher.search_text('kayak "xj-900"')], title="t")
    assert "&lt;b&gt;<mark>Kâyak</mark>&lt;/b&gt; &amp; kayaks, <mark>XJ</mark> <mark>900" in page
    page = render_page([searcher.search_text("kaya*")], title="t")
    assert "<mark>Kâyak</mark>&lt;/b&gt; &amp; <mark>kayaks</mark>, XJ 900" in page
