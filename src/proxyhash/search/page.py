"""A page of search results in one file: no script, no address but `data:`, everything escaped."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.catalog.thumbnails import Thumbnails
from proxyhash.codes import unpack
from proxyhash.data import MODALITIES
from proxyhash.files import write_output
from proxyhash.index.words import split_words

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from proxyhash.catalog.thumbnails import StoredThumbnails
    from proxyhash.codes import Codes
    from proxyhash.index import Hit
    from proxyhash.search.answer import Answer
    from proxyhash.search.query import EncodedQuery

__all__ = ["MAX_STRIP_BITS", "bit_strip", "is_page", "render_document", "render_page", "write_page"]

MAX_STRIP_BITS = 256
"""Longer codes are not drawn: their squares would be too small to tell apart."""

_ROW = 32
_SIDE = 0.84

# The policy makes the browser itself refuse whatever is not in the file.
_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<div class="page">
{body}
</div>
</body>
</html>
"""

_SHOWN = frozenset({"image"})
"""Modalities whose files a browser can show."""

_LEGEND = (
    '<p class="legend" aria-hidden="true"><span><i class="on"></i>bit 1</span>'
    '<span><i class="off"></i>bit 0</span>'
    '<span><i class="far"></i>differs from the query</span></p>'
)

_WHY = '<details class="why"><summary>{question}</summary>{answer}</details>'


def write_page(
    path: str | os.PathLike[str],
    answers: Sequence[Answer],
    *,
    title: str,
    figures: Mapping[str, str] | None = None,
    footer: str = "",
    stored: StoredThumbnails | None = None,
) -> None:
    """Write the page of `render_page`, UTF-8: atomically, or into a pipe or device."""
    page = render_page(answers, title=title, figures=figures, footer=footer, stored=stored)
    write_output(path, page.encode())


def is_page(head: bytes) -> bool:
    """Whether a file that begins so is such a page."""
    return head[:15].lower() == b"<!doctype html>" and b"<h1>proxyhash</h1>" in head


def render_page(
    answers: Sequence[Answer],
    *,
    title: str,
    figures: Mapping[str, str] | None = None,
    footer: str = "",
    stored: StoredThumbnails | None = None,
) -> str:
    """Return one self-contained HTML page: one section per answer, with thumbnails inside.

    Args:
        answers: the searches to show.
        title: plain-text title.
        figures: large numbers above the answers, by what they measure.
        footer: small print.
        stored: thumbnails of the items; without it they are made from the paths that items name.
    """
    thumbnails = Thumbnails(stored=stored)
    stats = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in (figures or {}).items()
    )
    sections = "".join(_section(answer, thumbnails) for answer in answers)
    parts = (
        f"<header><h1>proxyhash</h1><p>{escape(title)}</p></header>",
        f'<dl class="figures">{stats}</dl>' if stats else "",
        f"<main>\n{sections}</main>",
        f"<footer>{escape(footer)}</footer>" if footer else "",
    )
    return render_document(
        title=title,
        style=files("proxyhash.search").joinpath("page.css").read_text(encoding="utf-8"),
        body="\n".join(part for part in parts if part),
    )


def _section(answer: Answer, thumbnails: Thumbnails) -> str:
    hits = "".join(
        _hit(hit, code, answer, thumbnails)
        for hit, code in zip(answer.hits, answer.codes, strict=True)
    )
    notes = "".join(f"<li {_ANY}>{escape(line)}</li>" for line in answer.remarks)
    ties = f"; {answer.ties}" if answer.ties else ""
    return (
        f'<section class="{answer.target}s">\n{_query(answer.query, answer.bits, thumbnails)}'
        f'<p class="found">{answer.amount}{ties}</p>\n'
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + f'<ol class="hits">\n{hits}</ol>\n</section>\n'
    )


def _query(query: EncodedQuery, bits: int, thumbnails: Thumbnails) -> str:
    modality = query.modality
    known = modality is not None and modality in MODALITIES
    kind = f"Searching with {MODALITIES[modality].one if known and modality else 'a code'}"
    if query.id is not None:
        kind += " of the collection"
    file = query.image.name if query.image else None
    image = ""
    if query.modality in _SHOWN and query.image is not None:
        image = _image(query.id, query.image, f"The query: {query.text or file}", thumbnails)
    heading = query.text or file or (f"item {query.id}" if query.id else str(query))
    own = "" if query.id is None else f", item <code {_ANY}>{escape(query.id)}</code>"
    strip = bit_strip(query.code, bits=bits)
    how = f"<p>{bits} bits{own}</p>{strip}{_LEGEND if strip else ''}"
    return (
        f'<div class="query">{image}<div><p class="kind">{escape(kind)}</p>'
        f"<h2 {_ANY}>{escape(heading)}</h2>"
        f"{_WHY.format(question='The code that was searched with', answer=how)}</div></div>\n"
    )


