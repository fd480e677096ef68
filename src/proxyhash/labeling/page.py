"""The page to look at: each class with its images, words, size and confidence. No script."""

from __future__ import annotations

import html
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.catalog.thumbnails import Thumbnails
from proxyhash.evaluation.report import plain_text
from proxyhash.search.page import render_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxyhash.data import Collection
    from proxyhash.labeling.found import FoundClasses

__all__ = ["render_classes", "suggestions"]

SURE, UNSURE = 8, 4
"""Images per class: the surest items, and the least sure ones that still count."""

_EDGE, _BUDGET = 132, 12_000_000  # pixels; characters of all images together
_SMALL, _LARGE, _DOUBTFUL, _ALIKE = 10, 0.4, 0.6, 0.5
_WORDS, _MERGES = 12, 20

ADVICE = {
    "texts": "Found classes are guesses. On two collections with 5,000 pairs to learn from, codes "
    "learned from classes of texts found items of the same topic as well as codes learned from the "
    "pairs alone (train on the collection itself), or better, and an item's own other half much "
    "less often (docs/found-classes.md).",
    "images": "Found classes are guesses, and clusters of images the weakest: on two collections, "
    "codes learned from the pairs alone (train on the collection itself) were better in nearly "
    "every figure. Use them where items have no texts (docs/found-classes.md).",
    "names": "Probabilities are guesses. The classes you name decide what counts as alike; for an "
    "item's own other half, learn from the pairs alone (docs/found-classes.md).",
}


def render_classes(
    collection: Collection, found: FoundClasses, *, options: Mapping[str, Any], edits: int = 0
) -> str:
    """Return one self-contained HTML page.

    Args:
        collection: n items.
        found: their classes.
        options: what decided them.
        edits: number of edits that were applied.
    """
    labeled = int(found.labels.any(axis=1).sum())
    title = f"{len(found.classes)} classes found in {collection.path.name}"
    thumbnails = Thumbnails(edge=_EDGE, budget=_BUDGET)
    told = "; ".join(f"{name} {value}" for name, value in options.items())
    parts = [
        f"<header><h1>{_text(title)}</h1>",
        f'<p class="muted">from {_text(found.way)}; {labeled:,} of {len(collection):,} items are '
        f"of one class or more, {found.labels.sum(axis=1).mean():.1f} per item; {edits} edits "
        f"applied; {_text(told)}</p>",
        '<nav><a href="#table">all classes</a><a href="#change">what to change</a>'
        '<a href="#classes">images of each class</a></nav></header><main>',
        "".join(f'<p class="note">{_text(note)}</p>' for note in found.notes),
        f"<p>{_text(ADVICE[found.way])}</p>",
        _table(found),
        _changes(found),
        '<h2 id="classes">Images of each class</h2>'
        "<p>The surest items first, then the least sure ones that still count (marked “unsure”). "
        "Below each is its probability.</p>",
        *_sections(collection, found, thumbnails),
        "</main>",
    ]
    style = files("proxyhash.labeling").joinpath("page.css").read_text(encoding="utf-8")
    return render_document(title=title, style=style, body="\n".join(parts))


def suggestions(found: FoundClasses) -> list[tuple[str, str]]:
    """Return edits that may help, each with the reason: at most 20 merges, then drops."""
    names, counts, sure = found.names, found.counts, found.confidence
    most = _LARGE * len(found.probabilities)
    held = found.labels.astype(np.float32)
    shared = held.T @ held
    union = counts[:, None] + counts - shared
    overlap = np.where(union > 0, shared / np.maximum(union, 1), 0)
    pairs = np.argwhere(np.triu(overlap, 1) > _ALIKE)
    order = sorted(pairs.tolist(), key=lambda pair: -overlap[pair[0], pair[1]])
    listed = [
        (
            f"merge {names[one]}, {names[other]}",
            f"{overlap[one, other]:.0%} of the items of either are in both",
        )
        for one, other in order
    ]
    listed = listed[:_MERGES]
    for reason, chosen in (
        (f"fewer than {_SMALL} items", counts < _SMALL),
        (f"more than {_LARGE:.0%} of all items, so they tell little apart", counts > most),
        (
            f"mean confidence below {_DOUBTFUL}: items that resemble theirs seldom have them",
            (sure < _DOUBTFUL) & (counts >= _SMALL) & (counts <= most),
        ),
    ):
        if chosen.any():
            listed.append(
                (f"drop {', '.join(names[each] for each in np.flatnonzero(chosen))}", reason)
            )
    return listed


