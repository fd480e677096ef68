"""The word index of a folder, compared with a loop over what the index holds."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import DataError, UsageError
from proxyhash.index.filters import Equals
from proxyhash.index.second_look import SecondLook
from proxyhash.index.store import Store, word_lookup
from proxyhash.index.words import DEPTH, WordQuery, inverse_frequency, rarity_of, split_words
from proxyhash.index.words import words_of_payload as words_of

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.index import Hit, IndexItem
    from proxyhash.index.filters import Filter

BITS = 16
WORDS = ["dog", "cat", "snow", "beach", "red", "blue", "run", "xj-900", "café"]


def codes(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, BITS // 8), np.uint8)


def make(folder: Path, texts: dict[str, str], **more: Any) -> Store:
    """Return an index of texts with a word index, open for writing."""
    store = Store.create(folder, bits=BITS, modalities=("image",))
    put(store, texts, **more)
    store.fill_words()
    return store


def put(store: Store, texts: dict[str, str], seed: int = 0, **more: Any) -> None:
    payloads = [{"text": text, **more} for text in texts.values()]
    store.upsert(list(texts), codes(len(texts), seed), payloads=payloads)


def found(store: Store, text: str, *, k: int = 50, **more: Any) -> list[str]:
    """Return the ids that match by words alone."""
    query = WordQuery.of(text, weight=1.0)
    return [hit.id for hit in store.search_words(codes(1, 9), [query], k=k, **more)[0]]


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return sum(int(a ^ b).bit_count() for a, b in zip(one.tolist(), other.tolist(), strict=True))


def slow_search(
    store: Store,
    code: np.ndarray,
    query: WordQuery,
    *,
    k: int,
    filter: Filter | None = None,  # noqa: A002
) -> list[tuple[str, int, float]]:
    """Return ids, distances and fused scores by loops; no dead rows, all terms looked up."""
    nearest = [hit.id for hit in store.search(code[None], k=max(k, DEPTH), filter=filter)[0]]
    every: dict[str, IndexItem] = {one.id: one for some in store.items() for one in some}
    passing = {hit.id for hit in store.search(code[None], k=10**6, filter=filter)[0]}
    texts = {id_: " ".join(words_of(item.payload, None)) for id_, item in every.items()}

    def has(text: str, words: tuple[str, ...], *, prefix: bool) -> bool:
        return (" " + " ".join(words) + ("" if prefix else " ")) in f" {text} "

    scores: dict[str, float] = {}
    rarity: dict[str, float] = {}
    for term in query.terms:
        those = [id_ for id_, text in texts.items() if has(text, term.words, prefix=term.prefix)]
        for id_ in those:
            if id_ in passing:
                value = inverse_frequency(len(every), len(those))
                scores[id_] = scores.get(id_, 0.0) + value
                rare = rarity_of(len(every), len(those))
                rarity[id_] = max(rarity.get(id_, 0.0), rare)
    for term in query.terms:
        if term.required:
            scores = {
                id_: score
                for id_, score in scores.items()
                if has(texts[id_], term.words, prefix=term.prefix)
            }
    best = max(scores.values(), default=0.0)
    scores = {id_: score for id_, score in scores.items() if score >= best / 2 - 1e-12}
    fused = {}
    for id_ in {*scores, *(nearest if query.weight < 1 else ())}:
        total = 0.0
        if query.weight < 1 and id_ in nearest:
            total += (1 - query.weight) / (61 + nearest.index(id_))
        if id_ in scores:
            rank = 1 + sum(one > scores[id_] + 1e-12 for one in scores.values())
            total += query.weight * rarity[id_] / (60 + rank)
        fused[id_] = total
    hits = [(id_, distance(code, every[id_].codes["image"]), fused[id_]) for id_ in fused]
    return sorted(hits, key=lambda hit: (-round(hit[2], 12), hit[1], hit[0]))[:k]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An index of 300 short texts without a dead row."""
    dice = random.Random(0)
    texts = {f"i{n:03}": " ".join(dice.choices(WORDS, k=4)) for n in range(300)}
    store = Store.create(
        tmp_path_factory.mktemp("words") / "index", bits=BITS, modalities=("image",)
    )
    payloads = [{"text": text, "odd": n % 2} for n, text in enumerate(texts.values())]
    store.add(list(texts), codes(300, 1), payloads=payloads)
    assert store.fill_words() == 300
    return store


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("condition", [None, Equals("odd", 1)])
@pytest.mark.parametrize(
    "text", ["dog", "red dog", 'snow "red dog"', "xj-900 cafe", "bea* blu*", "nothing", '"no dog"']
)
def test_hits_are_those_of_loops(
    made: Store, text: str, condition: Filter | None, weight: float
) -> None:
    query = WordQuery.of(text, weight=weight)
    for code, k in ((codes(1, 5)[0], 10), (codes(1, 6)[0], 150)):
        hits = made.search_words(code[None], [query], k=k, filter=condition)[0]
        wanted = slow_search(made, code, query, k=k, filter=condition)
        assert [(hit.id, hit.distance) for hit in hits] == [(id_, far) for id_, far, _ in wanted]
        assert [hit.fused for hit in hits] == pytest.approx([score for *_, score in wanted])


