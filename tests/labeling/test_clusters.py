"""Classes of texts and images against loops from the formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.labeling import find_classes
from proxyhash.labeling.clusters import typical_terms
from proxyhash.labeling.neighbors import centered, neighbor_shares
from proxyhash.labeling.terms import find_terms
from tests.labeling.made import WORDS, inputs_of, topics


def nearest(values: np.ndarray, present: np.ndarray, row: int, count: int) -> list[int]:
    others = [each for each in range(len(values)) if present[each] and each != row]
    return sorted(others, key=lambda each: -float(values[row] @ values[each]))[:count]


def test_shares_of_neighbors_are_those_of_a_loop() -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(size=(40, 6)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    held = (draw.random((40, 3)) < 0.4).astype(np.float32)
    present = draw.random(40) < 0.8
    found = neighbor_shares(values, present, held, np.arange(40), neighbors=5)
    for row in range(40):
        if present[row]:
            expected = held[nearest(values, present, row, 5)].mean(axis=0)
        else:
            expected = np.zeros(3)
        assert found[row] == pytest.approx(expected, abs=1e-6)


def test_a_class_is_a_cluster_of_words_and_its_probability_that_of_the_formula() -> None:
    texts, subject = topics()
    texts = [None if row in (4, 17) else text for row, text in enumerate(texts)]
    image = np.arange(len(texts)) % 7 != 3
    inputs = inputs_of(texts, subject, image=image, spread=1.0)
    found = find_classes(inputs, way="texts", classes=3, neighbors=6)
    assert len(found.classes) == 3
    words = [{word for word, _ in each.words} for each in found.classes]
    assert {frozenset(each) for each in words} == {frozenset(each) for each in WORDS}
    own = np.array([[bool(set((text or "").split()) & each) for each in words] for text in texts])
    features = {m: centered(inputs.features[m], inputs.positions) for m in ("text", "image")}
    for row, text in enumerate(texts):
        parts = [(0.5, own[row])] if text else []
        for modality in ("text", "image"):
            present = inputs.has(modality)
            if present[row]:
                near = nearest(features[modality], present, row, 6)
                parts.append((0.25, own[near].mean(axis=0)))
        total = sum(weight for weight, _ in parts)
        expected = sum(weight * values for weight, values in parts) / max(total, 1e-12)
        assert found.probabilities[row] == pytest.approx(expected, abs=1e-6)


def test_a_text_that_names_a_class_has_it_and_names_are_the_most_frequent_words() -> None:
    texts, subject = topics()
    found = find_classes(inputs_of(texts, subject, spread=2.0), way="texts", classes=3)
    for column, each in enumerate(found.classes):
        counts = {word: sum(word in text for text in texts) for word, _ in each.words}
        assert counts == dict(each.words)
        assert counts[each.name] == max(counts.values())
        for row, text in enumerate(texts):
            if any(word in text for word in counts):
                assert found.labels[row, column]


def test_clusters_of_images_are_the_subjects_and_named_by_their_words() -> None:
    texts, subject = topics(90)
    inputs = inputs_of(texts, subject, spread=0.05)
    found = find_classes(inputs, way="images", classes=3)
    own = {word: place for place, words in enumerate(WORDS) for word in words}
    assert found.counts.tolist() == [30, 30, 30]
    for column, name in enumerate(found.names):
        meant = {own[word] for word in name.split(" / ")}
        assert meant == set(subject[found.labels[:, column]])


def test_probabilities_of_clusters_are_those_of_the_formula() -> None:
    texts, subject = topics(30)
    image = np.arange(30) != 5
    inputs = inputs_of(texts, subject, spread=1.5, image=image)
    found = find_classes(inputs, way="images", classes=3)
    values = centered(inputs.features["image"], inputs.positions)
    centers = []  # from who is in which cluster; 8 dimensions are fewer than 64, so all are kept
    cluster = found.probabilities.argmax(axis=1)
    for each in range(3):
        members = [values[row] for row in range(30) if cluster[row] == each and image[row]]
        centers.append(np.mean(members, axis=0))
    squares = np.array([[((row - center) ** 2).sum() for center in centers] for row in values])
    spread = np.median(squares.min(axis=1)[image])
    for row in range(30):
        weights = [math.exp(-each / (0.2 * spread)) for each in squares[row]]
        expected = np.array(weights) / sum(weights)
        expected[cluster[row]] = max(expected[cluster[row]], 0.5)
        if not image[row]:
            expected = np.zeros(3)
        assert found.probabilities[row] == pytest.approx(expected, abs=1e-4)


def test_typical_terms_have_the_scores_of_the_paper() -> None:
    texts, subject = topics(90)
    terms = find_terms(texts, np.arange(90))
    members = subject == 1
    counts = np.array([[f" {name} " in f" {text} " for name in terms.names] for text in texts])
    inside, every = counts[members].sum(axis=0), counts.sum(axis=0)
    scores = {}
    for column, name in enumerate(terms.names):
        prior = 500 * every[column] / every.sum()
        odds = []
        for these in (inside, every - inside):
            mine = these[column] + prior
            odds.append((math.log(mine / (these.sum() + 500 - mine)), 1 / mine))
        (one, v1), (other, v2) = odds
        scores[name] = (one - other) / math.sqrt(v1 + v2)
    expected = sorted((n for n in scores if scores[n] > 1.96), key=lambda n: -scores[n])
    found = typical_terms(terms, members, most=8)
    assert [name for name, _ in found] == expected[:8]
    assert {name for name, _ in found} == set(WORDS[1])


def test_the_seed_decides() -> None:
    texts, subject = topics()
    inputs = inputs_of(texts, subject, spread=1.0)
    one, again = (find_classes(inputs, way="texts", classes=4, seed=3) for _ in range(2))
    assert one.names == again.names
    assert np.array_equal(one.probabilities, again.probabilities)


def test_what_cannot_be_found_is_said() -> None:
    texts, subject = topics(30)
    inputs = inputs_of(texts, subject)
    with pytest.raises(UsageError, match="--from is 'words'; it must be one of"):
        find_classes(inputs, way="words")
    with pytest.raises(UsageError, match="--from names needs names; give --name"):
        find_classes(inputs, way="names")
    silent = inputs_of([None] * 30, subject)
    assert find_classes(silent, classes=3).way == "images"
    with pytest.raises(DataError, match="has no texts; use --from images"):
        find_classes(silent, way="texts")
    dull = inputs_of(["the same"] * 30, subject)
    with pytest.raises(DataError, match=r"have 0 words that enough items share; give names"):
        find_classes(dull, way="texts")
