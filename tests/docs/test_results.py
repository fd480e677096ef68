"""The tables of results are those of the suites' figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import load_script

if TYPE_CHECKING:
    from pathlib import Path

HEADER = (
    "data,method,bits,seed,"
    "strict_image_to_text_map,strict_text_to_image_map,"
    "literature_image_to_text_map,literature_text_to_image_map"
)
CELLS = [
    "photos,ours,16,0,0.50,0.40,0.60,0.30",
    "photos,ours,16,1,0.60,0.50,0.70,0.40",
    "photos,other,16,0,0.50,0.50,0.90,0.10",
    "photos,other,16,1,0.50,0.50,0.90,0.10",
]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    report = folder / "report" / "photos"
    report.mkdir(parents=True)
    (folder / "cells.csv").write_text("\n".join([HEADER, *CELLS]) + "\n")
    (report / "table.md").write_text("| a table |\n")
    (report / "significance.csv").write_text(
        "method,bits,gallery,direction,baseline,difference_mean,difference_deviation,p_seeds,"
        "p_queries\nours,16,strict,image_to_text,other,0.05,0.07,0.5,0.04\n"
    )
    return folder


def test_means_with_the_best_of_each_column_in_bold(suite: Path):
    made = load_script("generate_results").tables(suite)
    assert made["mine-16-bits"].splitlines() == [
        "| mAP@all, 16 bits | photos, strict | photos, literature |",
        "| --- | --: | --: |",
        "| `ours` | **.550** / .450 | .650 / **.350** |",
        "| `other` | .500 / **.500** | **.900** / .100 |",
    ]
    assert made["mine-strict-photos"].splitlines()[0] == "| photos, strict | 16 bits |"
    assert made["mine-strict-photos"].splitlines()[2] == "| `ours` | **.550** / .450 |"
    assert made["mine-table-photos"] == "| a table |"
    assert "+0.050 ± 0.070" in made["mine-against-photos"]
    assert "0.550 ± 0.071" in made["mine"]


def test_codes_and_yardsticks_stand_at_equal_bytes(suite: Path):
    script = load_script("generate_results")
    assert "mine-bytes-photos" not in script.tables(suite)
    head = "bytes,method,image_to_text_strict_mean,text_to_image_strict_mean"
    (suite / "report" / "photos" / "equal-bytes.csv").write_text(
        f"{head},image_to_text_r_at_10_mean,text_to_image_r_at_10_mean\n"
        "2,ours,0.5,0.4,0.1,0.1\n4,ours,0.6,0.5,0.2,0.2\n"
        "2,PQ of embedding,0.55,0.3,0.3,0.3\n16,int8 of embedding,0.7,0.6,0.4,0.4\n"
        '2,"ours, asymmetric",0.52,0.41,,\n'
    )
    made = script.tables(suite)["mine-bytes-photos"].splitlines()
    assert made[2:8] == [
        "|  | 2 bytes | 4 bytes | more bytes |",
        "| --- | --: | --: | --: |",
        "| `ours` | .500 / .400 | **.600** / **.500** | - |",
        "| ours, asymmetric | .520 / **.410** | - | - |",
        "| PQ of embedding | **.550** / .300 | - | - |",
        "| int8 of embedding | - | - | 16: .700 / .600 |",
    ]
    assert made[13] == "| `ours` | .100 / .100 | **.200** / **.200** | - |"
    assert len(made) == 16


def test_a_suite_whose_encoders_learn_makes_the_second_half(suite: Path):
    script = load_script("generate_results")
    assert not {"tuned-half", "tuned-section"} & set(script.tables(suite))
    table = suite / "report" / "photos" / "table.md"
    words = "Shared encoders: the image encoder m\\_1.0 learned once per seed, with x."
    caption = f"{words} Mean over 2 seeds."
    table.write_text(f"| a table |\n\n{words} That took 3.0 minutes.\n")
    made = script.tables(suite)
    assert made["tuned-half"].splitlines() == [
        caption,
        "",
        "| mAP@all, strict, tuned | photos, 16 bits |",
        "| --- | --: |",
        "| `ours` | **.550** / .450 |",
        "| `other` | .500 / **.500** |",
    ]
    assert made["tuned-section"].startswith("## Encoders that learn\n\n### photos\n\n| a table |")


def test_the_readme_has_the_best_methods_first_and_the_other_tables_all(suite: Path):
    script = load_script("generate_results")
    more = [f"photos,m{i},16,0,0.{i},0.{i},0.{i},0.{i}" for i in range(1, 10)]
    more.append("photos,dchml,16,0,0.1,0.1,0.1,0.1")
    (suite / "cells.csv").write_text("\n".join([HEADER, *CELLS, *more]) + "\n")
    (suite / "report" / "photos" / "table.md").write_text("x\n\nShared encoders: y.\n")
    made = script.tables(suite)
    for name in ("mine-16-bits", "tuned-half"):
        lines = [line for line in made[name].splitlines() if line.startswith("| `")]
        names = [line.split("`")[1] for line in lines]
        assert names == ["m9", "m8", "m7", "m6", "ours", "other", "m5", "dchml"]
    assert "The best of 12 methods, and `dchml`; mean over 2 seeds." in made["tuned-half"]
    assert sum(line.startswith("| `") for line in made["mine-strict-photos"].splitlines()) == 12


def test_tables_go_between_their_markers(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = load_script("generate_results")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- mine-16-bits -->\nold\n<!-- /mine-16-bits -->\nafter\n")
    monkeypatch.setattr(script, "TARGETS", (page,))
    script.main([str(suite)])
    text = page.read_text()
    assert text.startswith("before\n<!-- mine-16-bits -->\n\n| mAP@all, 16 bits |")
    assert text.endswith("|\n\n<!-- /mine-16-bits -->\nafter\n")
    assert "old" not in text


def test_markers_of_the_pages_are_in_pairs():
    for target in load_script("generate_results").TARGETS:
        lines = [line for line in target.read_text().splitlines() if line.startswith("<!-- ")]
        opened, closed = lines[::2], lines[1::2]
        assert [line.replace("<!-- ", "<!-- /") for line in opened] == closed
