from __future__ import annotations

import csv
import json
import re
import statistics
from dataclasses import replace

import pytest

from proxyhash.bench import cells_of, fill_suite, read_suite
from proxyhash.bench.page import render_report
from proxyhash.bench.report import write_report
from proxyhash.bench.results import read_results
from proxyhash.bench.side_tables import side_tables
from proxyhash.bench.tables import CAVEAT_MARK, caveats_markdown, table_markdown
from proxyhash.evaluation.report import latex_text
from tests.training.runs import rewrite
from tests.training.test_card import HOSTILE


def test_table_figures_are_those_of_the_metrics(filled):
    _, out, _ = filled
    with (out / "report" / "scenes" / "table.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["dchml", "dcmh, wide"]
    for name, slug in (("dchml", "dchml"), ("dcmh, wide", "dcmh-wide")):
        folder = out / "cells" / "scenes" / slug / "16"
        metrics = [json.loads((folder / f"s{s}" / "metrics.json").read_text()) for s in (0, 1)]
        for direction in ("image_to_text", "text_to_image"):
            for gallery, parts in (
                ("literature", metrics),
                ("strict", [each["strict"] for each in metrics]),
            ):
                values = [part["map"][direction] for part in parts]
                key = f"{gallery}_{direction}"
                assert float(rows[name][f"{key}_mean"]) == pytest.approx(sum(values) / 2)
                spread = statistics.stdev(values)
                assert float(rows[name][f"{key}_deviation"]) == pytest.approx(spread)


@pytest.mark.parametrize(
    ("names", "shown", "heading"),
    [
        (["image_to_text", "image_to_image"], ["image_to_text"], "literature I→T"),
        (["audio_to_image", "audio_to_audio"], ["audio_to_image"], "literature audio → image"),
        (["audio_to_audio"], ["audio_to_audio"], "literature audio → audio"),
    ],
)
def test_directions_are_those_that_were_measured(filled, names, shown, heading):
    path, out, _ = filled
    suite = read_suite(path)
    results = read_results(suite, cells_of(suite, out))
    maps = {"map": dict.fromkeys(names, 0.5)}
    measured = [replace(each, metrics={**each.metrics, **maps}) for each in results.measured]
    results = replace(results, measured=tuple(measured))
    assert results.directions("scenes") == shown
    assert heading in table_markdown(results, "scenes").splitlines()[0]


def test_the_best_of_each_column_is_bold(filled):
    path, out, _ = filled
    suite = read_suite(path)
    table = table_markdown(read_results(suite, cells_of(suite, out)), "scenes")
    columns = list(zip(*(re.split(r" \| ", line) for line in table.splitlines()[2:]), strict=True))
    for column in columns[2:6]:
        bold = [cell for cell in column if "**" in cell]
        means = [float(re.search(r"0\.\d+", cell)[0]) for cell in column]
        assert len(bold) == 1
        assert means[column.index(bold[0])] == max(means)


def test_figures_that_mean_little_are_marked_in_the_table_and_on_the_page(filled):
    path, out, _ = filled
    suite = read_suite(path)
    results = read_results(suite, cells_of(suite, out))

    def with_caveats(found):
        measured = [
            replace(
                each,
                metrics=each.metrics
                | {"warnings": found, "strict": each.metrics["strict"] | {"warnings": []}},
            )
            for each in results.measured
        ]
        return replace(results, measured=tuple(measured))

    assert CAVEAT_MARK not in table_markdown(with_caveats([]), "scenes")
    assert not caveats_markdown(with_caveats([]), "scenes")
    caveat = {"kind": "x", "message": "one | <class>", "directions": ["image_to_text"]}
    results = with_caveats([caveat])
    table = table_markdown(results, "scenes")
    assert table.count(CAVEAT_MARK) == 2  # a row per method
    assert caveats_markdown(results, "scenes") == (
        f"\n- {CAVEAT_MARK} literature I→T: one \\| &lt;class&gt;\n"
    )
    page = render_report(
        results, comparisons={"scenes": []}, figures={"scenes": []}, classes={"scenes": HOSTILE}
    )
    assert page.count(f">{CAVEAT_MARK}</abbr>") == 2
    assert "literature I→T: one | &lt;class&gt;" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_cells_have_a_line_each(filled):
    _, out, _ = filled
    with (out / "cells.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, seed) for seed in "01" for method in ("dchml", "dcmh, wide")
    ]
    assert all(float(row["strict_text_to_text_map"]) > 0 for row in rows)


def test_the_page_asks_for_nothing_outside(filled):
    _, out, _ = filled
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|<script|<link(?! rel=\"icon\" href=\"data:,\")", page)
    assert "default-src 'none'" in page
    assert set(re.findall(r'href="([^#"]*)', page)) <= {"", "data:,"}
    assert page.count("<figure>") == page.count("<svg") == 6
    for words in ("Published elsewhere, not measured here", "dcmh, wide", "[24]", "umbrella"):
        assert words in page


def test_plots_and_comparisons_lie_beside_the_table(filled):
    _, out, _ = filled
    names = {path.name for path in (out / "report" / "scenes").iterdir()}
    assert names == {
        *("table.md", "table.csv", "table.tex", "significance.csv"),
        *("pairs.md", "pairs.csv", "second-look.md", "second-look.csv"),
        *(
            f"{plot}-{direction}.{kind}"
            for plot in ("bits", "curve", "pairs")
            for direction in ("image-to-text", "text-to-image")
            for kind in ("png", "pdf")
        ),
    }
    plot = out / "report" / "scenes" / "bits-image-to-text.pdf"
    assert plot.read_bytes().startswith(b"%PDF-")


def test_the_latex_table_has_the_figures_of_the_other(filled):
    _, out, _ = filled
    folder = out / "report" / "scenes"
    lines = (folder / "table.md").read_text("utf-8").splitlines()
    markdown = [line.strip("| ").split(" | ") for line in lines]
    source = (folder / "table.tex").read_text("utf-8").splitlines()
    assert source[0] == r"\begin{tabular}{rlrrrrrr}"
    assert source[-1] == r"\end{tabular}"
    rows = [line.removesuffix(r" \\").split(" & ") for line in source if line.endswith(r" \\")]
    assert len(rows) == 3
    for row, other in zip(rows[1:], markdown[2:4], strict=True):
        plain = [cell.replace(r"\textbf{", "**").replace("}", "**") for cell in row]
        assert [cell.replace(r"$\pm$", "±") for cell in plain] == [each.strip() for each in other]


def test_marks_of_latex_are_shown_as_they_are():
    assert latex_text("50 % of a_b & {#1} \\x ~ $^2$ <|>") == (
        r"50 \% of a\_b \& \{\#1\} \textbackslash{}x \textasciitilde{} "
        r"\$\textasciicircum{}2\$ \textless{}\textbar{}\textgreater{}"
    )


def test_without_matplotlib_there_is_a_report_without_plots(filled, tmp_path, monkeypatch):
    import sys

    path, out, _ = filled
    suite = read_suite(path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    notes = []
    write_report(read_results(suite, cells_of(suite, out)), tmp_path, note=notes.append)
    assert "proxyhash[plots]" in notes[0]
    assert "<svg" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_other_halves_have_a_table_of_their_own(filled):
    _, out, _ = filled
    folder = out / "cells" / "scenes" / "dcmh-wide" / "16"
    metrics = [json.loads((folder / f"s{s}" / "metrics.json").read_text()) for s in (0, 1)]
    with (out / "report" / "scenes" / "pairs.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    values = [each["pairs"]["directions"]["text_to_image"]["recall_at"]["10"] for each in metrics]
    mean = float(rows["dcmh, wide"]["text_to_image_r_at_10_mean"])
    assert mean == pytest.approx(sum(values) / 2)
    text = (out / "report" / "scenes" / "pairs.md").read_text("utf-8")
    assert "among those of all 30 queries" in text
    assert "median rank 15.5" in text
    columns = list(zip(*(line.split(" | ") for line in text.splitlines()[4:]), strict=True))
    for column in columns[2:-1]:
        assert sum("**" in cell for cell in column) >= 1
    assert (out / "report" / "scenes" / "pairs-text-to-image.png").is_file()
    page = (out / "report.html").read_text("utf-8")
    assert "The other half of an item" in page
    with (out / "cells.csv").open(encoding="utf-8") as file:
        line = next(csv.DictReader(file))
    assert float(line["pairs_image_to_text_recall_at_5"]) <= 1


@pytest.mark.usefixtures("filled_here")
def test_a_collection_without_labels_has_the_figures_and_plots_of_pairs_alone(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "photos", lambda _, item: item.pop("labels"))
    path = tmp_path / "pairs.toml"
    path.write_text(
        'name = "p"\nbits = [16]\nseeds = [0]\nmethods = ["cca-itq", "random-projection"]\n'
        f'[options]\nquery = 30\n[[data]]\nname = "photos"\npath = "{data}"\n'
        'encoders = { image = "descriptor" }\n'
    )
    suite, out = read_suite(path), tmp_path / "out"
    fill_suite(suite, out, processes=1)
    write_report(read_results(suite, cells_of(suite, out)), out)
    folder = out / "report" / "photos"
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        rows = {
            row["method"]: float(row["image_to_text_r_at_10_mean"]) for row in csv.DictReader(file)
        }
    assert rows["cca-itq"] > rows["random-projection"]
    plots = sorted(each.name for each in folder.glob("*.png"))
    assert plots == ["pairs-image-to-text.png", "pairs-text-to-image.png"]
    assert "cannot be computed" in (out / "report.html").read_text(encoding="utf-8")


def test_second_looks_have_a_table_of_their_own(filled):
    _, out, _ = filled
    folder = out / "cells" / "scenes" / "dchml" / "16"
    metrics = [json.loads((folder / f"s{s}" / "metrics.json").read_text()) for s in (0, 1)]
    with (out / "report" / "scenes" / "second-look.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    values = [each["second_look"]["int8"]["strict"]["text_to_image"] for each in metrics]
    found = float(rows["dchml"]["int8_strict_text_to_image_mean"])
    assert found == pytest.approx(sum(values) / 2)
    text = (out / "report" / "scenes" / "second-look.md").read_text("utf-8")
    assert "asymmetric: 2 bytes per item at 16 bits; int8: 18 bytes per item at 16 bits." in text
    with (out / "cells.csv").open(encoding="utf-8") as file:
        line = next(csv.DictReader(file))
    assert 0 < float(line["asymmetric_literature_image_to_text"]) <= 1


def test_runs_of_before_have_no_side_tables(filled):
    path, out, _ = filled
    suite = read_suite(path)
    results = read_results(suite, cells_of(suite, out))
    old = [
        replace(
            each,
            metrics={k: v for k, v in each.metrics.items() if k not in ("pairs", "second_look")},
        )
        for each in results.measured
    ]
    results = replace(results, measured=tuple(old))
    assert side_tables(results, "scenes") == []
    page = render_report(results, comparisons={}, figures={}, classes={})
    assert "The other half of an item" not in page
