"""Look-up of the words of a question in a word index: which rows have them, and what that says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.words import Term, inverse_frequency, rarity_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from proxyhash.index.store.database import Connection
    from proxyhash.index.store.row_table import RowTable
    from proxyhash.index.words import WordQuery

__all__ = ["Matching", "find_matching"]

_FEW, _MANY = 2_048, 50_000
"""Rows that the terms of one question may have together: beside codes, and for words alone. The
rarest terms come first; what is left of frequent ones says little."""

_MOST = 1_000_000
"""Rows that the rarest word of a phrase in quotes may have; one of more frequent words matches
nothing."""

_EXPANSIONS = 1_000
"""Words that a prefix may stand for."""

_ENOUGH = 0.5
"""Share of the best match's score that others need."""


@dataclass(frozen=True, eq=False)
class Matching:
    """The rows that match a question.

    Attributes:
        rows: int64 (m,), ascending.
        scores: float64 (m,), the sum of what the terms found say.
        rarity: float64 (m,), of the rarest of these terms, from 0 to 1; 1 for what no code knows.
        terms: the terms that were looked up, with the rows that have them.
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    rarity: npt.NDArray[np.float64]
    terms: tuple[tuple[Term, npt.NDArray[np.int64]], ...] = ()

    def terms_of(self, row: int) -> tuple[str, ...]:
        """Return the terms that a matching row has; of others, none."""
        if row not in self.rows:
            return ()
        return tuple(str(term) for term, rows in self.terms if row in rows)


_NONE = Matching(np.empty(0, np.int64), np.empty(0), np.empty(0))


def find_matching(
    connection: Connection,
    query: WordQuery,
    *,
    rows: RowTable,
    mask: npt.NDArray[np.bool_] | None,
) -> Matching:
    """Return the rows that match a question.

    Args:
        connection: of a word index, within a transaction.
        query: its terms are looked up.
        rows: those there are for the one who asks.
        mask: bool (n,); where it is False, a row is left out.
    """
    items = rows.items
    counts = _counts(connection, {word for term in query.terms for word in term.words})
    counted = [(_most_rows(connection, term, counts), term) for term in query.terms]
    # Dead rows are counted until the index is compacted, and must not crowd out words.
    share = max(rows.count / max(items, 1), 1.0)
    chosen = _choose(counted, left=(_MANY if query.weight == 1 else _FEW) * share, query=query)
    found: list[tuple[Term, npt.NDArray[np.int64]]] = []
    values: list[float] = []
    rarities: list[float] = []
    for term in chosen:
        # A filter leaves few of many rows, and any of them may be the ones.
        whole = term.required or mask is not None
        having = _rows_of(connection, term, rows=rows, most=_MOST if whole else _MANY)
        count = min(len(having), items)
        values.append(inverse_frequency(items, count))
        known = query.unknown.isdisjoint(term.words)
        rarities.append(rarity_of(items, count) if known else 1.0)
        found.append((term, having if mask is None else having[mask[having]]))
    if any(term.required and most > _MOST for most, term in counted) or not found:
        return _NONE
    every = np.concatenate([having for _, having in found])
    matching, places = np.unique(every, return_inverse=True)
    sizes = [len(having) for _, having in found]
    scores = np.bincount(places, np.repeat(values, sizes), len(matching)).astype(np.float64)
    rarity = np.zeros(len(matching))
    np.maximum.at(rarity, places, np.repeat(rarities, sizes))
    kept = np.ones(len(matching), np.bool_)
    for term, having in found:
        if term.required:
            kept &= np.isin(matching, having)
    # A term without a row must stay required: then nothing matches.
    kept &= scores >= _ENOUGH * scores[kept].max(initial=0.0)
    found.sort(key=lambda pair: query.terms.index(pair[0]))  # as asked, for people to read
    return Matching(matching[kept], scores[kept], rarity[kept], tuple(found))


def _choose(counted: Sequence[tuple[int, Term]], *, left: float, query: WordQuery) -> list[Term]:
    """Return the terms to look up, the rarest first, as far as the rows they may have go."""
    chosen = [term for most, term in counted if term.required and most <= _MOST]
    others = sorted(
        (pair for pair in counted if not pair[1].required), key=lambda pair: (pair[0], str(pair[1]))
    )
    for most, term in others:
        if not most:
            continue
        first = query.weight == 1 and not chosen
        if most > left and not first:
            break
        chosen.append(term)
        left -= most
    return chosen


def _most_rows(connection: Connection, term: Term, counts: Mapping[str, int]) -> int:
    """Return how many rows may have a term: as many as the rarest of its words."""
    *words, last = term.words
    having = [counts.get(word, 0) for word in words]
    if term.prefix:
        number, total = connection.execute(
            "SELECT count(*), coalesce(sum(rows), 0) FROM"
            " (SELECT rows FROM terms WHERE term >= ? AND term < ? LIMIT ?)",
            (last, last + chr(0x10FFFF), _EXPANSIONS + 1),
        ).fetchone()
        having.append(int(total) if number <= _EXPANSIONS else _MOST + 1)
    else:
        having.append(counts.get(last, 0))
    return min(having)


def _counts(connection: Connection, words: Collection[str]) -> dict[str, int]:
    """Return how many rows have each of the words that there are."""
    found = connection.execute(
        "SELECT term, rows FROM terms WHERE term IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(words)),),
    )
    return {word: int(rows) for word, rows in found}


def _rows_of(
    connection: Connection, term: Term, *, rows: RowTable, most: int
) -> npt.NDArray[np.int64]:
    """Return the rows of items that have a term, ascending, dead ones and all at most `most`."""
    # One string is read several times faster than as many Python objects.
    (text,) = connection.execute(
        "SELECT group_concat(rowid) FROM (SELECT rowid FROM words WHERE words MATCH ? LIMIT ?)",
        (term.match, most),
    ).fetchone()
    if not text:
        return np.empty(0, np.int64)
    having = np.fromstring(text, np.int64, sep=",")
    having = having[having < rows.count]  # others are of a later change
    alive = np.zeros(len(having), np.bool_)
    for name in rows.modalities:
        alive |= rows.visible(name)[having]
    there: npt.NDArray[np.int64] = having[alive]
    return there
