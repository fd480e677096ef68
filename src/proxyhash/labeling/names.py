"""Classes by names that a user gives: read them, and find the items that each one fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.text_file import read_text_lines
from proxyhash.encoders.words import words_of
from proxyhash.errors import DataError, UsageError
from proxyhash.labeling.found import FoundClass, FoundClasses
from proxyhash.labeling.neighbors import centered, neighbor_shares, weighed
from proxyhash.labeling.terms import find_phrases
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.labeling.find import Inputs, SharedSpace

__all__ = ["TEMPLATES", "ClassName", "classes_of_names", "parse_names", "read_names"]

TEMPLATES = ("a photo of {}.", "{}")
"""Prompts around a name; their embeddings are averaged."""

MAX_NAMES, MAX_SYNONYMS, MAX_LENGTH = 1000, 50, 200
_NEUTRAL = "something"
_OWN, _ALIKE, _BY_IMAGE = 0.5, 0.25, 0.25
_WORDS_ALONE = 0.5
_FEW = 5  # items with the words, below which similarity cannot be calibrated
_RARE_FROM, _RARE_SLOPE = 2.5, 4.0


@dataclass(frozen=True)
class ClassName:
    """A name and its synonyms, the name first."""

    name: str
    words: tuple[str, ...]


def read_names(path: Path) -> list[ClassName]:
    """Return the names in a file: one per line, "name" or "name: synonym, synonym".

    Blank lines and lines that begin with # are ignored.

    Raises:
        DataError: the file cannot be read, or a line is not that; names the line.
    """
    lines = enumerate(read_text_lines(path), start=1)
    return parse_names(
        (f"{path}, line {row}", line)
        for row, line in lines
        if line.strip() and not line.strip().startswith("#")
    )


def parse_names(lines: Iterable[tuple[str, str]]) -> list[ClassName]:
    """Return the names in lines, each given with where it stands, for the messages.

    Raises:
        DataError: a line is not a name, a name is there twice, or there are none or too many.
    """
    found: dict[str, ClassName] = {}
    for where, read in lines:
        line = read.strip()
        name, _, rest = line.partition(":")
        words = tuple(
            dict.fromkeys(each.strip() for each in (name, *rest.split(",")) if each.strip())
        )
        name = name.strip()
        if not name or "," in name or len(words) > MAX_SYNONYMS or len(line) > 20 * MAX_LENGTH:
            raise DataError(
                f"{where}: {line[:60]!r} is not a name with up to {MAX_SYNONYMS} synonyms; "
                "expected: dog, or dog: puppy, hound"
            )
        if bad := next(
            (each for each in words if not words_of(each) or len(each) > MAX_LENGTH), ""
        ):
            raise DataError(f"{where}: {bad[:60]!r} is not a word or phrase that a text could have")
        if name in found:
            raise DataError(f"{where}: {name!r} is given twice; write its synonyms in one line")
        found[name] = ClassName(name, words)
        if len(found) > MAX_NAMES:
            raise DataError(f"{where}: more than {MAX_NAMES:,} names")
    if not found:
        raise DataError("no names are given; expected one per line, such as dog: puppy, hound")
    return list(found.values())


def classes_of_names(
    inputs: Inputs,
    names: Sequence[ClassName],
    *,
    templates: Sequence[str] = TEMPLATES,
    neighbors: int,
    track: Track = silent,
) -> FoundClasses:
    """Return the named classes, and how likely each item is one of them.

    With y_c = 1 where the item's own text has the name or a synonym. Where images and texts share a
    space (`Inputs.space`), with the cosine t_c of the image and the prompts of the class, t_0 that
    of a prompt that names nothing, and the scale s and bias b that the model learned,

        q_c = sigmoid(s t_c + b) with a bias (SigLIP), else sigmoid(s (t_c - t_0)) (CLIP)
        p_c = 1 - (1 - q_c) (1 - y_c / 2)

    Where they do not, with r_c the probability that a text as similar to the name as this one has
    its words (a logistic curve per class), and the share s_c of the nearest neighbors by image
    whose texts have them,

        p_c = 1/2 y_c + 1/4 r_c + 1/4 s_c

    and where an item lacks one of these, the others in the same proportions. A class whose words
    fewer than five texts have is r_c = sigmoid(4 (z_c - 2.5)) alone, with z_c the standardized
    similarity; a note names such classes.

    Raises:
        UsageError: a template lacks the place of the name.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(
                f"the template {template!r} needs {{}} once, where the name goes, such as "
                "'a photo of {}.'"
            )
    words = [word for name in names for word in name.words]
    held = find_phrases(inputs.texts, words, track=track)
    ends = np.cumsum([len(name.words) for name in names])[:-1]
    parts = [part.any(axis=1) for part in np.split(held, ends, axis=1)]
    own = np.stack(parts, axis=1).astype(np.float32)
    counted = iter(held.sum(axis=0).tolist())
    classes = tuple(
        FoundClass(name.name, tuple((word, next(counted)) for word in name.words)) for name in names
    )
    if inputs.space is not None:
        likely = _zero_shot(inputs, inputs.space, names, templates)
        found = 1 - (1 - likely) * (1 - _WORDS_ALONE * own)
        notes: tuple[str, ...] = ("images were matched with the names by the model itself",)
        return FoundClasses("names", classes, found.astype(np.float32), notes)
    evidence = [(_OWN, own, inputs.has("text"))]
    rare = np.zeros(len(names), np.bool_)
    if inputs.embed is not None:
        alike, rare = _by_similarity(inputs, own, names)
        evidence.append((_ALIKE, alike, inputs.has("text")))
    if "image" in inputs.features:
        shares = neighbor_shares(
            centered(inputs.features["image"], inputs.positions), inputs.has("image"), own,
            inputs.positions, neighbors=neighbors, track=track, what="images",
        )  # fmt: skip
        evidence.append((_BY_IMAGE, shares, inputs.has("image")))
    found = weighed(evidence)
    if rare.any():
        found[:, rare] = evidence[1][1][:, rare]
    notes = _notes(names, own, rare)
    return FoundClasses("names", classes, found, notes)


