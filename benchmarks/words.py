"""Searching by words and codes together: what rare words find, and what that costs.

    python benchmarks/words.py RUN                     # both tables; a million items, minutes
    python benchmarks/words.py RUN --items 100000 --json

RUN is a run folder of `proxyhash train` whose collection has texts and images.

*Rare words.* A word is rare if one to three texts of the collection have it, and frequent if one in
a hundred has. Of the texts with a rare word and two frequent ones of four letters or more, 100 are
drawn with a fixed seed. A question is the text's rarest word (ties: first by alphabet) and then its
two most frequent ones of four letters or more. Success: the item of the text is among the first ten
images.

*Cost.* Texts are as long as those of the collection, their words drawn one by one with the
frequencies that they have there, so that few words are in most texts (Zipf); every tenth item has a
model number of its own. Codes are those of the collection's images, each bit flipped with p = .1.
Questions are texts of the collection; every second one has a model number. Each is asked by codes,
by words and by both, in turns, with its encoding and everything else that an answer has.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.catalog.build import build_index
from proxyhash.catalog.catalog import Catalog
from proxyhash.data.run_data import read_run
from proxyhash.index.store import Store
from proxyhash.index.words import split_words
from proxyhash.search import Query, Searcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.data.run_data import RunData

MODES = ("codes", "words", "both")
QUESTIONS = 100
FLIPPED = 0.1
NUMBERED = 10  # one item of so many has a model number
BATCH = 20_000


def rare_questions(texts: dict[str, str], *, count: int, seed: int) -> list[tuple[str, str]]:
    """Return pairs of an id and the question that should find it."""
    words = {id_: split_words(text) for id_, text in texts.items()}
    having = Counter(word for own in words.values() for word in set(own))
    frequent = len(texts) / 100
    found = []
    for id_, own in words.items():
        rare = sorted((having[word], word) for word in set(own) if having[word] <= 3)
        common = sorted(
            (-having[word], word)
            for word in set(own)
            if having[word] >= frequent and len(word) >= 4
        )
        if rare and len(common) >= 2:
            found.append((id_, " ".join([rare[0][1], common[0][1], common[1][1]])))
    return random.Random(seed).sample(found, min(count, len(found)))


def success(searcher: Searcher, questions: Sequence[tuple[str, str]], mode: str) -> dict[str, Any]:
    """Return how often the item of a question is among the first ten, and among the first."""
    places = []
    for id_, text in questions:
        answer = searcher.search(Query(text=text), target="image", k=10, mode=mode)
        ids = [hit.id for hit in answer.hits]
        places.append(ids.index(id_) + 1 if id_ in ids else None)
    there = [place for place in places if place is not None]
    return {
        "success@10": len(there) / len(questions),
        "success@1": sum(place == 1 for place in there) / len(questions),
    }


def build_large(run: RunData, folder: Path, items: int) -> dict[str, float]:
    """Write an index of drawn items with a word index, and return what that took."""
    rng = np.random.default_rng(0)
    texts = [split_words(text) for text in texts_of(run).values()]
    frequency = Counter(word for text in texts for word in text)
    vocabulary = np.array(list(frequency))
    share = np.array(list(frequency.values())) / frequency.total()
    lengths = np.array([len(text) for text in texts])
    codes = run.codes
    images = codes.of("image")[codes.has("image")]
    seconds = {"items": 0.0, "words": 0.0}
    with Store.create(folder, bits=codes.bits, model=codes.model, modalities=("image",)) as store:
        for start in range(0, items, BATCH):
            count = min(BATCH, items - start)
            sizes = rng.choice(lengths, count)
            drawn = rng.choice(vocabulary, sizes.sum(), p=share).tolist()
            payloads, at = [], 0
            for place, size in enumerate(sizes.tolist()):
                text = " ".join(drawn[at : at + size])
                at += size
                if (start + place) % NUMBERED == 0:
                    text += f" {number_of(start + place)}"
                payloads.append({"text": text, "labels": [drawn[at - 1]]})
            flips = np.packbits(rng.random((count, codes.bits)) < FLIPPED, axis=1)
            own = images[rng.integers(0, len(images), count)] ^ flips
            began = time.perf_counter()
            store.add([f"{start + place:08}" for place in range(count)], own, payloads=payloads)
            seconds["items"] += time.perf_counter() - began
        store.compact()
        began = time.perf_counter()
        store.fill_words()
        seconds["words"] = time.perf_counter() - began
    Catalog(folder).put_model(run.folder / "model")
    return seconds


def number_of(item: int) -> str:
    """Return the model number of an item."""
    return f"XJ-{7919 * item % 10**8:08}"


def texts_of(run: RunData) -> dict[str, str]:
    """Return the texts of a run's collection by id."""
    return {
        item.id: str(item.sources["text"])
        for item in run.collection.items
        if item.sources.get("text")
    }


