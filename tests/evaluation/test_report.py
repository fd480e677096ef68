"""Tables, spread over seeds and paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from proxyhash.errors import UsageError
from proxyhash.evaluation.report import (
    direction_words,
    figure,
    markdown_table,
    paired_difference,
    spread,
)


def test_directions_in_words() -> None:
    assert direction_words("image_to_text") == "image → text"
    assert direction_words("sound_track_to_text") == "sound track → text"


def test_markdown_table() -> None:
    table = markdown_table(["method", "mAP"], [["a|b", 0.5], ["c", "-"]], right=["mAP"])
    assert table.splitlines() == [
        "| method | mAP |",
        "| --- | --: |",
        "| a\\|b | 0.5 |",
        "| c | - |",
    ]


def test_figure() -> None:
    assert figure(0.61234) == "0.6123"
    assert figure(0.61234, digits=2) == "0.61"
    assert figure(None) == figure(float("nan")) == "-"


def test_spread_is_the_samples() -> None:
    values = [0.61, 0.62, 0.6]
    found = spread(values)
    assert (found.mean, found.count) == (pytest.approx(np.mean(values)), 3)
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert str(found) == "0.610 ± 0.010"
    assert str(spread([0.5])) == "0.500"
    with pytest.raises(UsageError, match="there are no values; a spread needs at least one"):
        spread([])


def test_differences_are_paired_by_seed() -> None:
    found = paired_difference({0: 0.6, 1: 0.7, 2: 0.8}, {2: 0.75, 0: 0.55, 1: 0.65})
    assert found.mean == pytest.approx(0.05)
    assert found.deviation == pytest.approx(0, abs=1e-12)
    with pytest.raises(UsageError, match="seeds 2 have a figure on one side only; paired"):
        paired_difference({0: 1.0}, {0: 1.0, 2: 1.0})
    with pytest.raises(UsageError, match="seeds 1, 2 have a figure on one side only"):
        paired_difference({0: 1.0, 1: 1.0}, {0: 1.0, 2: 1.0})
