"""Figures that mean little are said to: each kind on a ranking made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from proxyhash.codes import binarize
from proxyhash.evaluation import Protocol, Ranking, evaluate_direction
from proxyhash.evaluation.caveats import caveat_lines, find_caveats, gather_caveats

BITS = 16


def codes(count: int, *, seed: int, equal: bool = False):
    rng = np.random.default_rng(seed)
    return binarize(rng.normal(size=(1 if equal else count, BITS)).repeat(count if equal else 1, 0))


def labels(count: int, classes: int = 4, *, seed: int = 0):
    return np.eye(classes, dtype=bool)[np.random.default_rng(seed).integers(classes, size=count)]


def kinds(query, gallery, *, equal: bool = False, **rules):
    ranking = Ranking(
        query=codes(len(query), seed=0),
        gallery=codes(len(gallery), seed=1, equal=equal),
        query_labels=query,
        gallery_labels=gallery,
        bits=BITS,
    )
    protocol = Protocol(**rules)
    direction = evaluate_direction(ranking, protocol=protocol)
    found = gather_caveats({"a_to_b": find_caveats(ranking, direction, protocol)})
    assert all(each.directions == ("a_to_b",) for each in found)
    return {each.kind: each.message for each in found}


def test_sound_figures_have_none():
    assert kinds(labels(30), labels(100, seed=1)) == {}
    assert kinds(labels(30), labels(100, seed=1), cutoff=100) == {}


def test_no_labels():
    none = np.zeros((30, 0), bool)
    assert set(kinds(none, np.zeros((50, 0), bool))) == {"no_labels"}
    assert "no item of the gallery" in kinds(labels(30), labels(50) & False)["no_labels"]
    assert "no query has a label" in kinds(labels(30) & False, labels(50))["no_labels"]


def test_one_class():
    found = kinds(labels(30, 1), labels(50, 1))
    assert set(found) == {"one_class"}
    others = np.zeros((50, 2), bool)
    others[:, 1] = True
    assert set(kinds(others[:30], others)) == {"one_class"}  # the other column has no item


def test_everything_is_relevant():
    query, gallery = labels(30), labels(50, seed=1)
    query[:, 0] = gallery[:, 0] = True
    assert "whatever the codes" in kinds(query, gallery)["all_relevant"]
    gallery[:2] = [False, False, False, False]
    assert "96% of the gallery" in kinds(query, gallery)["all_relevant"]


def test_few_labels_and_few_queries():
    gallery = labels(1000, seed=1)
    gallery[54:] = False
    found = kinds(labels(6), gallery)
    assert found["few_labeled"].startswith("54 of 1,000 items of the gallery have labels")
    assert found["few_queries"] == "the figures are means over 6 queries"


def test_queries_with_nothing_relevant():
    gallery = labels(100, seed=1)
    gallery[gallery[:, 0]] = [False, True, False, False]
    query = labels(40)
    lost = int(query[:, 0].sum())
    skipped = kinds(query, gallery)
    assert skipped["left_out"].startswith(f"{lost} of 40 queries")
    assert skipped["left_out"].endswith("are left out")
    assert kinds(query, gallery, empty="zero")["left_out"].endswith("count as 0")
    only = np.zeros((30, 4), bool)
    only[:, 0] = True
    assert kinds(only, gallery)["none_relevant"].startswith("none of the 30 queries")


def test_a_gallery_smaller_than_r():
    found = kinds(labels(30), labels(100, seed=1), cutoff=5000)
    assert found["small_gallery"].startswith("R of mAP@R is 5,000 and the gallery has 100 items")


def test_equal_codes():
    found = kinds(labels(30), labels(100, seed=1), equal=True)
    assert found == {"equal_codes": "all 100 codes of the gallery are equal, so the order of the "
                     "hits is chance"}  # fmt: skip


@pytest.mark.parametrize("empty", [(0, 10), (10, 0), (0, 0)])
def test_nothing_to_rank_has_no_caveat_and_no_error(empty):
    assert kinds(labels(30)[: empty[0]], labels(30)[: empty[1]]) == {}


def test_lines_of_a_metrics_file():
    caveat = {"kind": "x", "message": "odd", "directions": ["image_to_text"]}
    part = {"protocol": {"gallery": "strict"}, "map": {"image_to_text": 1.0}, "warnings": [caveat]}
    metrics = {"map": {"image_to_text": 1, "text_to_image": 1}, "strict": part}
    assert caveat_lines(metrics) == ["strict gallery: odd"]
    assert caveat_lines({**metrics, "warnings": [caveat], "strict": None}) == [
        "literature gallery, image → text: odd"
    ]
    assert caveat_lines({"map": {}, "strict": None}) == []  # of an earlier version
