"""Item: one record of a manifest, checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxyhash.data.labels import LIKELY, Labels, probabilities_of, show
from proxyhash.data.modalities import MODALITIES, Modality, ModalityKind
from proxyhash.errors import DataError
from proxyhash.payload import MAX_ID, check_string, copy_json

__all__ = ["Item", "ItemError", "item_from_record", "item_keys"]

ITSELF = "holds content, not the path of a file; save {plural} as files and give their paths"
"""The end of a sentence about a cell."""

_log = logging.getLogger(__name__)


class ItemError(ValueError):
    """A record that is not a valid item; the caller adds the file and row."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item with its labels; every modality, and the labels, may be missing.

    Attributes:
        id: unique within the manifest.
        sources: what the manifest holds for each modality that the item has: the path of a file
            relative to the manifest, or the content itself, such as a text; never blank.
        labels: names of classes, each once, in the manifest's order; empty when unlabeled. Where
            the manifest has probabilities, those of at least `LIKELY`.
        split: the part the manifest assigns it to, or None.
        payload: every other key of the record.
        row: its place in the manifest: the line of a text file, else the record; from 1.
        probabilities: of classes, each in (0, 1], where the manifest has them; a class that is
            missing has 0. Empty where labels were given as they are, and so are certain.
    """

    id: str
    sources: Mapping[Modality, str] = field(hash=False)
    labels: tuple[str, ...]
    split: str | None = None
    payload: Mapping[str, object] = field(default_factory=dict, hash=False)
    row: int = 0
    probabilities: Mapping[str, float] = field(default_factory=dict, hash=False)


def item_keys() -> tuple[str, ...]:
    """Return the manifest keys with a meaning; every other key of a record is payload.

    A key that is added here is no longer payload, so hits lose it; `catalog/ingest.py` and
    `search/run.py` put such keys (the sources and the labels, not `split`) into what hits have.
    """
    return ("id", *MODALITIES, "labels", "split")


def item_from_record(
    record: Mapping[str, object],
    *,
    row: int,
    labels: Labels | None = None,
    drop_unstorable: bool = False,
) -> Item:
    """Return the item that a record of a manifest describes.

    An integer id becomes a string. A blank source or split counts as missing. A list of texts is
    joined by blanks to one.

    Args:
        record: the keys and values of a row.
        row: its place in the manifest.
        labels: reads the value of `labels`; by default without class names.
        drop_unstorable: leave out further keys that cannot be stored, with a warning, as for runs
            of versions that took them.

    Raises:
        ItemError: which key is wrong, what it holds and what was expected.
    """
    keys = item_keys()
    names, probabilities = _labels(record.get("labels"), labels or Labels())
    return Item(
        id=_id(record.get("id")),
        sources=_sources(record),
        labels=names,
        split=_optional_string("split", record.get("split")),
        payload=_payload(
            {key: value for key, value in record.items() if key not in keys},
            row=row,
            drop=drop_unstorable,
        ),
        row=row,
        probabilities=probabilities,
    )


def _id(value: object) -> str:
    if value is None or value == "":
        raise ItemError("the id is missing; every item needs a unique one")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _string("id", value)
    if not text.strip() or len(text) > MAX_ID:
        raise ItemError(f"id has {len(text)} characters; 1 to {MAX_ID} expected, not all blank")
    return text


def _sources(record: Mapping[str, object]) -> dict[Modality, str]:
    sources = {}
    for name, kind in MODALITIES.items():
        if (value := record.get(name)) is None:
            continue
        source = _path(kind, value) if kind.is_file else _content(name, value)
        if source is not None:
            sources[name] = source
    return sources


def _content(name: str, value: object) -> str | None:
    if isinstance(value, list | tuple):
        parts = [_optional_string(f"a {name}", each) for each in value]
        value = " ".join(part.strip() for part in parts if part)
    return _optional_string(name, value)


def _path(kind: ModalityKind, value: object) -> str | None:
    name = kind.name
    if isinstance(value, Mapping):
        raise ItemError(f"{name} {ITSELF.format(plural=kind.plural)}")
    path = _optional_string(name, value)
    if path is not None and path.lower().startswith(("http://", "https://", "data:")):
        raise ItemError(f"{name} is the address {show(path)}; download it and give the file's path")
    return path


def _labels(value: object, read: Labels) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the names of the classes, and their probabilities if there are any."""
    if value is None:
        return (), {}
    try:
        found = probabilities_of(value)
        names = [_string("a label", name) for name in (read(value) if found is None else found)]
    except ItemError:
        raise
    except ValueError as error:
        raise ItemError(str(error)) from None
    if not all(name.strip() for name in names):
        raise ItemError("a label is blank; remove it")
    if found is None:
        return tuple(dict.fromkeys(names)), {}
    return tuple(name for name in names if found[name] >= LIKELY), found


def _payload(values: Mapping[str, object], *, row: int, drop: bool) -> dict[str, object]:
    """Return what can be stored of every other key; the same rule as that of every index."""
    if not values:
        return {}
    try:
        copied = copy_json(values)
    except DataError as error:
        kept = {}
        for key, value in values.items():
            try:
                if isinstance(key, str):
                    check_string(key, "a key")
                copy_json({key: value}, place=f"key {key!r:.60}")
            except DataError as problem:
                if not drop:
                    raise ItemError(f"{problem}; change it, or leave its key out") from None
                _log.warning("row %d: %s; the key is left out", row, problem)
            else:
                kept[key] = value
        if len(kept) == len(values):
            raise ItemError(str(error)) from None
        copied = copy_json(kept)
    assert isinstance(copied, dict)
    return copied


def _optional_string(key: str, value: object) -> str | None:
    if value is None:
        return None
    text = _string(key, value)
    return text if text.strip() else None


def _string(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ItemError(f"{key} is {show(value)}, which is not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ItemError(f"{key} is {show(value)}, which is not valid Unicode") from None
    if "\0" in value:
        raise ItemError(f"{key} is {show(value)}, which contains a zero character")
    return value