def test_several_queries_at_once_are_each_alone(made: Store) -> None:
    texts, own = ["dog", "xj-900 snow", "nothing", "red"], codes(4, 3)
    queries = [WordQuery.of(text, weight=[0.5, 1.0][n % 2]) for n, text in enumerate(texts)]
    together = made.search_words(own, queries, k=7)
    for row, query in enumerate(queries):
        assert together[row] == made.search_words(own[row : row + 1], [query], k=7)[0]
    assert together[2][0].matched == ()
    assert together[1][0].matched[0] == "xj 900"


def test_radius_and_second_look_hold_for_both_lists(made: Store) -> None:
    query, code = WordQuery.of("dog snow"), codes(1, 8)
    all_hits = made.search_words(code, [query], k=300)[0]
    near = made.search_words(code, [query], k=None, radius=5)[0]
    assert {hit.id for hit in near} == {hit.id for hit in made.search(code, radius=5)[0]}
    assert near
    assert max(hit.distance for hit in all_hits) > 5
    look = SecondLook(np.full((1, BITS), 256, np.uint16) * 4, 120)
    looked = made.search_words(code, [query], k=20, look=look)[0]
    plain = made.search_words(code, [query], k=20)[0]
    assert [hit.id for hit in looked] == [hit.id for hit in plain]  # all bits count alike
    assert any(hit.asymmetric is not None for hit in looked)


