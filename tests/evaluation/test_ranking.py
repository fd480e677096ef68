"""Counting by distance and shared labels, against a loop over pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import DataError
from proxyhash.evaluation.ranking import pack_labels
from tests.evaluation.reference import Case


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 5, 16, 24, 64, 130]),
    st.sampled_from([1, 3, 64, 65, 200]),
    st.booleans(),
)
def test_tally_equals_a_loop(seed: int, bits: int, classes: int, graded: bool) -> None:
    case = Case.draw(seed, queries=4, items=50, bits=bits, classes=classes)
    counts = case.ranking.tally(graded=graded, gain="exponential")
    items, relevant, shared, gain = np.zeros((4, 4, bits + 1))
    for query in range(4):
        for distance, labels in zip(case.distances(query), case.shared(query), strict=True):
            most = labels if graded else min(labels, 1)
            items[query, distance] += 1
            relevant[query, distance] += labels > 0
            shared[query, distance] += most
            gain[query, distance] += 2.0**most - 1
        seen = np.bincount(
            case.shared(query) if graded else np.minimum(case.shared(query), 1),
            minlength=counts.grades.shape[1],
        )
        assert counts.grades[query].tolist() == seen.tolist()
    np.testing.assert_array_equal(counts.items, items)
    np.testing.assert_array_equal(counts.relevant, relevant)
    np.testing.assert_array_equal(counts.shared, shared)
    np.testing.assert_allclose(counts.gain, gain, rtol=1e-12)
    np.testing.assert_array_equal(
        counts.has_relevant, [case.shared(query).any() for query in range(4)]
    )


def test_a_gallery_of_several_tiles_and_threads() -> None:
    case = Case.draw(8, queries=40, items=20_001, bits=5, classes=4)
    ranking = case.ranking
    counts = ranking.tally()
    for query in (0, 17, 39):
        expected = np.bincount(case.distances(query), minlength=6)
        assert counts.items[query].tolist() == expected.tolist()
        relevant = case.distances(query)[case.shared(query) > 0]
        assert counts.relevant[query].tolist() == np.bincount(relevant, minlength=6).tolist()
    alone = replace(ranking, threads=1).tally()
    np.testing.assert_array_equal(alone.gain, counts.gain)
    np.testing.assert_array_equal(
        replace(ranking, threads=1).stable_precision_sums(counts),
        replace(ranking, threads=3).stable_precision_sums(counts),
    )


def test_rows_choose_queries() -> None:
    ranking = Case.draw(1, queries=6, items=20).ranking
    whole, part = ranking.tally(), ranking.tally(slice(2, 5))
    np.testing.assert_array_equal(whole.items[2:5], part.items)
    np.testing.assert_array_equal(
        ranking.stable_precision_sums(whole)[2:5],
        ranking.stable_precision_sums(part, slice(2, 5)),
    )


def test_blocks_cover_all_queries_and_bound_the_memory() -> None:
    case = Case.draw(0, queries=40, items=3, bits=4000, classes=70)
    many = replace(
        case, query=np.repeat(case.query, 60, axis=0), query_labels=np.ones((2400, 70), bool)
    )
    blocks = list(many.ranking.blocks(graded=True))
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert blocks[0].start == 0
    assert blocks[-1].stop >= 2400
    assert (blocks[0].stop - 0) * 4001 * 71 * 4 <= 48 * 2**20
    assert len(list(many.ranking.blocks(graded=False))) < len(blocks)


def test_no_query_no_item_no_class() -> None:
    case = Case.draw(2)
    none = replace(case, query=case.query[:0], query_labels=case.query_labels[:0])
    assert next(none.ranking.blocks(graded=True)).start == 0
    assert none.ranking.tally().items.shape == (0, case.bits + 1)
    empty = replace(case, gallery=case.gallery[:0], gallery_labels=case.gallery_labels[:0])
    assert empty.ranking.tally().items.sum() == 0
    bare = replace(
        case, query_labels=case.query_labels[:, :0], gallery_labels=case.gallery_labels[:, :0]
    )
    assert bare.ranking.tally().relevant.sum() == 0


def test_labels_pack_into_whole_words() -> None:
    labels = np.random.default_rng(0).random((5, 130)) < 0.3
    sets = pack_labels(labels)
    assert sets.shape == (5, 3)
    np.testing.assert_array_equal(np.bitwise_count(sets).sum(axis=1), labels.sum(axis=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": np.zeros((3, 1), np.int16)}, "query codes must be packed uint8"),
        ({"gallery": np.full((7, 1), 255, np.uint8)}, "gallery codes have bits set after bit 3"),
        (
            {"query_labels": np.ones((2, 3), bool)},
            r"query labels must be bool of shape \(3, classes",
        ),
        ({"gallery_labels": np.ones((7, 3))}, "found float64 of shape"),
        ({"gallery_labels": np.ones((7, 4), bool)}, "3 classes and gallery labels 4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(Case.draw(0).ranking, **changes)
