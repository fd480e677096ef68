from __future__ import annotations

import csv
import json
import shutil
import statistics

import pytest

from proxyhash.bench.changes import compare_folders
from proxyhash.errors import DataError, UsageError


@pytest.fixture
def two(filled, tmp_path):
    """Two copies of a folder of results, to be changed at will."""
    _, out, _ = filled
    return [shutil.copytree(out, tmp_path / name) for name in ("one", "two")]


def rewrite(folder, change):
    """Change the lines of a folder's cells."""
    path = folder / "cells.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    columns = list(rows[0])
    rows = [row for row in rows if change(row) is not False]
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows(rows)


def test_differences_are_paired_by_seed(two, proxyhash_command):
    added = {"0": 0.25, "1": 0.05}

    def better(row):
        if row["method"] == "dchml":
            row["strict_image_to_text_map"] = (
                float(row["strict_image_to_text_map"]) + added[row["seed"]]
            )

    rewrite(two[1], better)
    changes = compare_folders(*two)
    assert {each.method for each in changes.found} == {"dchml", "dcmh, wide"}
    for each in changes.found:
        moved = (each.method, each.figure) == ("dchml", "strict I→T")
        assert each.difference.count == 2
        assert each.difference.mean == pytest.approx(0.15 if moved else 0)
        deviation = statistics.stdev(added.values()) if moved else 0
        assert each.difference.deviation == pytest.approx(deviation)
    names = {each.figure for each in changes.found}
    assert {"literature T→I", "strict T→I", "R@10 I→T"} <= names
    shown = proxyhash_command("bench", "compare", *two)
    assert "+0.150 ± 0.141" in shown.out
    assert shown.err == ""
    told = proxyhash_command("bench", "compare", *two, "--json").json
    assert len(told["found"]) == len(changes.found)


def test_what_only_one_folder_has_is_named(two, proxyhash_command):
    rewrite(two[0], lambda row: row["method"] == "dchml")
    rewrite(two[1], lambda row: (row["method"], row["seed"]) != ("dchml", "1"))
    changes = compare_folders(*two)
    assert changes.only_first == ("scenes, dchml, 16 bits, seed 1",)
    assert changes.only_second == ("scenes, dcmh, wide, 16 bits",)
    assert {each.p for each in changes.found} == {None}
    shown = proxyhash_command("bench", "compare", *two).err
    assert "two alone: scenes, dcmh, wide, 16 bits" in shown


def test_cells_with_other_queries_are_left_out(two):
    path = two[1] / "cells" / "scenes" / "dchml" / "16" / "s0" / "split.json"
    split = json.loads(path.read_text("utf-8"))
    split["query"] = split["query"][1:]
    path.write_text(json.dumps(split), encoding="utf-8")
    changes = compare_folders(*two)
    assert changes.other_queries == ("scenes, dchml, 16 bits, seed 0",)
    assert {each.difference.count for each in changes.found if each.method == "dchml"} == {1}


def test_wrong_folders_are_told(two, tmp_path):
    with pytest.raises(UsageError, match=r"cells\.csv cannot be read .* --out folder"):
        compare_folders(two[0], tmp_path)
    rewrite(two[0], lambda row: row.update(bits="8"))
    with pytest.raises(UsageError, match="no cell in common"):
        compare_folders(*two)
    rewrite(two[0], lambda row: row.update(bits="eight"))
    with pytest.raises(DataError, match=r"cells\.csv, line 2, is damaged .* --report-only"):
        compare_folders(*two)
