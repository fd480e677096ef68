"""The method and the encoders of a run that names none, chosen by what the collection has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.data import MODALITIES, read_collection
from proxyhash.data.draw import MIN_LABELED
from proxyhash.encoders.known import KNOWN_MODELS, find_known_model
from proxyhash.methods import get_method
from proxyhash.training.config import TrainConfig, current_keys, read_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Collection, Modality

__all__ = ["Choice", "Found", "choose"]

FEW_LABELED = 0.2
"""Share of labeled items below which the others are learned from, too, by their pairing."""
ENOUGH_PAIRS = 500
"""Pairs from which `pairs` finds other halves better than `cca-itq` does."""


_FIGURES = "mAP needs labels, so it cannot be computed"


@dataclass(frozen=True)
class Found:
    """Counts of what a collection has to learn from.

    Attributes:
        items: number of items.
        having: number of items by modality, of those that any item has.
        pairs: number of items that have all of these.
        labeled: number of items with a label.
    """

    items: int
    having: Mapping[Modality, int]
    pairs: int
    labeled: int

    @classmethod
    def of(cls, collection: Collection, encoders: Mapping[Modality, str]) -> Found:
        """Count what the run would learn from; features count as present in every item."""
        there = {
            modality: np.ones(len(collection), dtype=np.bool_)
            if encoders.get(modality, "").startswith("features:")
            else collection.has(modality)
            for modality in MODALITIES
            if encoders.get(modality) != "none"
        }
        there = {modality: has for modality, has in there.items() if has.any()}
        return cls(
            items=len(collection),
            having={modality: int(has.sum()) for modality, has in there.items()},
            pairs=int(np.all(list(there.values()), axis=0).sum()) if there else 0,
            labeled=int(collection.labels.any(axis=1).sum()),
        )

    def __str__(self) -> str:
        """Return "2,000 pairs of image and text, no labels", and its like."""
        names = list(self.having)
        if len(names) > 1 and self.pairs == self.items:
            what = f"{_count(self.items, 'pair')} of {' and '.join(names)}"
        elif len(names) == 1 and self.pairs == self.items:
            what = _count(self.items, names[0])
        else:
            parts = [_count(count, name) for name, count in self.having.items()]
            parts += [f"{self.pairs:,} with all of these"] if len(names) > 1 else []
            what = f"{_count(self.items, 'item')} ({', '.join(parts)})"
        if not self.labeled:
            return f"{what}, no labels"
        return what if self.labeled == self.items else f"{what}, {self.labeled:,} with labels"


@dataclass(frozen=True)
class Choice:
    """The completed keys of a configuration.

    Attributes:
        values: the keys, with `method` and `encoders`.
        collection: the collection that they are for.
        notes: what was chosen and why, a sentence each; empty where nothing needed a choice.
        warnings: what will be poor, and the next step.
    """

    values: dict[str, Any]
    collection: Collection
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def choose(values: Mapping[str, Any]) -> Choice:
    """Return the keys of a configuration with a method and encoders that fit its collection.

    A method and encoders that are given stay. With few labels, `dchml-pairs` learns from them and
    from the pairs of all items. Without labels, `pairs` learns from pairs (`cca-itq` where they are
    few) and `itq` from a single modality; a modality that no item has is left out; and images, and
    texts of methods that learn from pairs, get a pretrained model that this machine has, see
    `find_known_model`, before `descriptor` and `bow`.

    Raises:
        UsageError: a key cannot be used.
        DataError: the collection cannot be read.
    """
    config = read_config(values)  # before a large collection is read for a mistyped option
    values = current_keys(values)
    collection = read_collection(
        config.data, on_bad_item=config.on_bad_item, label_separator=config.label_separator
    )
    named = dict(values.get("encoders", {}))
    encoders = dict(config.encoders)
    found = Found.of(collection, encoders)
    absent = [each for each in encoders if each not in {*named, *found.having}]
    if not found.having:
        absent = []  # then the message about what is missing is said later
    encoders |= dict.fromkeys(absent, "none")
    notes, warnings = [], []
    method = values.get("method")
    if method is None:
        method = str(TrainConfig.model_fields["method"].default)
        if found.labeled < MIN_LABELED and found.having:
            method, alone, why = _without_labels(found)
            encoders |= {each: "none" for each in found.having if alone not in (None, each)}
            notes.append(why)
        elif found.labeled < FEW_LABELED * found.items and _from_pairs(found) == "pairs":
            method = "dchml-pairs"
            notes.append(
                f"{found}: learning from labels and pairs, with method {method}: an item finds its "
                "own other half and what has its labels; those of unlabeled items are predicted"
            )
    if not notes and absent and len(found.having) == 1:
        (only,) = found.having
        missing = " and no ".join(MODALITIES[each].plural for each in absent)
        notes.append(
            f"{found}, no {missing}: {method} learns from the {MODALITIES[only].plural} alone, and "
            f"search goes from {only} to {only}"
        )
    few = MIN_LABELED <= found.labeled < FEW_LABELED * found.items
    if few and get_method(method).needs_labels:
        other = _from_pairs(found) if len(found.having) == 2 else "itq"
        how = "without labels"
        if other == "pairs":
            other, how = "dchml-pairs", "with the labels that there are"
        warnings.append(
            f"{found}: {method} learns from the labeled items alone, and the figures hold for "
            f"them alone; --method {other} learns from all items {how}"
        )
    if "image" not in named and encoders.get("image") == config.encoders.get("image") != "none":
        encoders["image"], told = _image_encoder(encoders["image"])
        (warnings if encoders["image"] == config.encoders["image"] else notes).append(told)
    wordy = method in ("pairs", "dchml-pairs") and "text" not in named
    if wordy and encoders.get("text") == config.encoders.get("text") != "none":
        encoders["text"], told = _text_encoder(encoders["text"])
        notes.append(told)
    completed = values | {"method": method, "encoders": {**encoders, **named}}
    for modality, spec in encoders.items():
        if spec == "none" and named.get(modality) is None:
            completed["encoders"][modality] = "none"
    return Choice(completed, collection, tuple(notes), tuple(warnings))


def _without_labels(found: Found) -> tuple[str, Modality | None, str]:
    """Return the method, the only modality that it can learn from or None for all, and why."""
    least = f" (at least {MIN_LABELED} are needed to learn from them)" if found.labeled else ""
    if len(found.having) > 1 and found.pairs >= MIN_LABELED:
        names = " and ".join(found.having)
        method = _from_pairs(found)
        why = (
            f"learning from pairs, with method {method}: an item finds its own {names}, then what "
            "is about the same, not classes"
        )
        if method != "pairs":
            why = (
                f"{method} learns from the pairing of {names}, as fewer than {ENOUGH_PAIRS:,} "
                "pairs are too few to learn more"
            )
        return method, None, f"{found}{least}: {why}; {_FIGURES}, recall of the other half does not"
    alone = max(found.having, key=found.having.__getitem__)
    why = (
        f"itq learns from the {MODALITIES[alone].plural} alone, and search goes from {alone} to "
        f"{alone}"
    )
    return "itq", alone, f"{found}{least}: {why}; {_FIGURES}"


def _from_pairs(found: Found) -> str:
    two = len(found.having) == 2
    return "pairs" if two and found.pairs >= ENOUGH_PAIRS else "cca-itq"


def _image_encoder(default: str) -> tuple[str, str]:
    """Return the image encoder of a run that names none, and the sentence about it."""
    found = find_known_model("image")
    if found is not None:
        model, spec = found
        return spec, (
            f"image encoder: {model}, which this machine has; "
            f"--image-encoder {default} needs no weights"
        )
    return default, (
        f"image encoder: {default}, which knows colors and shapes but nothing of what images show; "
        "a pretrained model finds far more (mAP .55 instead of .40 on 8,000 photos with "
        "MobileNetV2). Give one with --image-encoder, fetched once from the Hugging Face hub: "
        + ", ".join(map(str, reversed(KNOWN_MODELS["image"])))
    )


def _text_encoder(default: str) -> tuple[str, str]:
    """Return the text encoder of a run on pairs that names none, and the sentence about it."""
    found = find_known_model("text")
    if found is not None:
        model, spec = found
        return spec, (
            f"text encoder: {model}, which this machine has; --text-encoder {default} counts words"
        )
    model = KNOWN_MODELS["text"][0]
    return default, (
        f"text encoder: {default}, which counts words; one that knows what they mean finds a third "
        f"more of the other halves: --text-encoder {model.name}, fetched once from the Hugging "
        f"Face hub, is {model}"
    )


def _count(count: int, name: str) -> str:
    plural = MODALITIES[name].plural if name in MODALITIES else f"{name}s"
    return f"{count:,} {name if count == 1 else plural}"
