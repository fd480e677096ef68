"""Renames, merges and drops: what can be written, and what becomes of the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import DataError
from proxyhash.labeling import FoundClass, FoundClasses, read_edits
from proxyhash.labeling.edits import apply_edits, template

if TYPE_CHECKING:
    from pathlib import Path

FOUND = FoundClasses(
    "texts",
    (
        FoundClass("dog", (("dog", 7), ("dogs", 2))),
        FoundClass("puppy", (("puppy", 3),)),
        FoundClass("sea", (("sea", 4),)),
    ),
    np.array([[0.9, 0.2, 0.0], [0.1, 0.8, 0.6], [0.0, 0.0, 0.7]], np.float32),
)


def edited(tmp_path: Path, *lines: str) -> FoundClasses:
    path = tmp_path / "edits.txt"
    path.write_text("\n".join(lines))
    return apply_edits(FOUND, read_edits(path))


def test_edits_are_applied_in_order(tmp_path: Path) -> None:
    found = edited(tmp_path, "# mine", "", "merge dog, puppy = dogs", "rename sea = ocean")
    assert found.names == ("dogs", "ocean")
    expected = np.stack([FOUND.probabilities[:, :2].max(axis=1), FOUND.probabilities[:, 2]], 1)
    assert np.array_equal(found.probabilities, expected)
    assert found.classes[0] == FoundClass(
        "dogs", (("dog", 7), ("puppy", 3), ("dogs", 2)), ("dog", "puppy")
    )
    again = edited(tmp_path, "merge dog, puppy = dogs", "merge dogs, sea", "rename dogs = all")
    assert (again.names, again.classes[0].merged) == (("all",), ("dog", "puppy", "sea", "dogs"))


def test_a_drop_leaves_the_others(tmp_path: Path) -> None:
    found = edited(tmp_path, "drop dog, sea")
    assert found.names == ("puppy",)
    assert np.array_equal(found.probabilities, FOUND.probabilities[:, [1]])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("remove dog", "line 1: 'remove dog' is not an edit; expected rename OLD = NEW, merge"),
        ("rename dog", "is not an edit"),
        ("rename dog, sea = x", "is not an edit"),
        ("rename dog = a, b", "is not an edit"),
        ("merge dog", "is not an edit"),
        ("merge dog, sea =", "is not an edit"),
        ("drop", "is not an edit"),
        ("drop dog = x", "is not an edit"),
        ("drop dgo", "line 1: there is no class 'dgo'; did you mean 'dog'?"),
        ("rename dog = sea", "there is a class 'sea' already; merge them: merge sea, dog"),
        ("drop dog, puppy, sea", "no class would be left"),
    ],
)
def test_what_is_no_edit_is_said(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        edited(tmp_path, line)


def test_a_new_file_edits_nothing_and_names_the_classes(tmp_path: Path) -> None:
    (tmp_path / "edits.txt").write_text(template(FOUND))
    assert read_edits(tmp_path / "edits.txt") == []
    assert "#   dog: 1\n#   puppy: 1\n#   sea: 2\n" in template(FOUND)


def test_counts_and_confidence_are_those_of_loops() -> None:
    assert FOUND.counts.tolist() == [1, 1, 2]
    assert FOUND.confidence.tolist() == pytest.approx([0.9, 0.8, 0.65])
    assert FOUND.of_item(1) == {"puppy": 0.8, "sea": 0.6, "dog": 0.1}
    assert FOUND.by_size().names == ("sea", "dog", "puppy")
