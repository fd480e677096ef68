"""All directions, both galleries, missing modalities and the form of `metrics.json`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.codes import CodeFile, distances
from proxyhash.data import Split
from proxyhash.errors import DataError
from proxyhash.evaluation import (
    Evaluation,
    Protocol,
    directions_of,
    evaluate_both_galleries,
    evaluate_codes,
    mean_average_precision,
)
from tests.evaluation.runs import ITEMS, Run, make_run, with_sound

if TYPE_CHECKING:
    from pathlib import Path


DIRECTIONS = {
    "image_to_text": ("image", "text"),
    "text_to_image": ("text", "image"),
    "image_to_image": ("image", "image"),
    "text_to_text": ("text", "text"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("evaluator"))


def evaluate(run: Run, **protocol: object) -> Evaluation:
    return evaluate_codes(
        run.codes,
        run.collection.labels,
        run.split,
        protocol=Protocol(**protocol),
        proxies=run.proxies,
    )


@pytest.mark.parametrize("gallery", ["literature", "strict"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_each_direction_searches_what_has_the_modality(run: Run, name: str, gallery: str) -> None:
    asked, searched = DIRECTIONS[name]
    there = {"image": run.codes.has("image"), "text": run.codes.has("text")}
    codes = {"image": run.codes.of("image"), "text": run.codes.of("text")}
    positions = range(20, ITEMS) if gallery == "literature" else range(60, ITEMS)
    rows = [position for position in range(20) if there[asked][position]]
    columns = [position for position in positions if there[searched][position]]
    labels = run.collection.labels
    direct = mean_average_precision(
        codes[asked][rows], codes[searched][columns], labels[rows], labels[columns], bits=16
    )
    found = evaluate(run, gallery=gallery)
    direction = found.directions[name]
    assert found.map[name] == direction.map == pytest.approx(direct.value)
    np.testing.assert_array_equal(direction.average_precision, direct.per_query)
    assert (direction.queries, direction.left_out) == (direct.queries, direct.left_out)
    assert direction.left_out >= 3  # the unlabeled ones
    assert direction.gallery == len(columns)
    assert found.missing[name] == (20 - len(rows), len(positions) - len(columns))
    assert sum(found.missing[name]) > 0


def test_means_over_queries_follow_the_definitions(run: Run) -> None:
    found = evaluate(run).directions["image_to_text"]
    rows = np.flatnonzero(run.codes.has("image")[:20])
    columns = 20 + np.flatnonzero(run.codes.has("text")[20:])
    table = distances(run.codes.of("image")[rows], run.codes.of("text")[columns])
    labels = run.collection.labels
    relevant = (labels[rows][:, None] & labels[columns][None]).any(axis=2)
    kept = relevant.any(axis=1)
    within = (table <= 2)[kept]
    precision = (within & relevant[kept]).sum(1) / np.maximum(within.sum(1), 1)
    assert found.lookup.radius == 2
    assert found.lookup.precision == pytest.approx(precision.mean())
    assert found.lookup.retrieved == pytest.approx(within.sum(1).mean())
    assert found.lookup.empty == pytest.approx((within.sum(1) == 0).mean())
    recall = ((within & relevant[kept]).sum(1) / relevant[kept].sum(1)).mean()
    assert found.lookup.recall == pytest.approx(recall)
    assert list(found.precision_at) == list(found.recall_at) == list(found.ndcg_at) == [1, 10]
    assert found.weighted_map >= found.map


def test_directions_are_made_from_the_modalities() -> None:
    for given in (("image", "text"), ("text", "image")):
        assert directions_of(given) == DIRECTIONS
        assert list(directions_of(given)) == list(DIRECTIONS)
    assert list(directions_of(["text"])) == ["text_to_text"]
    assert list(directions_of(["sound", "text", "image"])) == [
        "image_to_text",
        "image_to_sound",
        "text_to_image",
        "text_to_sound",
        "sound_to_image",
        "sound_to_text",
        "image_to_image",
        "text_to_text",
        "sound_to_sound",
    ]


def test_a_third_modality_is_evaluated_beside_the_others(run: Run) -> None:
    codes = with_sound(run.codes)
    two = evaluate(run)
    three = evaluate_codes(codes, run.collection.labels, run.split, proxies=run.proxies)
    assert list(three.directions) == list(directions_of(codes.modalities))
    for name, value in two.map.items():
        assert three.map[name] == value
    assert three.map["sound_to_text"] == two.map["image_to_text"]
    assert three.map["sound_to_image"] == three.map["image_to_sound"] == two.map["image_to_image"]
    assert three.missing["sound_to_text"] == two.missing["image_to_text"]
    statistics, before = three.bit_statistics, two.bit_statistics
    assert statistics["sound"] == statistics["image"] == before["image"]
    images = int(run.codes.has("image")[20:].sum())
    items = before["pairs"]["items"]
    assert statistics["pairs"]["items"] == 2 * items + images
    total = 2 * items * before["pairs"]["mean_distance"]
    assert statistics["pairs"]["mean_distance"] == pytest.approx(total / (2 * items + images))
    json.dumps(three.to_dict(), allow_nan=False)


def test_a_model_of_one_modality_has_one_direction(run: Run) -> None:
    codes = replace(
        run.codes,
        codes={"text": run.codes.of("text")},
        present={"text": run.codes.has("text")},
    )
    alone = evaluate_codes(codes, run.collection.labels, run.split)
    assert alone.map == {"text_to_text": evaluate(run).map["text_to_text"]}
    assert alone.bit_statistics["pairs"] == {"items": 0, "mean_distance": None}


def test_empty_queries_can_count_as_zero(run: Run) -> None:
    skipped, zeroed = (evaluate(run, empty=empty) for empty in ("skip", "zero"))
    for name in DIRECTIONS:
        few, all_of_them = skipped.directions[name], zeroed.directions[name]
        total = few.queries + few.left_out
        assert (all_of_them.queries, all_of_them.left_out) == (total, 0)
        for metric in ("map", "weighted_map"):
            expected = getattr(few, metric) * few.queries / total
            assert getattr(all_of_them, metric) == pytest.approx(expected)
        for metric in ("precision_at", "recall_at", "ndcg_at"):
            expected = getattr(few, metric)[10] * few.queries / total
            assert getattr(all_of_them, metric)[10] == pytest.approx(expected)


def test_metrics_json(run: Run) -> None:
    both = evaluate_both_galleries(run.codes, run.collection, run.split, proxies=run.proxies)
    metrics = json.loads(json.dumps(both.to_dict(), allow_nan=False))
    assert list(metrics)[:4] == ["protocol", "fingerprint", "bits", "map"]
    assert metrics["protocol"] == Protocol().to_dict()
    assert metrics["fingerprint"] == {"model": "m1"} | run.split.fingerprint(run.collection)
    assert metrics["bits"] == 16
    assert metrics["map"] == pytest.approx(evaluate(run).map)
    assert metrics["strict"]["map"] == pytest.approx(evaluate(run, gallery="strict").map)
    assert metrics["strict"]["protocol"]["gallery"] == "strict"
    assert metrics["bit_statistics"]["proxies"]["count"] == 5
    assert metrics["bit_statistics"]["image"]["codes"] == run.codes.has("image")[20:].sum()
    direction = metrics["directions"]["text_to_image"]
    assert direction["queries_missing"] == (~run.codes.has("text")[:20]).sum()
    assert set(direction["precision_at"]) == {"1", "10"}
    curve = metrics["curves"]["text_to_image"]
    assert len(curve["radius"]) == len(curve["recall"]) == 17
    assert curve["recall"][-1] == 1.0


def test_without_a_strict_gallery(tmp_path: Path) -> None:
    run = make_run(tmp_path, strict=False)
    both = evaluate_both_galleries(run.codes, run.collection, run.split)
    assert both.strict is None
    assert both.to_dict()["strict"] is None
    alone = evaluate(run, gallery="strict")
    assert all(np.isnan(value) for value in alone.map.values())
    assert set(alone.to_dict()["map"].values()) == {None}
    json.dumps(alone.to_dict(), allow_nan=False)


def test_a_collection_without_texts(run: Run) -> None:
    nothing = np.zeros(ITEMS, bool)
    codes = replace(
        run.codes,
        codes={**run.codes.codes, "text": np.zeros_like(run.codes.codes["text"])},
        present={**run.codes.present, "text": nothing},
    )
    found = evaluate_codes(codes, run.collection.labels, run.split)
    assert np.isnan(found.map["image_to_text"])
    assert np.isnan(found.map["text_to_text"])
    assert found.map["image_to_image"] == evaluate(run).map["image_to_image"]
    assert found.bit_statistics["text"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_other_items_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="the labels have 79 items and the codes 80"):
        evaluate_codes(run.codes, run.collection.labels[1:], run.split)
    small = Split.of(40, query=[0], train=[], validation=[], seed=0, source="drawn")
    with pytest.raises(DataError, match="the split has 40 items and the codes 80"):
        evaluate_codes(run.codes, run.collection.labels, small)
    renamed = CodeFile(
        tuple(f"other-{item}" for item in range(ITEMS)),
        run.codes.codes,
        run.codes.present,
        bits=16,
    )
    with pytest.raises(DataError, match="the codes do not belong to the items of"):
        evaluate_both_galleries(renamed, run.collection, run.split)


def test_progress_is_told_about_every_direction(run: Run) -> None:
    seen: list[str] = []

    def track(steps, description, total=None, /):
        seen.append(description)
        yield from steps

    evaluate_codes(run.codes, run.collection.labels, run.split, track=track)
    assert len(seen) == 4
    assert seen[0] == "evaluate image to text, literature gallery"
