"""AP under each tie rule, cutoff and divisor, against every order of the ties; and its mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from proxyhash.codes import pack
from proxyhash.evaluation import MAP, Protocol, Ranking, mean_average_precision
from proxyhash.evaluation.average_precision import average_precision, weighted_average_precision
from proxyhash.evaluation.counting import expected_precisions
from tests.evaluation.reference import Case, ap, expected, stable_order, weighted_ap

cases = st.integers(0, 2**32 - 1).map(Case.draw)
cutoffs = st.sampled_from([None, 1, 2, 3, 5, 7, 20])
divisors = st.sampled_from(["hits", "min", "relevant"])


def found(case: Case, **options: object) -> np.ndarray:
    ranking = case.ranking
    counts = ranking.tally()
    sums = ranking.stable_precision_sums(counts, cutoff=options.get("cutoff"))
    return average_precision(counts, stable_sums=sums, **options)


@given(case=cases, cutoff=cutoffs, divisor=divisors)
def test_expected_ap_is_the_mean_over_every_order(
    case: Case, cutoff: int | None, divisor: str
) -> None:
    values = found(case, cutoff=cutoff, divisor=divisor)
    for query, value in enumerate(values):
        shared = case.shared(query)
        if not shared.any():
            assert np.isnan(value)
            continue
        assert value == pytest.approx(
            expected(
                case.distances(query), shared, lambda r: ap(r, cutoff=cutoff, divisor=divisor)
            ),
            abs=1e-12,
        )


@given(case=cases, cutoff=cutoffs, divisor=divisors)
def test_the_other_tie_rules_are_one_order_each(
    case: Case, cutoff: int | None, divisor: str
) -> None:
    worst_first = {"stable": 0, "optimistic": -1, "pessimistic": 1}
    for ties, sign in worst_first.items():
        values = found(case, ties=ties, cutoff=cutoff, divisor=divisor)
        for query, value in enumerate(values):
            shared, distances = case.shared(query), case.distances(query)
            order = stable_order(distances)
            order.sort(key=lambda item: (distances[item], sign * (shared[item] > 0)))
            if shared.any():
                ranked = [int(shared[item]) for item in order]
                assert value == pytest.approx(ap(ranked, cutoff=cutoff, divisor=divisor))
            else:
                assert np.isnan(value)


@given(case=cases, cutoff=cutoffs, divisor=st.sampled_from(["min", "relevant"]))
def test_optimistic_and_pessimistic_are_bounds(
    case: Case, cutoff: int | None, divisor: str
) -> None:
    low, middle, high = (
        np.nan_to_num(found(case, ties=ties, cutoff=cutoff, divisor=divisor))
        for ties in ("pessimistic", "expected", "optimistic")
    )
    stable = np.nan_to_num(found(case, ties="stable", cutoff=cutoff, divisor=divisor))
    for value in (middle, stable):
        assert (low <= value + 1e-12).all()
        assert (value <= high + 1e-12).all()


def test_extreme_orders_are_no_bounds_where_hits_divide() -> None:
    # Ranked: relevant, not relevant, then a tie of one of each, cut after its first place.
    gallery = pack(np.array([[0, 0], [0, 1], [1, 1], [1, 1]]))
    labels = np.array([[True], [False], [True], [False]])
    counts = Ranking(gallery[:1], gallery, labels[:1], labels, 2).tally()
    values = [
        average_precision(counts, ties=ties, cutoff=3, divisor="hits")[0]
        for ties in ("optimistic", "expected", "pessimistic")
    ]
    assert values == pytest.approx([(1 + 2 / 3) / 2, (1 + (1 + 2 / 3) / 2) / 2, 1.0])


def test_hand_value_of_one_tie() -> None:
    # One of two tied items is relevant: half the orders have AP 1, half 1/2.
    gallery = pack(np.zeros((2, 4)))
    labels = np.array([[True], [False]])
    counts = Ranking(gallery[:1], gallery, labels[:1], labels, 4).tally()
    assert average_precision(counts) == pytest.approx([0.75])
    assert average_precision(counts, ties="optimistic") == pytest.approx([1.0])
    assert average_precision(counts, ties="pessimistic") == pytest.approx([0.5])


def test_one_tie_of_everything_is_known_in_closed_form() -> None:
    # Random ranking of r relevant among n: E[AP] = (r-1)/(n-1) + (n-r)/(n-1) * H(n)/n
    # (Bestgen, "Exact Expected Average Precision of the Random Baseline", 2015).
    n, r = 1000, 37
    gallery = pack(np.zeros((n, 8)))
    labels = (np.arange(n) < r)[:, None]
    counts = Ranking(gallery[:1], gallery, labels[:1], labels, 8).tally()
    harmonic = (1 / np.arange(1, n + 1)).sum()
    exact = (r - 1) / (n - 1) + (n - r) / (n - 1) * harmonic / n
    assert average_precision(counts)[0] == pytest.approx(exact, rel=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_without_ties_it_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = 30
    # A code whose first d bits are one lies d bits from the zero code: one item a distance.
    gallery = np.tri(bits + 1, bits, -1)[rng.permutation(bits + 1)]
    labels = rng.random((bits + 1, 1)) < 0.4
    labels[0] = True
    ranking = Ranking(pack(np.zeros((1, bits))), pack(gallery), np.ones((1, 1), bool), labels, bits)
    theirs = average_precision_score(labels[:, 0], -gallery.sum(axis=1))
    for ties in ("expected", "optimistic", "pessimistic"):
        assert average_precision(ranking.tally(), ties=ties)[0] == pytest.approx(theirs)


def test_with_ties_it_is_the_mean_of_scikit_learns_over_random_tie_breaks() -> None:
    case = Case.draw(2, queries=1, items=60, bits=3)
    distances, relevant = case.distances(0), case.shared(0) > 0
    rng = np.random.default_rng(0)
    samples = [
        average_precision_score(relevant, -(distances + rng.random(len(distances)) / 2))
        for _ in range(500)
    ]
    error = np.std(samples) / np.sqrt(len(samples))
    value = average_precision(case.ranking.tally())[0]
    assert abs(value - np.mean(samples)) < 4 * error
    # Left to itself, scikit-learn takes the precision at the end of each tie for all of it.
    ends = np.array([relevant[distances <= d].mean() for d in distances])
    theirs = average_precision_score(relevant, -distances)
    assert theirs == pytest.approx(ends[relevant].mean())
    assert value != pytest.approx(theirs, abs=1e-3)


def test_expected_over_hits_on_a_large_tie_agrees_with_sampling() -> None:
    case = Case.draw(11, queries=1, items=3000, bits=2)
    distances, relevant = case.distances(0), case.shared(0) > 0
    rng = np.random.default_rng(0)
    cutoff = 900
    samples = []
    for _ in range(500):
        order = np.argsort(distances + rng.random(len(distances)) / 2)[:cutoff]
        hits = np.cumsum(relevant[order])
        precision = hits / np.arange(1, cutoff + 1)
        samples.append(precision[relevant[order]].mean())
    value = average_precision(case.ranking.tally(), cutoff=cutoff, divisor="hits")[0]
    assert abs(value - np.mean(samples)) < 4 * np.std(samples) / np.sqrt(len(samples))


@given(cases)
def test_weighted_ap_is_the_mean_over_every_order(case: Case) -> None:
    for query, value in enumerate(weighted_average_precision(case.ranking.tally())):
        shared = case.shared(query)
        if shared.any():
            assert value == pytest.approx(expected(case.distances(query), shared, weighted_ap))
        else:
            assert np.isnan(value)


def test_stable_ties_need_the_order_of_the_gallery() -> None:
    with pytest.raises(ValueError, match="ties 'stable' need stable_sums"):
        average_precision(Case.draw(0).ranking.tally(), ties="stable")


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


@given(case=cases, seed=st.integers(0, 2**32 - 1))
def test_sorted_distances_have_the_same_expected_ap(case: Case, seed: int) -> None:
    # The loop over sorted items against the closed form over groups, for a part of the gallery.
    ranking = case.ranking
    kept = np.random.default_rng(seed).random(len(ranking.gallery)) < 0.7
    distances = np.stack([case.distances(query) for query in range(len(ranking.query))]) / 7
    relevant = np.stack([case.shared(query) > 0 for query in range(len(ranking.query))])
    result = np.empty(len(distances))
    expected_precisions(np.argsort(distances, axis=1), distances, relevant, kept, result)
    part = Ranking(
        ranking.query,
        ranking.gallery[kept],
        ranking.query_labels,
        ranking.gallery_labels[kept],
        ranking.bits,
    )
    np.testing.assert_allclose(result, average_precision(part.tally()), rtol=1e-12)
