"""Write two fuzzy data sets, made out of Flickr8k: runs/fuzzy/moved and runs/fuzzy/genres.

    python runs/fuzzy.py        # then: proxyhash bench runs/fuzzy.toml --out runs/fuzzy/results

- *moved*: each label of an item becomes, with a chance of 30 %, another class, drawn by how often
  the two stand together. So every label is uncertain, those of queries too.
- *genres*: 20 classes that overlap, of which an item has one to four. They are directions in what
  images and captions have in common (canonical directions, smoothed by noise), and an item's text
  is three words of its caption, so texts say little.

Photos stay where they are. Everything is drawn from one seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from proxyhash.data import Collection, read_collection
from proxyhash.encoders import FeatureCache, encode_collection, make_encoder
from proxyhash.files import write_text

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"
MOVED = 0.3
GENRES, DIRECTIONS, WORDS = 20, 24, 3


def label_matrix(collection: Collection) -> np.ndarray:
    """Return (n, C) in {0, 1}."""
    names = list(collection.classes)
    found = np.zeros((len(collection.items), len(names)))
    for row, item in enumerate(collection.items):
        found[row, [names.index(label) for label in item.labels]] = 1
    return found


def moved(collection: Collection, rng: np.random.Generator) -> list[dict[str, object]]:
    """Return the items with labels moved between classes that stand together."""
    labels = label_matrix(collection)
    together = labels.T @ labels
    np.fill_diagonal(together, 0)
    chances = together / together.sum(axis=1, keepdims=True)
    names = list(collection.classes)
    items = []
    for position, row in enumerate(labels):
        kept = {
            rng.choice(len(names), p=chances[each]) if rng.random() < MOVED else each
            for each in np.flatnonzero(row)
        }
        text = collection.sources("text")[position]
        items.append(entry(collection, position, text, sorted(names[each] for each in kept)))
    return items


def genres(collection: Collection, rng: np.random.Generator) -> list[dict[str, object]]:
    """Return the items with overlapping classes and short texts."""
    features = {}
    for modality, model in (("image", "mobilenet_v2_1.0_224"), ("text", "all-MiniLM-L6-v2")):
        encoder = make_encoder(str(SHARED / "models" / model), modality=modality)
        encoded = encode_collection(encoder, collection, cache=FeatureCache())
        values = np.asarray(encoded.values, np.float64)
        values -= values.mean(axis=0)
        left, scale, _ = np.linalg.svd(values, full_matrices=False)
        features[modality] = left[:, : min(200, len(scale))]
    left, _, right = np.linalg.svd(features["image"].T @ features["text"])
    common = features["image"] @ left[:, :DIRECTIONS] + features["text"] @ right.T[:, :DIRECTIONS]
    common /= common.std(axis=0)
    logits = common @ rng.standard_normal((DIRECTIONS, GENRES)) / np.sqrt(DIRECTIONS)
    logits = 2.5 * logits + rng.standard_normal(logits.shape)
    names = [f"genre {each:02}" for each in range(GENRES)]
    items = []
    for position, row in enumerate(logits):
        count = 1 + rng.binomial(3, 0.4)
        caption = collection.sources("text")[position].split()
        words = [word for word in caption if len(word) > 3] or caption
        some = [words[each] for each in sorted(rng.permutation(len(words))[:WORDS])]
        chosen = sorted(names[each] for each in np.argsort(-row)[:count])
        items.append(entry(collection, position, " ".join(some), chosen))
    return items


def entry(collection: Collection, position: int, text: str, labels: list[str]) -> dict[str, object]:
    """Return an item as a line of a manifest."""
    image = Path(collection.sources("image")[position]).resolve()
    item = collection.items[position]
    return {"id": item.id, "image": str(image), "text": text, "labels": labels}


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "flickr8k")
    parser.add_argument("--out", type=Path, default=HERE / "fuzzy")
    given = parser.parse_args()
    collection = read_collection(given.data)
    for name, make in (("moved", moved), ("genres", genres)):
        folder = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        items = make(collection, np.random.default_rng(0))
        lines = "".join(json.dumps(item) + "\n" for item in items)
        write_text(folder / "items.jsonl", lines)
        print(f"{folder}: {len(items):,} items")


if __name__ == "__main__":
    main()
