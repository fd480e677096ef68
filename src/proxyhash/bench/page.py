"""The report of a suite as one HTML file: no script, no external address, inline figures."""

from __future__ import annotations

import html
import json
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.bench.published import DATA_SETS, FIGURES, LENGTHS, PROTOCOL
from proxyhash.bench.side_tables import side_tables
from proxyhash.bench.significance import DRAWS, Comparison
from proxyhash.bench.suite import slug
from proxyhash.bench.tables import (
    CAVEAT_MARK,
    caveats_of,
    columns_of,
    encoders_words,
    heading,
    table_rows,
)
from proxyhash.evaluation.report import direction_words, plain_text
from proxyhash.search.page import render_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxyhash.bench.results import Measured, Results
    from proxyhash.bench.side_tables import SideTable

__all__ = ["Budget", "budget_of", "render_report"]


def render_report(
    results: Results,
    *,
    comparisons: Mapping[str, Sequence[Comparison]],
    figures: Mapping[str, Sequence[tuple[str, str]]],
    classes: Mapping[str, Sequence[str]],
) -> str:
    """Return the page.

    Args:
        results: the finished cells.
        comparisons: of each data set.
        figures: of each data set, pairs of an SVG element and its caption.
        classes: the names of each data set's classes, where they are at hand.
    """
    suite = results.suite
    shown = [data.name for data in suite.data if table_rows(results, data.name)]
    links = "".join(f'<a href="#{slug(name)}">{escape(name)}</a>' for name in shown)
    parts = [
        f"<header><h1>{escape(suite.name)}: methods compared</h1>",
        f'<p class="muted">{_summary(results)}</p>',
        f'<nav>{links}<a href="#methods">configurations</a><a href="#published">published</a>'
        "</nav></header>",
        f"<p>{_protocol(results.measured[0])}</p>",
        *(
            _data_set(
                results,
                name,
                comparisons.get(name, ()),
                figures.get(name, ()),
                classes.get(name, ()),
            )
            for name in shown
        ),
        _configurations(results, shown),
        _published(),
    ]
    style = files("proxyhash.bench").joinpath("page.css").read_text(encoding="utf-8")
    return render_document(title=suite.name, style=style, body="\n".join(parts))


def escape(text: str) -> str:
    """Return a text as HTML that shows it, without marks that turn its direction."""
    return html.escape(plain_text(text))


def _summary(results: Results) -> str:
    records = [each.record for each in results.measured]
    dates = sorted(str(each["finished"])[:10] for each in records)
    machine = records[-1]["machine"]
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    minutes = sum(each["seconds"] for each in records) / 60
    return escape(
        f"{len(records)} of {results.expected} runs finished · {span} · "
        f"{minutes:.0f} process minutes · "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']} · "
        f"proxyhash {machine['proxyhash']}, torch {machine['torch']}, "
        f"Python {machine['python']}"
    )


def _protocol(first: Measured) -> str:
    protocol = first.metrics["protocol"]
    return (
        "Figures are mAP@all, mean ± standard deviation over the seeds; each seed draws its own "
        "weights and, unless the collection names the parts, its own split, the same for all "
        f"methods. Ties: {escape(protocol['ties'])}; an item "
        "is relevant if it shares a label; queries without relevant items are left out. "
        "<i>Literature</i> searches everything except the queries, training items included; "
        "<i>strict</i> leaves out every item whose labels training saw. I→T: an image finds texts; "
        "T→I: a text finds images. Queries choose neither weights nor epoch."
    )


def _data_set(
    results: Results,
    name: str,
    comparisons: Sequence[Comparison],
    figures: Sequence[tuple[str, str]],
    classes: Sequence[str],
) -> str:
    first = next(each for each in results.measured if each.cell.data == name)
    drawn = "".join(
        f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>\n"
        for svg, caption in figures
    )
    beside = "\n".join(_side_table(results, each) for each in side_tables(results, name))
    tuned = encoders_words(results, name)
    tuned = f"<p>{escape(tuned)}</p>\n" if tuned else ""
    return (
        f'<section><h2 id="{slug(name)}">{escape(name)}</h2>\n{_facts(first, classes)}\n{tuned}'
        f"{_figures_table(results, name)}\n{beside}\n{_significance(comparisons)}\n"
        f"{drawn}</section>"
    )