@given(st.text(max_size=30) | st.text(st.sampled_from(list('dog "*-:^(){}+,')), max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_text_is_syntax(made: Store, text: str) -> None:
    for weight in (0.5, 1.0):
        hits = made.search_words(codes(1, 2), [WordQuery.of(text, weight=weight)], k=3)[0]
        if not split_words(text):
            assert len(hits) == (0 if weight == 1 else 3)


def test_changes_are_found_and_what_is_gone_is_not(tmp_path: Path) -> None:
    with make(tmp_path / "i", {"a": "old dog", "b": "cat", "c": "dog"}) as store:
        assert sorted(found(store, "dog")) == ["a", "c"]
        put(store, {"a": "new quokka", "d": "dog"})
        assert sorted(found(store, "dog")) == ["c", "d"]
        assert found(store, "quokka") == ["a"]
        assert found(store, "old") == []
        store.delete(["c"])
        assert found(store, "dog") == ["d"]
        assert store.verify() == []
        with Store.open(tmp_path / "i") as reader:
            assert found(reader, "quokka") == ["a"]
            put(store, {"e": "wombat"})
            assert found(reader, "wombat") == ["e"]
            store.compact()
            assert found(reader, "wombat") == ["e"]
            put(store, {"f": "wombat"})
            assert sorted(found(reader, "wombat")) == ["e", "f"]
        state = store.words_state()
        assert state is not None
        assert state.rows == 5
        assert store.verify() == []


def test_the_fields_of_payloads_can_be_chosen(tmp_path: Path) -> None:
    with make(tmp_path / "i", {"a": "dog"}, sku="XJ-900", image="photos/1.jpg") as store:
        assert found(store, "xj-900") == ["a"]
        assert found(store, "photos") == []
        store.fill_words(fields=["sku"])
        assert found(store, "xj-900") == ["a"]
        assert found(store, "dog") == []
        put(store, {"b": "dog"}, sku="XJ-901")
        store.compact()
        assert sorted(found(store, "xj*")) == ["a", "b"]
        assert found(store, "dog") == []


def test_items_without_a_code_of_the_target_are_not_found_there(tmp_path: Path) -> None:
    with Store.create(tmp_path / "i", bits=BITS) as store:
        store.add(["x"], {"image": codes(1, 0)}, payloads=[{"text": "dog"}])
        store.add(["y"], {"text": codes(1, 0)}, payloads=[{"text": "dog"}])
        store.fill_words()
        assert found(store, "dog", modality="image") == ["x"]
        assert found(store, "dog", modality="text") == ["y"]


def test_without_one_the_error_says_which_command_makes_it(tmp_path: Path) -> None:
    with Store.create(tmp_path / "i", bits=BITS, modalities=("image",)) as store:
        put(store, {"a": "dog"})
        assert not store.has_words
        assert store.words_state() is None
        with pytest.raises(UsageError, match=r"has no word index; `proxyhash index words .*i`"):
            found(store, "dog")
        with Store.open(tmp_path / "i") as reader:
            assert reader.fill_words() == 1
        assert store.has_words
        assert found(store, "dog") == ["a"]
        put(store, {"b": "dog"})  # the writer follows an index that another process made
        assert sorted(found(store, "dog")) == ["a", "b"]


def test_frequent_words_are_left_to_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyhash.index.store.word_lookup._FEW", 5)
    monkeypatch.setattr("proxyhash.index.store.word_lookup._MANY", 8)
    monkeypatch.setattr("proxyhash.index.store.word_lookup._MOST", 10)
    texts = {f"i{n:02}": "often" + " seldom" * (n < 4) + " once" * (n == 0) for n in range(20)}
    with make(tmp_path / "i", texts) as store:
        both = store.search_words(codes(1, 9), [WordQuery.of("often")], k=20)[0]
        assert {hit.matched for hit in both} == {()}
        alone = found(store, "often")
        assert sorted(alone) == [f"i{n:02}" for n in range(8)]  # bounded
        hits = store.search_words(codes(1, 9), [WordQuery.of("often seldom once")], k=20)[0]
        assert hits[0].id == "i00"
        assert hits[0].matched == ("seldom", "once")
        assert found(store, '"often seldom"') == found(store, "seldom")
        assert found(store, '"often"') == []  # more than a question may read


@pytest.mark.parametrize("text", ['"red dog"', "dog", '"red dog" dog'])
def test_a_filter_is_applied_to_all_rows_of_a_frequent_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(word_lookup, "_MANY", 50)
    store = make(tmp_path, {f"first-{n}": "a red dog" for n in range(200)}, kind="usual")
    put(store, {f"last-{n}": "a red dog" for n in range(10)}, kind="rare")
    rare = Equals("kind", "rare")
    assert set(found(store, text, filter=rare)) == {f"last-{n}" for n in range(10)}


def break_words(folder: Path, how: str) -> None:
    (path,) = folder.glob("generation-*/words-*.sqlite")
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 3])
    elif how == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(len(content)))
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        with sqlite3.connect(path) as database:
            database.execute(how)


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "noise",
        "folder",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE terms",
        "UPDATE state SET version = 2",
        "UPDATE state SET fields = 'x'",
        "DELETE FROM state",
        "UPDATE terms SET rows = 'many'",
        "UPDATE words_data SET block = x'00'",
    ],
)
def test_a_damaged_one_is_named_with_the_command_that_mends_it(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "i"
    with make(folder, {"a": "dog", "b": "cat"}):
        pass
    break_words(folder, how)
    with Store.open(folder, write=True) as store:  # the items are whole
        assert len(store.search(codes(1, 0), k=2)[0]) == 2
        if "block" not in how:  # which finds nothing
            with pytest.raises(DataError, match=r"words-000001.*`proxyhash index words .*i`"):
                found(store, "dog")
        assert any("index words" in problem for problem in store.verify())
        put(store, {"c": "dog"})
        assert len(store) == 3
        store.fill_words()
        assert sorted(found(store, "dog")) == ["a", "c"]
        assert store.verify() == []


def test_other_words_than_the_payloads_are_found_by_verify(tmp_path: Path) -> None:
    with make(tmp_path / "i", {"a": "dog", "b": "cat"}):
        pass
    (path,) = (tmp_path / "i").glob("generation-*/words-*.sqlite")
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO words(rowid, text) VALUES (1, 'horse')")
        database.execute("INSERT INTO terms VALUES ('horse', 1)")
    with Store.open(tmp_path / "i") as store:
        (problem,) = store.verify()
    assert "1 item has other words than its payload; `proxyhash index words" in problem


_WRITER = """
import sys
import numpy as np
from proxyhash.index.store import Store, word_lookup
with Store.open(sys.argv[1], write=True) as store:
    for number in range(10_000):
        store.upsert([f"n{number % 40}"], np.full((1, 2), number % 256, np.uint8),
                     payloads=[{"text": f"token{number} all"}])
        print(number, flush=True)
"""

_FILLER = """
import sys
from proxyhash.index.store import Store, word_lookup
with Store.open(sys.argv[1]) as store:
    while True:
        store.fill_words()
        print("filled", flush=True)
"""


def killed(script: str, folder: Path, lines: int, delay: float) -> list[str]:
    """Run a script, kill it some time after it printed lines, and return what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    os.kill(process.pid, signal.SIGSTOP) if delay < 0 else None
    try:
        process.wait(max(delay, 0.001))
    except subprocess.TimeoutExpired:
        process.kill()
    said += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    return said


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
def test_a_killed_writer_leaves_an_index_that_the_next_one_completes(
    tmp_path: Path, turn: int
) -> None:
    folder = tmp_path / "i"
    with make(folder, {"a": "dog"}):
        pass
    said = killed(_WRITER, folder, 15, 0.005 * (turn + 1))
    last = int(said[-1])
    with Store.open(folder) as reader:
        assert found(reader, "dog") == ["a"]
        texts = {one.id: one.payload["text"] for some in reader.items() for one in some}
        for id_ in found(reader, "all"):  # never another item's words
            assert "all" in str(texts[id_])
    with Store.open(folder, write=True) as store:
        assert store.verify() == []
        assert found(store, f"token{last}") in ([f"n{last % 40}"], [])
        item = store.get(f"n{last % 40}")
        assert found(store, str(item.payload["text"]).split()[0]) == [item.id]


@pytest.mark.slow
def test_a_killed_command_leaves_the_old_word_index(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    dice = random.Random(0)
    texts = {f"i{n}": " ".join(dice.choices(WORDS, k=30)) for n in range(3000)}
    with make(folder, texts | {"a": "quokka"}):
        pass
    for turn in range(3):
        killed(_FILLER, folder, 1, 0.03 * (turn + 1))
        with Store.open(folder) as reader:
            assert found(reader, "quokka") == ["a"]
            assert reader.verify() == []
    with Store.open(folder) as reader:
        reader.fill_words()
    left = sorted(path.name for path in folder.glob("generation-*/.words*"))
    assert left == []
    assert len(list(folder.glob("generation-*/words-*.sqlite"))) == 1


@pytest.mark.slow
def test_readers_see_whole_answers_while_another_process_writes(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    with make(folder, {"a": "dog"}):
        pass
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with Store.open(folder) as reader:
            for _ in range(150):
                hits: list[Hit] = reader.search_words(
                    codes(1, 0), [WordQuery.of("all token7", weight=1.0)], k=100
                )[0]
                assert all("all" in str(hit.payload["text"]) for hit in hits)
                assert found(reader, "dog") == ["a"]
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_what_no_code_knows_comes_first_however_frequent(tmp_path: Path) -> None:
    texts = {f"i{n:03}": "acme bag" if n < 40 else "bag" for n in range(150)}
    with make(tmp_path / "i", texts) as store:
        own = codes(1, 9)
        plain = store.search_words(own, [WordQuery.of("acme bag")], k=40)[0]
        known = store.search_words(own, [WordQuery.of("acme bag", unknown=["ACME"])], k=40)[0]
    assert not all("acme" in hit.matched for hit in plain)
    assert all("acme" in hit.matched for hit in known)
    assert [hit.distance for hit in known] == sorted(hit.distance for hit in known)
