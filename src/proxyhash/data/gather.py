"""From the rows of a reader to items, with every problem on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from proxyhash.data.folders import id_of_image
from proxyhash.data.item import ITSELF, Item, ItemError, item_from_record, item_keys
from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.data.packed import PACK_ABOVE, PackedItems
from proxyhash.data.readers.base import Layout, Problem, Record, Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.data.labels import Labels

__all__ = ["Gathered", "gather"]

_OTHER_NAMES = {
    "caption": "text",
    "captions": "text",
    "description": "text",
    "category": "labels",
    "categories": "labels",
    "class": "labels",
    "label": "labels",
    "tags": "labels",
    "file": "image",
    "file_name": "image",
    "filename": "image",
    "image_path": "image",
    "path": "image",
}


@dataclass
class Gathered:
    """Items and problems of the rows of a manifest.

    Attributes:
        items: the valid ones, in order.
        places: the place of each id among them.
        problems: rows that are not a valid item.
        duplicates: rows whose id is already used.
        blank: by modality that is not a file, rows that have one without any content.
        strange_keys: number of items per unknown key and the missing one that it resembles.
        lists: number of items with a list of texts.
        joined: number of rows that belong to the item of an earlier one.
    """

    items: list[Item] | PackedItems = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    duplicates: list[Problem] = field(default_factory=list)
    blank: dict[Modality, list[int]] = field(
        default_factory=lambda: {name: [] for name, kind in MODALITIES.items() if not kind.is_file}
    )
    strange_keys: Counter[tuple[str, str]] = field(default_factory=Counter)
    lists: int = 0
    joined: int = 0

    def add(self, item: Item) -> None:
        """Add an item; above `PACK_ABOVE`, all of them are packed."""
        self.places[item.id] = len(self.items)
        self.items.append(item)
        if isinstance(self.items, list) and len(self.items) > PACK_ABOVE:
            self.items = PackedItems(self.items)

    def first(self, id_: str) -> Item | None:
        """Return the item that has an id already."""
        place = self.places.get(id_)
        return None if place is None else self.items[place]

    def hints(self, labels: Labels) -> Iterator[str]:
        """Yield a sentence for each thing that is probably meant otherwise."""
        for (key, meant), count in sorted(self.strange_keys.items()):
            yield f"{_items_have(count)} a key {key!r} and no {meant!r}; did you mean {meant!r}?"
        if self.lists:
            yield f"{_items_have(self.lists)} a list of texts, joined to one text"
        if labels.with_comma:
            yield (
                f"{_items_have(labels.with_comma)} one label with a comma in it, such as "
                f"{labels.example!r:.80}; if these are several labels, split them with "
                "--label-separator , (in Python: label_separator=',')"
            )


def _items_have(count: int) -> str:
    return f"{count:,} items have" if count != 1 else "1 item has"


def gather(
    rows: Records, layout: Layout, labels: Labels, *, drop_unstorable: bool = False
) -> Gathered:
    """Turn the rows of a reader into items; rows about the same image are joined to one.

    Args:
        rows: of the reader.
        layout: of the table.
        labels: reads the value of `labels`.
        drop_unstorable: as of `item_from_record`.
    """
    found = Gathered()
    problems = found.problems
    further: dict[str, list[Item]] = {}  # of images that have several rows
    misspelt = lru_cache(1024)(_misspelt)  # most rows have the same keys
    texts = tuple(found.blank.items())
    for read in rows:
        unnamed = layout.ids_from_images and isinstance(read, Record)
        entry = _with_id(read, found) if unnamed and isinstance(read, Record) else read
        item = entry if isinstance(entry, Problem) else _item(entry, labels, drop_unstorable)
        if isinstance(item, Problem):
            problems.append(item)
            continue
        assert isinstance(entry, Record)
        if (first := found.first(item.id)) is not None:
            if layout.ids_from_images and first.sources["image"] == item.sources["image"]:
                further.setdefault(item.id, []).append(item)
            else:
                message = f"id {item.id!r} is already used by row {first.row}"
                found.duplicates.append(Problem(item.row, message))
            continue
        found.add(item)
        found.strange_keys.update(misspelt(frozenset(entry.values)))
        for name, blank in texts:
            value = entry.values.get(name)
            if value is not None and name not in item.sources:
                blank.append(item.row)
            elif isinstance(value, list):
                found.lists += 1
    for id_, others in further.items():
        place = found.places[id_]
        found.items[place] = _joined([found.items[place], *others])
        found.joined += len(others)
    return found


def _with_id(record: Record, found: Gathered) -> Record | Problem:
    """Return the record with the id that its image stands for, with the suffix if it is taken."""
    image = record.values.get("image")
    if isinstance(image, dict):
        return Problem(record.row, f"image {ITSELF.format(plural='images')}")
    if not isinstance(image, str) or not image.strip():
        return Problem(record.row, "the image is missing, and with it the id, which is its name")
    id_ = id_of_image(image)
    if (first := found.first(id_)) is not None and first.sources["image"] != image:
        id_ = image
    return Record(record.row, {**record.values, "id": id_})


def _joined(items: list[Item]) -> Item:
    """Return one item for several rows about one image: all texts, all labels, the first payload.

    Texts are joined by blanks, as `data convert` does with several captions.
    """
    first = items[0]
    sources = dict(first.sources)
    for name, kind in MODALITIES.items():
        texts = dict.fromkeys(item.sources[name] for item in items if name in item.sources)
        if texts and not kind.is_file:
            sources[name] = " ".join(text.strip() for text in texts)
    payload: dict[str, object] = {}
    for item in reversed(items):
        payload.update(item.payload)
    labels = dict.fromkeys(name for item in items for name in item.labels)
    likely: dict[str, float] = {}
    if any(item.probabilities for item in items):
        for item in items:
            for name, value in (item.probabilities or dict.fromkeys(item.labels, 1.0)).items():
                likely[name] = max(value, likely.get(name, 0.0))
    return replace(
        first, sources=sources, labels=tuple(labels), payload=payload, probabilities=likely
    )


def _item(record: Record, labels: Labels, drop_unstorable: bool) -> Item | Problem:
    try:
        return item_from_record(
            record.values, row=record.row, labels=labels, drop_unstorable=drop_unstorable
        )
    except ItemError as error:
        return Problem(record.row, str(error))


def _misspelt(present: frozenset[str]) -> list[tuple[str, str]]:
    """Return each unknown key with the missing key that it resembles."""
    known, found = item_keys(), []
    missing = [key for key in known if key not in present]
    for key in present.difference(known):
        meant = _OTHER_NAMES.get(key.lower())
        close = [meant] if meant else get_close_matches(key.lower(), missing, n=1, cutoff=0.8)
        if close and close[0] in missing:
            found.append((key, close[0]))
    return found