def _facts(first: Measured, classes: Sequence[str]) -> str:
    mark = first.metrics["fingerprint"]
    counts = ", ".join(
        f"{mark[part]['count']:,} {part}" for part in ("query", "gallery", "train", "validation")
    )
    names = f": {escape(', '.join(classes))}" if classes else ""
    return (
        f"<p>{mark['items']:,} items; {counts} ({escape(mark['source'])} split).</p>"
        f"<details><summary>{mark['classes']['count']} classes, and fingerprints</summary>"
        f'<p class="muted">{mark["classes"]["count"]} classes{names}.</p>'
        f'<p class="muted">collection <code>{escape(mark["collection"])}</code><br>'
        f"class names <code>{mark['classes']['sha256']}</code><br>"
        f"queries of seed {first.cell.seed} <code>{mark['query']['sha256']}</code></p></details>"
    )


def _figures_table(results: Results, name: str) -> str:
    columns = [heading(*column) for column in columns_of(results, name)]
    lines, bits = [], None
    for row in table_rows(results, name):
        cells = [_number(row["bits"]), f'<td class="name">{escape(row["method"])}</td>']
        for column in columns:
            found = row[column]
            if found is None:
                cells.append(_number("-"))
                continue
            mean = f"{found.mean:.3f}"
            mean = f"<b>{mean}</b>" if column in row["best"] else mean
            spread = f' <span class="dev">± {found.deviation:.3f}</span>' if found.count > 1 else ""
            why = escape("; ".join(row["caveats"].get(column, ())))
            mark = f' <abbr title="{why}">{CAVEAT_MARK}</abbr>' if why else ""
            cells.append(_number(mean + spread + mark))
        cells += [_number(f"{row['seconds']:.1f}"), _number(row["seeds"])]
        kinds = [
            *(["rule"] if row["bits"] != bits else []),
            *(["ours"] if row["method"] in results.suite.ours else []),
        ]
        bits = row["bits"]
        lines.append(f'<tr class="{" ".join(kinds)}">{"".join(cells)}</tr>')
    told = "".join(f"<li>{CAVEAT_MARK} {escape(text)}</li>" for text in caveats_of(results, name))
    table = _table(["bits", "method", *columns, "train s", "seeds"], lines, left={"method"})
    return table + (f'<ul class="muted">{told}</ul>' if told else "")


def _side_table(results: Results, table: SideTable) -> str:
    lines, size = [], None
    for row in table.rows:
        cells = [_number(row.size), f'<td class="name">{escape(row.method)}</td>']
        for place, (column, found) in enumerate(zip(table.columns, row.figures, strict=True)):
            digits = 1 if column.smaller else 3
            text = "-" if found is None else f"{found.mean:.{digits}f}"
            cells.append(_number(f"<b>{text}</b>" if table.is_best(row, place) else text))
        kinds = ["rule"] * (row.size != size)
        kinds += ["ours"] * (row.method in results.suite.ours)
        size = row.size
        lines.append(f'<tr class="{" ".join(kinds)}">{"".join(cells)}</tr>')
    columns = [table.unit, "method", *(each.heading for each in table.columns)]
    return (
        f'<h3>{escape(table.title)}</h3><p class="muted">{escape(table.words)} Means over the '
        "seeds.</p>" + _table(columns, lines, left={"method"})
    )


