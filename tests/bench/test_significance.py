from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from proxyhash.bench import cells_of, read_suite
from proxyhash.bench.results import read_results
from proxyhash.bench.significance import compare, paired_t_test, sign_flip_test


def test_the_t_test_by_hand():
    differences = [0.01, 0.03, 0.02, -0.01, 0.05]
    mean, deviation = np.mean(differences), np.std(differences, ddof=1)
    t = mean / (deviation / np.sqrt(5))
    assert paired_t_test(differences) == pytest.approx(2 * stats.t.sf(abs(t), df=4))
    assert paired_t_test([0.1]) is None
    assert paired_t_test([0.1, 0.1]) is None


def test_the_sign_flip_test_against_all_sign_choices():
    values = np.array([0.3, 0.1, -0.2, 0.25, 0.4, -0.05, 0.15])
    flips = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    exact = (np.abs(flips @ values) >= abs(values.sum()) - 1e-12).mean()
    assert sign_flip_test(values, draws=40_000) == pytest.approx(exact, abs=0.01)


def test_the_sign_flip_test_agrees_with_scipy():
    values = np.random.default_rng(0).normal(0.1, 1, 200)
    theirs = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    )
    assert sign_flip_test(values) == pytest.approx(theirs.pvalue, abs=0.02)


def test_clear_and_absent_differences():
    assert sign_flip_test(np.full(40, 0.1)) == pytest.approx(1 / 10_001)
    assert sign_flip_test(np.zeros(40)) == 1
    assert sign_flip_test(np.empty(0)) is None


def test_comparisons_pair_seeds_and_queries(filled):
    path, out, _ = filled
    suite = read_suite(path)
    results = read_results(suite, cells_of(suite, out))
    found = compare(results, "scenes")
    assert len(found) == 4  # galleries x directions, one of ours
    first = next(c for c in found if (c.gallery, c.direction) == ("strict", "text_to_image"))
    assert (first.method, first.baseline) == ("dchml", "dcmh, wide")
    ours = results.of(data="scenes", method="dchml", bits=16)
    theirs = results.of(data="scenes", method="dcmh, wide", bits=16)
    maps = [
        a.metrics["strict"]["map"]["text_to_image"] - b.metrics["strict"]["map"]["text_to_image"]
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert first.seeds.mean == pytest.approx(np.mean(maps))
    assert first.seeds.deviation == pytest.approx(np.std(maps, ddof=1))
    assert first.p_seeds == pytest.approx(stats.ttest_1samp(maps, 0).pvalue)
    assert first.queries == len(set(ours[0].queries()) | set(ours[1].queries()))