def cost(folder: Path, texts: Sequence[str], *, items: int) -> dict[str, Any]:
    """Return milliseconds of single searches, by mode, and their ratios to codes alone."""
    dice = random.Random(1)
    asked = [
        text + (f" {number_of(NUMBERED * dice.randrange(items // NUMBERED))}" if row % 2 else "")
        for row, text in enumerate(dice.sample(list(texts), 220))
    ]
    times: dict[str, list[float]] = {mode: [] for mode in MODES}
    with Searcher.open(folder) as searcher:
        for row, text in enumerate(asked):
            for turn in range(len(MODES)):
                mode = MODES[(row + turn) % len(MODES)]
                began = time.perf_counter()
                searcher.search(Query(text=text), target="image", k=12, mode=mode)
                if row >= 20:
                    times[mode].append(1000 * (time.perf_counter() - began))
    alone = np.array(times["codes"])
    return {
        mode: {
            "p50_ms": statistics.median(own),
            "p95_ms": float(np.percentile(own, 95)),
            "of_codes": statistics.median(own) / statistics.median(times["codes"]),
            "paired": float(np.median(np.array(own) / alone)),
        }
        for mode, own in times.items()
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return every figure."""
    run = read_run(options.run)
    texts = texts_of(run)
    questions = rare_questions(texts, count=QUESTIONS, seed=options.seed)
    build_index(options.run, run.collection.path, folder / "own", thumbnails=False)
    with Searcher.open(folder / "own") as searcher:
        found = {mode: success(searcher, questions, mode) for mode in MODES}
    figures: dict[str, Any] = {"questions": len(questions), "rare_words": found}
    figures["examples"] = [text for _, text in questions[:5]]
    if options.items:
        figures |= {"items": options.items, "load": os.getloadavg()[0]}
        figures["build_seconds"] = build_large(run, folder / "large", options.items)
        (words,) = (folder / "large").glob("generation-*/words-*.sqlite")
        figures["word_index_bytes"] = words.stat().st_size
        figures["cost"] = cost(folder / "large", list(texts.values()), items=options.items)
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    print(f"{figures['questions']} questions with a rare word, such as:")
    for text in figures["examples"]:
        print(f"    {text}")
    for mode, own in figures["rare_words"].items():
        print(f"{mode:6} success@10 {own['success@10']:.2f}, success@1 {own['success@1']:.2f}")
    if "cost" in figures:
        size = figures["word_index_bytes"] / 2**20
        print(
            f"{figures['items']:,} items; word index {size:,.0f} MB in "
            f"{figures['build_seconds']['words']:.0f} s; load {figures['load']:.1f}"
        )
        for mode, own in figures["cost"].items():
            print(
                f"{mode:6} p50 {own['p50_ms']:7.2f} ms ({own['of_codes']:.2f} x codes, paired "
                f"{own['paired']:.2f}), p95 {own['p95_ms']:7.2f} ms"
            )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="run folder with texts and images")
    parser.add_argument("--items", type=int, default=1_000_000, help="0 for rare words alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(options, Path(folder))
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