def _significance(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    lines = []
    for each in comparisons:
        sign = "good" if each.seeds.mean > 0 else "bad"
        deviation = f" ± {each.seeds.deviation:.4f}" if each.seeds.count > 1 else ""
        lines.append(
            "<tr>"
            + _number(each.bits)
            + f"<td>{each.gallery}</td><td>{direction_words(each.direction)}</td>"
            + f"<td>{escape(each.method)}</td><td>{escape(each.baseline)}</td>"
            + _number(f'<span class="{sign}">{each.seeds.mean:+.4f}</span>{deviation}')
            + _number(f"{_p(each.p_seeds)} ({each.seeds.count})")
            + _number(f"{_p(each.p_queries)} ({each.queries:,})")
            + "</tr>"
        )
    columns = ["bits", "gallery", "direction", "ours", "best baseline", "difference"]
    columns += ["p, seeds (n)", "p, queries (n)"]
    return (
        "<h3>Ours against the best baseline</h3>"
        '<p class="muted">Differences in mAP, each seed with itself. <i>p, seeds</i>: paired '
        "t-test over the seeds; the splits overlap, so seeds are not wholly independent. "
        f"<i>p, queries</i>: sign-flip test with {DRAWS:,} draws on the differences in average "
        "precision, one per item, averaged over the seeds in which it is a query; it is valid for "
        "these trained codes, not for new training runs. The baseline is chosen by the same "
        "figures, which favors it. No "
        f"correction for the {len(comparisons)} comparisons.</p>"
        "<details><summary>Show the comparisons</summary>"
        + _table(columns, lines, left=set(columns[1:5]))
        + "</details>"
    )


def _configurations(results: Results, shown: Sequence[str]) -> str:
    parts = ['<section><h2 id="methods">Configurations</h2>']
    for name in shown:
        budget = budget_of(results, name)
        common = ", ".join(f"{key} {value}" for key, value in budget.common.items())
        lines = [
            f'<tr class="rule"><td class="name">{escape(method)}</td>'
            f"<td>{escape(budget.settings[method][0])}</td>"
            f'<td class="wide">{escape(_pairs(own) or "nothing")}</td>'
            f'<td class="wide">{escape(_pairs(budget.settings[method][1]) or "none")}</td></tr>'
            for method, own in budget.own.items()
        ]
        columns = ["method", "objective", "other than the common budget", "settings of the method"]
        parts.append(
            f"<h3>{escape(name)}</h3><details><summary>Common budget of all methods</summary>"
            f'<p class="muted">{escape(common)}</p></details>'
            + _table(columns, lines, left=set(columns))
        )
    return "\n".join([*parts, "</section>"])


def _published() -> str:
    columns = [f"{data} {bits}" for data in DATA_SETS for bits in LENGTHS]
    lines = [
        f"<tr><td>{escape(each.method)}</td><td>{each.direction}</td>"
        + "".join(_number(value) for row in each.figures for value in row)
        + f"<td>{escape(each.source)}</td></tr>"
        for each in FIGURES
    ]
    return (
        '<section><h2 id="published">Published elsewhere, not measured here</h2>'
        f'<p class="apart">{escape(PROTOCOL)}. Other data, encoders and protocol than '
        "above: no figure of this table may be compared with one of those.</p>"
        + _table(
            ["method", "direction", *columns, "read in"],
            lines,
            left={"method", "direction", "read in"},
        )
        + "</section>"
    )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _table(columns: Sequence[str], lines: Iterable[str], *, left: set[str]) -> str:
    heads = "".join(
        f"<th>{escape(each)}</th>" if each in left else f'<th class="n">{escape(each)}</th>'
        for each in columns
    )
    body = "\n".join(lines)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _number(value: object) -> str:
    return f'<td class="n">{value}</td>'


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


_APART = ("data", "out", "method", "settings", "bits", "seed", "threads", "tensorboard", "wandb")


@dataclass(frozen=True)
class Budget:
    """The configurations of a data set's runs.

    Attributes:
        common: keys of the training configuration with the value that most methods have.
        own: for each method, the keys that differ from it.
        settings: for each method, its objective and the settings of that.
    """

    common: dict[str, str]
    own: dict[str, dict[str, str]]
    settings: dict[str, tuple[str, dict[str, str]]]


def budget_of(results: Results, data: str) -> Budget:
    """Return what the finished cells of a data set were configured with."""
    configs: dict[str, dict[str, Any]] = {}
    for each in results.measured:
        if each.cell.data == data:
            configs.setdefault(each.cell.method, each.config)
    values_of = {
        method: {key: _shown(value) for key, value in config.items() if key not in _APART}
        for method, config in configs.items()
    }
    keys = list(dict.fromkeys(key for values in values_of.values() for key in values))
    common = {
        key: Counter(values.get(key, "-") for values in values_of.values()).most_common(1)[0][0]
        for key in keys
    }
    return Budget(
        common=common,
        own={
            method: {key: value for key, value in values.items() if value != common[key]}
            for method, values in values_of.items()
        },
        settings={
            method: (config["method"], {k: _shown(v) for k, v in config["settings"].items()})
            for method, config in configs.items()
        },
    )


def _shown(value: Any) -> str:
    """Return a value as text; a path without its folders, which are this machine's."""
    if isinstance(value, str):
        start, mark, path = value.rpartition(":")
        return f"{start}{mark}{Path(path).name}" if Path(path).is_absolute() else value
    return json.dumps(value, ensure_ascii=False)
