"""Mean average precision: what is averaged, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.codes import pack
from proxyhash.evaluation import MAP, Protocol, mean_average_precision
from tests.evaluation.reference import Case, ap, expected


def measure(case: Case, **protocol: object) -> MAP:
    return mean_average_precision(
        pack(case.query),
        pack(case.gallery),
        case.query_labels,
        case.gallery_labels,
        bits=case.bits,
        protocol=Protocol(**protocol),
    )


@given(st.integers(0, 2**32 - 1).map(Case.draw))
def test_queries_with_nothing_relevant_are_left_out_or_zero(case: Case) -> None:
    values = [
        expected(case.distances(query), case.shared(query), ap)
        for query in range(len(case.query))
        if case.shared(query).any()
    ]
    skipped, zeroed = measure(case), measure(case, empty="zero")
    assert (skipped.queries, skipped.left_out) == (len(values), len(case.query) - len(values))
    assert (zeroed.queries, zeroed.left_out) == (len(case.query), 0)
    assert zeroed.value == pytest.approx(sum(values) / len(case.query))
    if values:
        assert skipped.value == pytest.approx(np.mean(values))
    else:
        assert np.isnan(skipped.value)
    assert np.isnan(skipped.per_query).sum() == skipped.left_out


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 5, 30]),
    st.sampled_from(["hits", "min", "relevant"]),
)
def test_permuting_the_gallery_changes_only_stable_ties(
    seed: int, cutoff: int | None, divisor: str
) -> None:
    case = Case.draw(seed, queries=4, items=60, bits=4)
    order = np.random.default_rng(seed).permutation(60)
    shuffled = Case(case.query, case.gallery[order], case.query_labels, case.gallery_labels[order])
    for ties in ("expected", "optimistic", "pessimistic"):
        before, after = (
            measure(each, ties=ties, cutoff=cutoff, divisor=divisor).per_query
            for each in (case, shuffled)
        )
        np.testing.assert_array_equal(before, after)


def test_permuting_the_gallery_does_change_stable_ties() -> None:
    case = Case.draw(1, queries=4, items=60, bits=4)
    reverse = Case(case.query, case.gallery[::-1], case.query_labels, case.gallery_labels[::-1])
    assert measure(case, ties="stable").value != measure(reverse, ties="stable").value


def test_inverting_bits_and_repeating_queries_change_nothing() -> None:
    case = Case.draw(4, queries=5, items=80, bits=11)
    flipped = Case(~case.query, ~case.gallery, case.query_labels, case.gallery_labels)
    assert measure(flipped).value == measure(case).value
    twice = Case(
        np.tile(case.query, (300, 1)),
        case.gallery,
        np.tile(case.query_labels, (300, 1)),
        case.gallery_labels,
    )
    assert measure(twice).value == pytest.approx(measure(case).value)
    assert measure(twice).queries == 300 * measure(case).queries


def test_the_divisors_are_one_without_a_cutoff() -> None:
    case = Case.draw(6, queries=4, items=40)
    values = [
        measure(case, ties=ties, divisor=divisor, cutoff=cutoff).value
        for divisor in ("hits", "min", "relevant")
        for cutoff in (None, 40, 1000)
        for ties in ("expected",)
    ]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-12)


def test_random_codes_give_the_share_of_relevant_items() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((3000, 1)) < 0.3
    codes = rng.integers(0, 2, (3000, 32))
    case = Case(codes[:200], codes[200:], np.ones((200, 1), bool), labels[200:])
    assert measure(case).value == pytest.approx(labels[200:].mean(), abs=0.01)