def _hit(hit: Hit, code: Codes, answer: Answer, thumbnails: Thumbnails) -> str:
    """Return a card: image and text first, the code behind a question."""
    text = str(hit.payload.get("text") or "")
    path = hit.payload.get("image")
    labels = hit.payload.get("labels")
    image = ""
    if path:
        image = _image(hit.id, Path(str(path)), text or f"Item {hit.id}", thumbnails)
    names = (
        "".join(f"<li {_ANY}>{escape(_readable(str(name)))}</li>" for name in labels)
        if isinstance(labels, list)
        else ""
    )
    apart = {0: "identical code", 1: "1 bit apart"}.get(hit.distance, f"{hit.distance} bits apart")
    why = (
        f'<p class="near"><b>{apart}</b> <code {_ANY}>{escape(hit.id)}</code></p>'
        f"{bit_strip(code, bits=answer.bits, query=answer.query.code)}"
    )
    shown = text or ("" if image or names else f"Item {hit.id}")
    return (
        f'<li class="hit{"" if image else " wordy"}">{image}<div class="about">'
        + (f'<p class="text" {_ANY}>{_marked(shown, hit.matched)}</p>' if shown else "")
        + (f'<ul class="labels" aria-label="Labels">{names}</ul>' if names else "")
        + _WHY.format(question="Why this result?", answer=why)
        + "</div></li>\n"
    )


def _marked(text: str, matched: Sequence[str]) -> str:
    """Return a text, escaped, with those of its words marked that a hit was found by."""
    terms = [(term.rstrip("*").split(), term.endswith("*")) for term in matched]
    whole = {word for words, prefix in terms for word in (words[:-1] if prefix else words)}
    starts = tuple(words[-1] for words, prefix in terms if prefix)
    parts, at = [], 0
    for found in _WORD.finditer(text) if terms else ():
        if any(word in whole or word.startswith(starts) for word in split_words(found[0])):
            parts += [escape(text[at : found.start()]), f"<mark>{escape(found[0])}</mark>"]
            at = found.end()
    return "".join([*parts, escape(text[at:])])


_WORD = re.compile(r"(?:[^\W_]|[\u0300-\u036f])+")

_ANY = 'dir="auto"'
"""Set on texts from outside: their marks of direction then end with the element."""


def _readable(label: str) -> str:
    """Return a label as people write it: "crowd_group" is "crowd group"."""
    return label.replace("_", " ").strip() or label


def _image(id_: str | None, path: Path, alt: str, thumbnails: Thumbnails) -> str:
    """Return an image, or "" where it cannot be shown: its text then stands for it."""
    address = thumbnails.of(path) if id_ is None else thumbnails.of_item(id_, path)
    return "" if address is None else f'<img src="{address}" alt="{escape(alt)}">'


def bit_strip(code: Codes, *, bits: int, query: Codes | None = None) -> str:
    """Return an inline SVG of one packed code, or "" for codes that are too long to draw.

    The squares are collected into one path per class, which the page colors: `on` and `off` for
    bits that agree with the query's, `on far` and `off far` for those that differ.

    Args:
        code: packed code, uint8 (ceil(bits/8),).
        bits: the code length.
        query: packed code to compare with; default none, so that no bit differs.
    """
    if bits > MAX_STRIP_BITS:
        return ""
    own = unpack(code[None], bits=bits)[0]
    other = own if query is None else unpack(query[None], bits=bits)[0]
    squares: dict[str, list[str]] = {}
    for place, (bit, wanted) in enumerate(zip(own.tolist(), other.tolist(), strict=True)):
        name = ("on" if bit else "off") + ("" if bit == wanted else " far")
        row, column = divmod(place, _ROW)
        squares.setdefault(name, []).append(f"M{column} {row}h{_SIDE}v{_SIDE}h-{_SIDE}z")
    width, height = min(bits, _ROW), -(-bits // _ROW)
    paths = "".join(f'<path class="{name}" d="{"".join(d)}"/>' for name, d in squares.items())
    return (
        f'<svg class="bits" viewBox="0 0 {width} {height}" aria-hidden="true" '
        f'focusable="false">{paths}</svg>'
    )


def render_document(*, title: str, style: str, body: str) -> str:
    """Return a page.

    Args:
        title: plain text.
        style: CSS.
        body: HTML, its texts escaped.
    """
    return _DOCUMENT.format(title=escape(title), style=style, body=body)
