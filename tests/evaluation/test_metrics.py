"""Precision, recall and NDCG at N, look-ups and curves, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from proxyhash.codes import pack
from proxyhash.errors import UsageError
from proxyhash.evaluation import Ranking
from proxyhash.evaluation.metrics import curves, lookup, ndcg_at, precision_at, recall_at
from tests.evaluation.reference import Case, expected, ndcg

cases = st.integers(0, 2**32 - 1).map(Case.draw)
places = st.integers(1, 9)


@given(cases, places)
def test_precision_and_recall_are_means_over_every_order(case: Case, n: int) -> None:
    counts = case.ranking.tally()
    for query, (precision, recall) in enumerate(
        zip(precision_at(counts, n), recall_at(counts, n), strict=True)
    ):
        shared = case.shared(query)
        hits = expected(case.distances(query), shared, lambda r: sum(w > 0 for w in r[:n]))
        assert precision == pytest.approx(hits / n)
        if shared.any():
            assert recall == pytest.approx(hits / (shared > 0).sum())
        else:
            assert np.isnan(recall)


@given(cases, places, st.sampled_from(["exponential", "linear"]))
def test_ndcg_is_the_mean_over_every_order(case: Case, n: int, gain: str) -> None:
    worth = {"exponential": lambda s: 2**s - 1, "linear": lambda s: s}[gain]
    for query, value in enumerate(ndcg_at(case.ranking.tally(gain=gain), n)):
        shared = case.shared(query)
        if shared.any():
            assert value == pytest.approx(
                expected(case.distances(query), shared, lambda r: ndcg(r, n, worth))
            )
        else:
            assert np.isnan(value)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 40, 80]))
def test_ndcg_is_scikit_learns(seed: int, n: int) -> None:
    case = Case.draw(seed, queries=2, items=60, bits=4, classes=5)
    values = ndcg_at(case.ranking.tally(gain="exponential"), n)
    for query, value in enumerate(values):
        gains = 2.0 ** case.shared(query) - 1
        if gains.any():
            # scikit-learn averages tied scores, too (and takes gains as they are).
            theirs = ndcg_score(gains[None], -case.distances(query)[None].astype(float), k=n)
            assert value == pytest.approx(theirs)


@given(cases, st.integers(0, 5))
def test_lookup_returns_what_lies_within_the_radius(case: Case, radius: int) -> None:
    found = lookup(case.ranking.tally(), radius=radius)
    assert found.radius == radius
    for query in range(len(case.query)):
        within = case.distances(query) <= radius
        relevant = case.shared(query) > 0
        assert found.retrieved[query] == within.sum()
        hits = (within & relevant).sum()
        assert found.precision[query] == pytest.approx(hits / within.sum() if within.any() else 0)
        if relevant.any():
            assert found.recall[query] == pytest.approx(hits / relevant.sum())
        else:
            assert np.isnan(found.recall[query])


@given(cases)
def test_curves_average_the_queries_at_each_radius(case: Case) -> None:
    result = curves(case.ranking.tally())
    kept = [query for query in range(len(case.query)) if case.shared(query).any()]
    assert result.queries == len(kept)
    listed = result.to_dict()
    assert listed["radius"] == list(range(case.bits + 1))
    for radius in range(case.bits + 1):
        precisions, recalls, pairs = [], [], [0, 0]
        for query in kept:
            distances, relevant = case.distances(query), case.shared(query) > 0
            within = distances <= radius
            if within.any():
                precisions.append(relevant[within].mean())
            recalls.append((relevant & within).sum() / relevant.sum())
            pairs[0] += (relevant & (distances == radius)).sum()
            pairs[1] += (~relevant & (distances == radius)).sum()
        assert [listed["relevant_pairs"][radius], listed["irrelevant_pairs"][radius]] == pairs
        if precisions:
            assert result.precision[radius] == pytest.approx(np.mean(precisions))
        else:
            assert listed["precision"][radius] is None
        if kept:
            assert result.recall[radius] == pytest.approx(np.mean(recalls))
            assert result.answered[radius] == pytest.approx(len(precisions) / len(kept))
        else:
            assert listed["recall"][radius] is listed["answered"][radius] is None


def test_curves_of_two_sets_of_queries_add_up() -> None:
    ranking = Case.draw(3, queries=9, items=30).ranking
    whole = curves(ranking.tally())
    parts = curves(ranking.tally(slice(0, 4))) + curves(ranking.tally(slice(4, 9)))
    for name, values in whole.to_dict().items():
        assert parts.to_dict()[name] == pytest.approx(values), name


def test_ndcg_hand_value() -> None:
    # Nearest: an item that shares one label; then one that shares two.
    labels = np.array([[1, 1], [1, 0], [1, 1]], bool)
    codes = pack(np.array([[0, 0], [0, 0], [0, 1]]))
    counts = Ranking(codes[:1], codes[1:], labels[:1], labels[1:], 2).tally()
    discount = np.log2(3)
    assert ndcg_at(counts, 2)[0] == pytest.approx((1 + 3 / discount) / (3 + 1 / discount))
    assert ndcg_at(counts, 1)[0] == pytest.approx(1 / 3)


def test_impossible_arguments_are_refused() -> None:
    counts = Case.draw(0).ranking.tally()
    for metric in (precision_at, recall_at, ndcg_at):
        with pytest.raises(UsageError, match="N is 0; it must be at least 1"):
            metric(counts, 0)
    with pytest.raises(UsageError, match="radius is -1; it must be at least 0"):
        lookup(counts, radius=-1)
