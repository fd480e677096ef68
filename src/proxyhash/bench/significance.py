"""Is ours better than the best baseline, or lucky? Paired by seed, and paired by query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from proxyhash.bench.results import GALLERIES
from proxyhash.evaluation.report import Spread, paired_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.bench.results import Measured, Results

__all__ = ["DRAWS", "Comparison", "compare", "paired_t_test", "sign_flip_test"]

DRAWS = 10_000
"""Random sign flips of one test; the smallest p it can give is 1 / (DRAWS + 1)."""


@dataclass(frozen=True)
class Comparison:
    """One of our methods against the best baseline, for one code length, gallery and direction.

    Attributes:
        data: the data set.
        bits: the code length.
        gallery: "literature" or "strict".
        direction: such as "image_to_text".
        method: ours.
        baseline: the other method with the largest mean mAP over the seeds.
        seeds: mean and deviation of the differences in mAP, each seed with itself.
        p_seeds: of the paired t-test over the seeds; None with fewer than two.
        queries: how many items were a query in any seed.
        p_queries: of the sign-flip test over these items.
    """

    data: str
    bits: int
    gallery: str
    direction: str
    method: str
    baseline: str
    seeds: Spread
    p_seeds: float | None
    queries: int
    p_queries: float | None


def compare(results: Results, data: str) -> list[Comparison]:
    """Return every comparison of a data set that the finished cells allow."""
    found = []
    for bits in results.suite.bits:
        for gallery in GALLERIES:
            for direction in results.directions(data):
                baseline = results.leader(
                    gallery, direction, data=data, bits=bits, among=results.baselines
                )
                for method in results.suite.ours if baseline else ():
                    ours = results.of(data=data, method=method, bits=bits)
                    theirs = results.of(data=data, method=str(baseline), bits=bits)
                    pairs = _pairs(ours, theirs, gallery, direction)
                    if pairs:
                        found.append(_comparison(pairs, gallery, direction))
    return found


def paired_t_test(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of a paired t-test; None for fewer than two or equal differences."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    return float(ttest_1samp(differences, 0.0).pvalue)


def sign_flip_test(
    differences: npt.NDArray[np.float64], *, draws: int = DRAWS, seed: int = 0
) -> float | None:
    """Return the two-sided p of a sign-flip permutation test on the mean; None without any.

    Were the two methods alike, each difference would be as likely with the other sign. p is the
    share of random sign choices, the observed one included, whose mean is at least as far from 0.
    Takes memory for 500 draws at a time.
    """
    if not len(differences):
        return None
    random = np.random.default_rng(seed)
    observed = abs(differences.sum())
    tolerance = 1e-12 * np.abs(differences).sum()
    reached = 0
    for start in range(0, draws, 500):
        count = min(500, draws - start)
        signs = random.integers(0, 2, (count, len(differences)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ differences) >= observed - tolerance).sum())
    return (reached + 1) / (draws + 1)


def query_differences(
    pairs: Sequence[tuple[Measured, Measured]], gallery: str, direction: str
) -> npt.NDArray[np.float64]:
    """Return one difference in AP for each item that was a query in some seed, float64.

    The same item may be a query in several seeds; its differences are then averaged first, so that
    it counts once.
    """
    ids: list[npt.NDArray[np.str_]] = []
    values: list[npt.NDArray[np.float64]] = []
    for ours, theirs in pairs:
        first = ours.average_precision(gallery, direction)
        second = theirs.average_precision(gallery, direction)
        if first is None or second is None:
            continue
        difference = first.astype(np.float64) - second
        counts = ~np.isnan(difference)
        ids.append(ours.queries()[counts])
        values.append(difference[counts])
    if not ids:
        return np.empty(0)
    _, item = np.unique(np.concatenate(ids), return_inverse=True)
    return np.asarray(np.bincount(item, np.concatenate(values)) / np.bincount(item))


def _pairs(
    ours: Sequence[Measured], theirs: Sequence[Measured], gallery: str, direction: str
) -> list[tuple[Measured, Measured]]:
    """Return the seeds that both have a figure for, as pairs."""
    other = {each.cell.seed: each for each in theirs}
    return [
        (each, other[each.cell.seed])
        for each in ours
        if each.cell.seed in other
        and each.map(gallery, direction) is not None
        and other[each.cell.seed].map(gallery, direction) is not None
    ]


def _comparison(
    pairs: Sequence[tuple[Measured, Measured]], gallery: str, direction: str
) -> Comparison:
    cell, other = pairs[0][0].cell, pairs[0][1].cell
    figures = [
        {each.cell.seed: each.map(gallery, direction) or 0.0 for each in side}
        for side in zip(*pairs, strict=True)
    ]
    by_query = query_differences(pairs, gallery, direction)
    return Comparison(
        data=cell.data,
        bits=cell.bits,
        gallery=gallery,
        direction=direction,
        method=cell.method,
        baseline=other.method,
        seeds=paired_difference(figures[0], figures[1]),
        p_seeds=paired_t_test([figures[0][seed] - figures[1][seed] for seed in figures[0]]),
        queries=len(by_query),
        p_queries=sign_flip_test(by_query),
    )