def _notes(
    names: Sequence[ClassName], own: NDArray[np.float32], rare: NDArray[np.bool_]
) -> tuple[str, ...]:
    seldom = [name.name for name, count in zip(names, own.sum(axis=0), strict=True) if count < _FEW]
    if not seldom:
        return ()
    how = (
        "their items were guessed by how similar texts are to the name"
        if rare.any()
        else "few items or none can be theirs; give synonyms, or an encoder of images and texts"
    )
    listed = ", ".join(seldom[:5]) + (", ..." if len(seldom) > 5 else "")
    return (f"fewer than {_FEW} texts have the words of {listed}: {how}",)


def _prompts(
    embed: object, names: Sequence[ClassName], templates: Sequence[str]
) -> NDArray[np.float32]:
    """Return the mean embedding of each name's prompts, of length 1."""
    assert callable(embed)
    listed = [
        [template.format(word) for word in each.words for template in templates] for each in names
    ]
    values = np.asarray(embed([prompt for prompts in listed for prompt in prompts]), np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    ends = np.cumsum([len(prompts) for prompts in listed])
    means = np.stack([part.mean(axis=0) for part in np.split(values, ends[:-1])])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))


def _zero_shot(
    inputs: Inputs, space: SharedSpace, names: Sequence[ClassName], templates: Sequence[str]
) -> NDArray[np.float64]:
    prompts = _prompts(inputs.embed, names, templates)
    images = inputs.features["image"]
    values = images.values / np.maximum(np.linalg.norm(images.values, axis=1, keepdims=True), 1e-12)
    scores = space.scale * (values @ prompts.T).astype(np.float64)
    if space.bias is not None:
        scores += space.bias
    else:
        neutral = _prompts(inputs.embed, [ClassName(_NEUTRAL, (_NEUTRAL,))], templates)
        scores -= space.scale * (values @ neutral.T)
    return np.asarray(_sigmoid(scores) * images.present[:, None])


def _by_similarity(
    inputs: Inputs, own: NDArray[np.float32], names: Sequence[ClassName]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return r (n, C), and which classes too few texts name for a curve, bool (C,)."""
    from sklearn.linear_model import LogisticRegression

    text = inputs.features["text"]
    known = inputs.positions[text.present[inputs.positions]]
    mean = text.values[known].mean(axis=0)
    values = centered(text, inputs.positions)
    prompts = _prompts(inputs.embed, names, ("{}",)) - mean
    prompts /= np.maximum(np.linalg.norm(prompts, axis=1, keepdims=True), 1e-12)
    similar = values @ prompts.T
    similar = (similar - similar[known].mean(axis=0)) / np.maximum(similar[known].std(axis=0), 1e-6)
    result = np.zeros_like(own)
    rare = np.zeros(len(names), np.bool_)
    for column in range(len(names)):
        held = own[known, column] > 0
        z = similar[:, [column]]
        if _FEW <= held.sum() < len(held):
            curve = LogisticRegression().fit(z[known], held)
            result[:, column] = curve.predict_proba(z)[:, 1]
        elif held.all() and len(held):
            result[:, column] = 1
        else:
            rare[column] = True
            result[:, column] = _sigmoid(_RARE_SLOPE * (z[:, 0] - _RARE_FROM))
    return result * text.present[:, None], rare


def _sigmoid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), np.float64)
