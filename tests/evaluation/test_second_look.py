"""Rankings by real-valued outputs, against sums over bits and AP by its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.codes import CodeFile, binarize, weights_of
from proxyhash.data import Split
from proxyhash.evaluation import Protocol, evaluate_both_galleries, second_look
from proxyhash.evaluation.second_look import RANKINGS, evaluate_second_look
from tests.evaluation.reference import ap, expected, stable_order
from tests.evaluation.runs import make_run

if TYPE_CHECKING:
    from pathlib import Path

BITS, ITEMS = 5, 14


def small(seed: int, *, strict: bool = True):
    """Codes, outputs in steps of 2/5 (so that there are ties), labels, a split of 14 items."""
    rng = np.random.default_rng(seed)
    outputs = {name: (2 * rng.integers(-3, 3, (ITEMS, BITS)) + 1) / 5 for name in ("image", "text")}
    has = {"image": np.arange(ITEMS) != 9, "text": np.arange(ITEMS) != 1}
    codes = CodeFile(
        tuple(map(str, range(ITEMS))),
        {name: binarize(values) * has[name][:, None] for name, values in outputs.items()},
        has,
        bits=BITS,
    )
    split = Split.of(
        ITEMS,
        query=range(4),
        train=range(4, 8 if strict else ITEMS),
        validation=[],
        seed=0,
        source="drawn",
    )
    weights = {name: weights_of(values) for name, values in outputs.items()}
    return (
        codes,
        np.clip(outputs["image"], -1, 1),
        outputs["text"],
        weights,
        (rng.random((ITEMS, 3)) < 0.4),
        split,
    )


@pytest.mark.parametrize("seed", range(4))
def test_maps_are_those_of_the_definition(seed: int) -> None:
    codes, image, text, weights, labels, split = small(seed)
    found = evaluate_second_look(codes, weights, labels, split)
    assert list(found) == list(RANKINGS)
    assert [each.bytes_per_item for each in found.values()] == [1, 6]
    outputs = {"image": image, "text": np.clip(text, -1, 1)}
    for gallery, positions in (("literature", range(4, ITEMS)), ("strict", range(8, ITEMS))):
        for way, asked, searched in (
            ("image_to_text", "image", "text"),
            ("text_to_image", "text", "image"),
        ):
            there = [row for row in positions if codes.has(searched)[row]]
            for ranking in RANKINGS:
                values = []
                for query in (row for row in range(4) if codes.has(asked)[row]):
                    stored = np.sign(outputs[searched][there])
                    if ranking == "int8":
                        stored = stored * np.rint(np.abs(outputs[searched][there]) * 127)
                    far = np.round(-(stored @ outputs[asked][query]), 6)
                    worth = (labels[query] & labels[there]).any(axis=1)
                    if worth.any():
                        values.append(expected(far, worth, ap))
                maps = getattr(found[ranking], gallery)
                assert maps[way] == pytest.approx(
                    np.mean(values) if values else np.nan, nan_ok=True
                )


def test_stable_ties_and_a_cutoff() -> None:
    codes, image, text, weights, labels, split = small(7)
    rules = Protocol(ties="stable", cutoff=3, divisor="hits")
    maps = evaluate_second_look(codes, weights, labels, split, protocol=rules)["asymmetric"]
    values = []
    there = [row for row in range(4, ITEMS) if codes.has("text")[row]]
    for query in range(4):
        far = np.round(-(np.sign(text[there]) @ image[query]), 6)
        worth = [(labels[query] & labels[row]).any() for row in there]
        hits = [worth[place] for place in stable_order(far)][:3]
        if any(worth):
            precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(3) if hits[n]]
            values.append(np.mean(precisions) if precisions else 0)
    assert maps.literature["image_to_text"] == pytest.approx(np.mean(values))


def test_without_a_strict_gallery() -> None:
    codes, _, _, weights, labels, split = small(1, strict=False)
    found = evaluate_second_look(codes, weights, labels, split)
    assert found["int8"].strict is None
    assert found["int8"].to_dict()["strict"] is None


def test_full_confidence_is_the_plain_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    ones = {name: np.full((80, 16), 65535, np.uint16) for name in ("image", "text")}
    found = evaluate_second_look(run.codes, ones, run.collection.labels, run.split)
    plain = evaluate_both_galleries(run.codes, run.collection, run.split)
    for ranking in RANKINGS:
        for way in ("image_to_text", "text_to_image"):
            assert found[ranking].literature[way] == pytest.approx(plain.literature.map[way])
            assert plain.strict is not None
            assert found[ranking].strict[way] == pytest.approx(plain.strict.map[way])


@pytest.mark.parametrize("factor", [1, 2**20, 2**35])
@pytest.mark.parametrize("most", [1, 3, 1000])
def test_ties_are_grouped_whatever_the_distances(factor: int, most: int) -> None:
    rng = np.random.default_rng(most)
    distances = (rng.integers(-most, most, (20, 30)) * factor).astype(np.float64)
    relevant = rng.random((20, 30)) < 0.3
    tally = second_look._sorted_tally(distances, relevant, stable=False)
    for row in range(20):
        values = sorted(set(distances[row]))
        groups = [np.flatnonzero(distances[row] == value) for value in values]
        assert tally.items[row, : len(values)].tolist() == [len(group) for group in groups]
        assert tally.relevant[row, : len(values)].tolist() == [
            int(relevant[row, group].sum()) for group in groups
        ]
        assert tally.items[row].sum() == 30
