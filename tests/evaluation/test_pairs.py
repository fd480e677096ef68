"""Recall and rank of an item's other half, against every order of the ties."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.codes import pack
from proxyhash.data.run_data import read_run
from proxyhash.evaluation import evaluate_pairs
from proxyhash.evaluation.pairs import pair_ranks
from proxyhash.evaluation.run import evaluate_run
from tests.evaluation.reference import every_order
from tests.evaluation.runs import make_run, with_sound

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", range(8))
def test_ranks_are_means_over_every_order_of_the_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, candidates = (rng.integers(0, 2, (6, 3)).astype(bool) for _ in range(2))
    ranks = pair_ranks(pack(query), pack(candidates))
    places = [
        [order.index(own) + 1 for order in every_order((query[own] != candidates).sum(axis=1))]
        for own in range(6)
    ]
    assert ranks.expected == pytest.approx([np.mean(each) for each in places])
    assert ranks.median == pytest.approx(median(np.mean(each) for each in places))
    assert ranks.mrr == pytest.approx(np.mean([np.mean(1 / np.array(each)) for each in places]))
    for n in (1, 2, 5, 6):
        hits = [np.mean([place <= n for place in each]) for each in places]
        assert ranks.recall_at(n) == pytest.approx(np.mean(hits))


def test_more_queries_than_one_block() -> None:
    codes = pack(np.random.default_rng(0).integers(0, 2, (1100, 64)).astype(bool))
    ranks = pair_ranks(codes, codes)
    assert not ranks.nearer.any()
    assert (ranks.tied == 1).all()
    assert ranks.recall_at(1) == 1
    assert pair_ranks(codes, codes[::-1].copy()).recall_at(1) < 0.01


def test_queries_that_lack_a_half_are_no_candidates(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    found = evaluate_pairs(run.codes, run.split.query, run.collection)
    assert found is not None
    rows = [row for row in range(20) if row % 11 != 4 and row % 13 != 7]
    assert found.candidates == dict.fromkeys(found.directions, len(rows))
    assert list(found.directions) == ["image_to_text", "text_to_image"]
    ranks = pair_ranks(run.codes.of("text")[rows], run.codes.of("image")[rows])
    assert found.directions["text_to_image"].recall_at[5] == ranks.recall_at(5)
    assert found.repeated == {"image": 0, "text": len(rows)}  # all texts are "some words"


def test_case_and_blanks_make_no_other_text(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    texts = {0: "Some  words", 1: "some words ", 2: "other words"}
    items = tuple(
        replace(item, sources=dict(item.sources) | {"text": texts.get(row, f"words {row}")})
        for row, item in enumerate(run.collection.items)
    )
    found = evaluate_pairs(run.codes, np.arange(20), replace(run.collection, items=items))
    assert found is not None
    assert found.repeated == {"image": 0, "text": 2}


def test_every_pair_of_modalities_and_few_queries(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    three = evaluate_pairs(with_sound(run.codes), np.array([0, 1, 2]), run.collection)
    assert three is not None
    assert len(three.directions) == 6
    assert three.directions["image_to_sound"].recall_at == {1: 1.0}  # 5 and 10 are more than all
    assert evaluate_pairs(run.codes, np.array([0]), run.collection) is None


def test_metrics_have_them_for_any_gallery(tmp_path: Path) -> None:
    parts = read_run(make_run(tmp_path).folder)
    both, strict = evaluate_run(parts), evaluate_run(parts, gallery="strict")
    assert both.metrics["pairs"] == strict.metrics["pairs"]
    assert both.metrics["pairs"]["protocol"]["ties"] == "expected"
    one = both.metrics["pairs"]["directions"]["image_to_text"]
    assert set(one) == {"candidates", "recall_at", "median_rank"}
    assert list(one["recall_at"]) == ["1", "5", "10"]