def _table(found: FoundClasses) -> str:
    rows = "".join(
        f'<tr><th scope="row"><a href="#class-{place}">{_text(each.name)}</a></th>'
        f'<td class="n">{count:,}</td><td class="n">{sure:.2f}</td><td class="wide">'
        f"{_words(each.words)}</td></tr>"
        for place, (each, count, sure) in enumerate(
            zip(found.classes, found.counts.tolist(), found.confidence.tolist(), strict=True)
        )
    )
    return (
        '<h2 id="table">All classes</h2><div class="scroll" tabindex="0" role="region" '
        'aria-label="All classes"><table><thead><tr><th scope="col">class</th>'
        '<th scope="col" class="n">items</th><th scope="col" class="n">confidence</th>'
        '<th scope="col">made of the words (items that have them)</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _changes(found: FoundClasses) -> str:
    listed = "".join(
        f"<li><code>{_text(edit)}</code> <span class=muted>{_text(why)}</span></li>"
        for edit, why in suggestions(found)
    )
    return (
        '<h2 id="change">What to change</h2><p>Write lines into <code>edits.txt</code> beside this '
        "page and run the same command again: <code>rename OLD = NEW</code>, "
        "<code>merge A, B = NEW</code>, <code>drop A</code>. These may help:</p>"
        + (f'<ul class="edits">{listed}</ul>' if listed else "<p>Nothing stands out.</p>")
    )


def _sections(collection: Collection, found: FoundClasses, thumbnails: Thumbnails) -> Iterator[str]:
    images, texts = collection.sources("image"), collection.sources("text")
    for place, each in enumerate(found.classes):
        values = found.probabilities[:, place]
        rows = np.flatnonzero(found.labels[:, place])
        rows = rows[np.argsort(-values[rows], kind="stable")]
        chosen = [(row, False) for row in rows[:SURE].tolist()]
        chosen += [(row, True) for row in rows[SURE:][-UNSURE:].tolist()]
        shown = []
        for row, doubtful in chosen:
            path, text = images[row], str(texts[row] or "")
            address = thumbnails.of(path) if isinstance(path, Path) else None
            sign = f"{values[row]:.2f}{', unsure' if doubtful else ''}"
            alt = text or f"item {collection.ids[row]}"
            content = (
                f'<img src="{address}" alt="{_text(alt)}">'
                if address
                else f"<p>{_text(alt[:160])}</p>"
            )
            shown.append(f"<li>{content}<span>{sign}</span></li>")
        merged = f" Merged: {_text(', '.join(each.merged))}." if each.merged else ""
        count = f"{len(rows):,} item{'' if len(rows) == 1 else 's'}"
        yield (
            f'<section id="class-{place}"><h3 dir="auto">{_text(each.name)}</h3>'
            f'<p class="muted">{count}, mean confidence {found.confidence[place]:.2f}.'
            f'{merged} {_words(each.words)}</p><ul class="shown">{"".join(shown)}</ul></section>'
        )


def _words(words: tuple[tuple[str, int], ...]) -> str:
    listed = ", ".join(f"{_text(word)} ({count:,})" for word, count in words[:_WORDS])
    return listed + (f" and {len(words) - _WORDS} more" if len(words) > _WORDS else "")


def _text(text: str) -> str:
    return html.escape(plain_text(text))
