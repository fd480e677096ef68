"""The same question gives the same answer everywhere: Python, command line, HTTP and `Client`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.client import Client
from proxyhash.errors import ProxyhashError
from proxyhash.hashing import HashModel
from proxyhash.index import parse_filter_text
from proxyhash.index.filters import filter_to_json
from proxyhash.index.store import Store
from proxyhash.search import Query, Searcher, SearchOptions, search_many
from tests.service.conftest import Built, open_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.testclient import TestClient

    from proxyhash.search import Answer
    from tests.conftest import CommandResult

QUESTIONS = 200
BITS = 16
FOR = {"image": "images", "text": "texts"}


@dataclass(frozen=True)
class Question:
    """One search in words that all four ways are made from.

    Attributes:
        query: arguments of `Query`; images are paths, codes hex.
        options: arguments of `SearchOptions`, the filter as text.
        deleted: ids that are deleted while it is answered, after the index was searched.
    """

    query: dict[str, Any]
    options: dict[str, Any]
    deleted: list[str] = field(default_factory=list)


class Asker:
    """Draws questions about one index."""

    def __init__(self, built: Built, folder: Path, *, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.ids = list(built.collection.ids)
        self.texts = [str(text) for text in built.collection.sources("text")]
        self.images = built.collection.sources("image")
        self.labels = built.collection.classes
        self.broken = folder / "broken.png"
        self.broken.write_bytes(b"not an image")
        model = HashModel.load(built.run / "model")
        self.features = {
            name: model.encoder(name).encode(inputs[:20])  # type: ignore[union-attr]
            for name, inputs in (("text", self.texts), ("image", self.images))
        }

    def one(self, values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def question(self) -> Question:
        deleted = [self.one(self.ids) for _ in range(60)] if self.rng.random() < 0.15 else []
        query, options = self.query(), self.options()
        if options["mode"] == "words" and "text" not in query and self.rng.random() < 0.8:
            options["mode"] = "both"
        return Question(query, options, deleted)

    def query(self) -> dict[str, Any]:
        draw = self.rng.random()
        if draw < 0.25:
            return {
                "text": self.one(
                    [*self.texts, "xyzzy plugh", " \n ", "  a   duck\n", "a ducc swims"]
                )
            }
        if draw < 0.35:
            return {"text": self.one(["xyzzy", "plugh frotz", "", " "])}
        if draw < 0.45:
            return {"image": self.one([*self.images[:9], self.broken])}
        if draw < 0.75:
            item = self.one([*self.ids[:30], "nobody", "é/ ?"])
            modality = self.one([None, None, "image", "text", "sound"])
            return {"item": item, "modality": modality}
        if draw < 0.9:
            code = self.one([self.rng.bytes(2).hex()] * 6 + ["00", "", "xy00", "00 ff", "00ff00"])
            return {"code": code, "modality": self.one([None, None, "image", "text"])}
        modality = self.one(["image", "text"])
        vector = self.one(self.features[modality])
        bad = self.rng.random() < 0.2
        return {"vector": vector[:-1] if bad else vector, "modality": modality}

    def options(self) -> dict[str, Any]:
        condition = self.one(
            [
                None,
                None,
                f"labels contains '{self.one(self.labels)}'",
                f"not labels contains '{self.one(self.labels)}'",
                "text >= b and text < h",
                "text = nobody",
                "prise < 3",
                "text > 9",
                "labels contains dgo or labels contains duck",
            ]
        )
        radius = self.one([None, None, None, 0, 3, 6, 16, 99, -1])
        return {
            "target": self.one([None, None, "image", "text"]),
            "k": self.one([1, 3, 12, 12, 40, 300, 300, 0] + [None] * 2 * (radius is not None)),
            "radius": radius,
            "filter": condition,
            "rerank": self.one([None] * 9 + ["asymmetric"] * 3 + ["vectors"] * 4 + ["cosine"]),
            "shortlist": self.one([1000] * 6 + [5, 40, None] * 3 + [0]),
            "mode": self.one([None] * 12 + ["codes", "both", "both", "words"]),
            "words_weight": self.one([0.55] * 6 + [0.2, 1.0]),
        }


_OWN = ("id", "distance", "asymmetric", "vector_distance", "fused", "matched", "image")

Outcome = dict[str, Any]
"""What can be compared: the answer, or {"error": sentence}."""


def outcome_of(answer: Answer) -> Outcome:
    return {
        "target": answer.target,
        "searched": answer.searched,
        "bits": answer.bits,
        "code": answer.query.code.tobytes().hex(),
        "modality": answer.query.modality,
        "hits": [
            (
                hit.id,
                hit.distance,
                hit.asymmetric,
                hit.vector_distance,
                hit.fused,
                list(hit.matched),
                {k: v for k, v in hit.payload.items() if k != "image"},
            )
            for hit in answer.hits
        ],
        "codes": [code.tobytes().hex() for code in answer.codes],
        "mode": answer.mode,
        "words": None if answer.words is None else list(answer.words),
        "notes": [note.to_dict() for note in answer.notes],
    }


class Ways:
    """The four ways to ask one index, and a writer that deletes items meanwhile.

    Args:
        index: folder of the index.
        service: in-process client of a service over it.
        command: runs the command line in this process.
        folder: for files that the command line reads.
    """

    def __init__(
        self,
        index: Path,
        service: TestClient,
        command: Callable[..., CommandResult],
        folder: Path,
    ) -> None:
        self.index, self.service, self.command, self.folder = index, service, command, folder
        self.searcher = Searcher.open(str(index))
        self.client = Client("http://localhost")
        self.client.close()
        self.client._connection._http = service
        self.writer = Store.open(index, write=True)
        self.doomed: list[str] = []

    def close(self) -> None:
        self.searcher.close()
        self.writer.close()

    def all(self) -> dict[str, Callable[[Question], Outcome]]:
        return {
            "python": self.python,
            "command line": self.command_line,
            "http": self.http,
            "client": self.by_client,
        }

    def ask(self, way: Callable[[Question], Outcome], question: Question) -> Outcome:
        """Ask one way; what is deleted meanwhile is put back before the next."""
        self.doomed = question.deleted
        before = list(self.writer.get_many(question.deleted).values())
        try:
            return way(question)
        except ProxyhashError as error:
            return {"error": str(error)}
        finally:
            self.doomed = []
            if before:
                self.writer.upsert(
                    [item.id for item in before],
                    {
                        name: np.stack([item.codes[name] for item in before])
                        for name in ("image", "text")
                    },
                    payloads=[item.payload for item in before],
                    weights={
                        name: np.stack([item.weights[name] for item in before])
                        for name in ("image", "text")
                    },
                )

    def python(self, question: Question) -> Outcome:
        options = question.options | {"filter": parsed(question)}
        (answer,) = search_many(self.searcher, [Query(**question.query)], SearchOptions(**options))
        return outcome_of(answer)

    def by_client(self, question: Question) -> Outcome:
        options = question.options | {"filter": parsed(question)}
        (answer,) = self.client.search_many([Query(**question.query)], SearchOptions(**options))
        return outcome_of(answer)

    def http(self, question: Question) -> Outcome:
        filter_ = parsed(question)
        options = question.options | {"filter": filter_ and filter_to_json(filter_)}
        query = dict(question.query)
        if "image" in query:
            answer = self.service.post(
                "/v1/search/image",
                files={"image": query["image"].read_bytes()},
                data={"options": json.dumps(options)},
            )
        else:
            if "item" in query:
                query["id"] = query.pop("item")
            if "vector" in query:
                query["vector"] = query["vector"].tolist()
            answer = self.service.post("/v1/search", json=query | options)
        body = answer.json()
        if answer.status_code != 200:
            assert answer.status_code in (404, 422)
            return {"error": body["error"]["message"]}
        return {
            **{
                name: body[name]
                for name in ("target", "searched", "bits", "mode", "words", "notes")
            },
            **{name: body["query"][name] for name in ("code", "modality")},
            "hits": [
                (
                    hit["id"],
                    hit["distance"],
                    hit["asymmetric"],
                    hit["vector_distance"],
                    hit["fused"],
                    hit["matched"],
                    hit["payload"],
                )
                for hit in body["hits"]
            ],
            "codes": [hit["code"] for hit in body["hits"]],
        }

    def command_line(self, question: Question) -> Outcome:
        arguments: list[object] = []
        for name, value in question.query.items():
            if name == "vector":
                np.save(self.folder / "vector.npy", value)
                arguments += ["--vector", self.folder / "vector.npy"]
            elif value is not None:
                arguments += ["--id" if name == "item" else f"--{name}", value]
        options = question.options
        arguments += ["-k", options["k"]] if options["k"] is not None else []
        arguments += ["--radius", options["radius"]] if options["radius"] is not None else []
        arguments += ["--for", FOR[options["target"]]] if options["target"] else []
        arguments += ["--where", options["filter"]] if options["filter"] else []
        arguments += ["--rerank", options["rerank"]] if options.get("rerank") else []
        shortlist = options.get("shortlist", 1000)
        arguments += ["--shortlist", "all" if shortlist is None else shortlist]
        arguments += ["--mode", options["mode"]] if options.get("mode") else []
        arguments += ["--words-weight", options.get("words_weight", 0.55)]
        done = self.command("search", self.index, *arguments, "--json")
        if done.code:
            assert done.code in (2, 3)
            assert done.out == ""
            return {"error": done.err.removeprefix("proxyhash: ").removesuffix("\n")}
        body = done.json
        return {
            **{
                name: body[name]
                for name in ("target", "searched", "bits", "mode", "words", "notes")
            },
            **{name: body["query"][name] for name in ("code", "modality")},
            "hits": [
                (
                    hit["id"],
                    hit["distance"],
                    hit.get("asymmetric"),
                    hit.get("vector_distance"),
                    hit.get("fused"),
                    hit.get("matched", []),
                    {k: v for k, v in hit.items() if k not in _OWN},
                )
                for hit in body["hits"]
            ],
            "codes": body["codes"],
        }


def parsed(question: Question) -> Any:
    condition = question.options["filter"]
    return None if condition is None else parse_filter_text(condition)


@pytest.fixture
def ways(
    built: Built,
    index_copy: Path,
    tmp_path: Path,
    proxyhash_command: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ways]:
    monkeypatch.setattr(HashModel, "load", cache(HashModel.load))
    with open_client(built, index=str(index_copy)) as service:
        ways = Ways(index_copy, service, proxyhash_command, tmp_path)

        def deleting(search: Callable[..., Any]) -> Callable[..., Any]:
            def and_delete(self: Store, *arguments: Any, **options: Any) -> Any:
                found = search(self, *arguments, **options)
                if ways.doomed:
                    ways.writer.delete(ways.doomed)
                return found

            return and_delete

        monkeypatch.setattr(Store, "search", deleting(Store.search))
        monkeypatch.setattr(Store, "search_words", deleting(Store.search_words))
        yield ways
        ways.close()


def test_four_ways_answer_alike(ways: Ways, built: Built, tmp_path: Path) -> None:
    asker = Asker(built, tmp_path, seed=11)
    refused = dropped = filtered = own = reranked = worded = 0
    for number in range(QUESTIONS):
        question = asker.question()
        found = {name: ways.ask(way, question) for name, way in ways.all().items()}
        if question.query.get("image") is asker.broken:  # a path is named, bytes cannot be
            for outcome in found.values():  # and they have no suffix that says what they should be
                outcome["error"] = outcome["error"].partition(": ")[2].partition(";")[0].rstrip(")")
        for name, outcome in found.items():
            assert outcome == found["python"], (number, name, question)
        answer = found["python"]
        refused += "error" in answer
        if "error" not in answer:
            kept = {id_ for id_, *_ in answer["hits"]}
            assert not kept & set(question.deleted)
            assert question.query.get("item") not in kept or answer["modality"] != answer["target"]
            by = {None: 1, "asymmetric": 2, "vectors": 3}[question.options["rerank"]]
            order = [(hit[by], hit[0]) for hit in answer["hits"]]
            if answer["mode"] != "codes":
                order = [(-hit[4], hit[1], hit[0]) for hit in answer["hits"]]
                worded += any(hit[5] for hit in answer["hits"])
            assert order == sorted(order)
            reranked += bool(order) and by > 1
            dropped += bool(question.deleted)
            filtered += question.options["filter"] is not None
            own += answer["modality"] == answer["target"] and "item" in question.query
    # The questions are about what they are meant for.
    assert min(dropped, filtered, own, reranked, worded) >= 5
    assert QUESTIONS / 5 < refused < QUESTIONS * 3 / 5


def test_counts_are_those_that_the_filter_passes_without_the_asker(
    ways: Ways, built: Built
) -> None:
    label = next(item.labels[0] for item in built.collection.items if item.labels)
    having = [item.id for item in built.collection.items if label in item.labels]
    other = next(item.id for item in built.collection.items if label not in item.labels)
    options = {"target": "image", "k": 3, "radius": None, "filter": f"labels contains '{label}'"}
    for id_, expected in ((having[0], len(having) - 1), (other, len(having))):
        for name, way in ways.all().items():
            outcome = ways.ask(way, Question({"item": id_, "modality": "image"}, options))
            assert outcome["searched"] == expected, name


def test_limits_of_the_service_are_said_alike(ways: Ways) -> None:
    options = {"target": None, "k": 5000, "radius": None, "filter": None}
    question = Question({"text": "a duck"}, options)
    sentence = "k is 5000; 1000 is the most that this service returns"
    assert ways.ask(ways.http, question) == {"error": sentence}
    assert ways.ask(ways.by_client, question) == {"error": sentence}
    assert len(ways.ask(ways.python, question)["hits"]) == 200
    unknown = Question({"text": "a duck"}, options | {"k": 1, "target": "sound"})
    sentence = "target is 'sound'; it must be one of image, text"
    for way in (ways.python, ways.http, ways.by_client):
        assert ways.ask(way, unknown)["error"].startswith(sentence)


def test_several_questions_at_once_are_answered_as_one_by_one(ways: Ways, built: Built) -> None:
    asker = Asker(built, ways.folder, seed=5)
    queries, options = [], []
    while len(queries) < 30:
        question = asker.question()
        if "error" not in ways.ask(ways.python, question):
            queries.append(Query(**question.query))
            options.append(SearchOptions(**question.options | {"filter": parsed(question)}))
    alone = [
        outcome_of(search_many(ways.searcher, [query], own)[0])
        for query, own in zip(queries, options, strict=True)
    ]
    assert [outcome_of(each) for each in search_many(ways.searcher, queries, options)] == alone
    assert [outcome_of(each) for each in ways.client.search_many(queries, options)] == alone
