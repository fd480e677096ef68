"""Rankings by real-valued outputs: of the query alone (asymmetric), or stored as int8, too.

`asymmetric`: the query keeps its outputs, the gallery has bits alone, as `Index.search(look=...)`
ranks all items. `int8`: the gallery has a byte for each bit beside its code. Both have nearly as
many distances as items, so that a ranking is sorted instead of counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes import asymmetric_distances, code_bytes, signs
from proxyhash.codes.vectors import stored_vectors
from proxyhash.evaluation.average_precision import average_precision, summarize
from proxyhash.evaluation.direction import directions_of
from proxyhash.evaluation.protocol import Protocol
from proxyhash.evaluation.ranking import Tally
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.codes import CodeFile, Codes, Weights
    from proxyhash.data import Split
    from proxyhash.evaluation.ranking import Labels

__all__ = [
    "RANKINGS",
    "SecondLookMaps",
    "evaluate_second_look",
    "ranked_average_precision",
    "read_second_look",
]

Floats = npt.NDArray[np.float64]

RANKINGS = ("asymmetric", "int8")
"""The rankings, by what they need: no byte more per item, or one for each bit."""

_BLOCK = 64  # queries whose sorted distances are in memory at once


@dataclass(frozen=True)
class SecondLookMaps:
    """The mAP of one ranking.

    Attributes:
        bytes_per_item: of the code and of what is stored beside it, in one modality.
        literature: mAP by direction, between modalities where there are several.
        strict: the same without training and validation items; None where nothing is left.
    """

    bytes_per_item: int
    literature: Mapping[str, float]
    strict: Mapping[str, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, None for NaN."""
        galleries = {"literature": self.literature, "strict": self.strict}
        return {"bytes_per_item": self.bytes_per_item} | {
            name: None
            if maps is None
            else {way: None if np.isnan(value) else value for way, value in maps.items()}
            for name, maps in galleries.items()
        }


def read_second_look(metrics: Mapping[str, Any]) -> dict[str, SecondLookMaps]:
    """Return what a metrics.json holds; empty where it holds nothing that can be read."""

    def maps(found: Mapping[str, Any] | None) -> dict[str, float] | None:
        if found is None:
            return None
        return {way: np.nan if value is None else float(value) for way, value in found.items()}

    try:
        return {
            name: SecondLookMaps(
                int(each["bytes_per_item"]), maps(each["literature"]) or {}, maps(each["strict"])
            )
            for name, each in metrics["second_look"].items()
            if name != "protocol"
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def evaluate_second_look(
    codes: CodeFile,
    weights: Mapping[str, Weights],
    labels: Labels,
    split: Split,
    *,
    protocol: Protocol | None = None,
    track: Track = silent,
) -> dict[str, SecondLookMaps]:
    """Return the mAP of each of `RANKINGS`.

    Args:
        codes: the codes of n items.
        weights: the size of each of their outputs, uint16 (n, K), by modality, of queries those as
            queries; see `weights_of`.
        labels: bool (n, C), in the order of the codes.
        split: positions of queries, gallery, training and validation items.
        protocol: rules of the evaluation; its gallery is ignored.
        track: reports progress per ranking.
    """
    protocol = protocol or Protocol()
    ways = {
        name: pair
        for name, pair in directions_of(codes.modalities).items()
        if pair[0] != pair[1] or len(codes.modalities) == 1
    }
    galleries = {"literature": split.gallery, "strict": split.strict_gallery}
    maps: dict[tuple[str, str], dict[str, float]] = {}
    todo = [
        (ranking, gallery, name)
        for ranking in RANKINGS
        for gallery, positions in galleries.items()
        if len(positions)
        for name in ways
    ]
    for ranking, gallery, name in track(todo, "second look"):
        asked, searched = ways[name]
        rows, columns = (
            codes.having(asked, split.query),
            codes.having(searched, galleries[gallery]),
        )
        distances = _Distances(
            codes.as_queries(asked)[rows],
            weights[asked][rows],
            codes.of(searched)[columns],
            weights[searched][columns] if ranking == "int8" else None,
            bits=codes.bits,
        )
        per_query = ranked_average_precision(
            distances, labels[rows], labels[columns], protocol=protocol
        )
        maps.setdefault((ranking, gallery), {})[name] = summarize(per_query, protocol).value
    width = code_bytes(codes.bits)
    return {
        ranking: SecondLookMaps(
            width + (codes.bits if ranking == "int8" else 0),
            maps[ranking, "literature"],
            maps.get((ranking, "strict")),
        )
        for ranking in RANKINGS
    }


class _Distances:
    """The distances of some queries to a gallery, as whole numbers.

    Args:
        query: packed codes (q, B).
        weights: the size of each of their outputs, uint16 (q, K).
        gallery: packed codes (n, B).
        stored: the size of each of the gallery's outputs, uint16 (n, K), of which one of 127 steps
            is stored; None where only the codes are.
        bits: the code length K.
    """

    def __init__(
        self,
        query: Codes,
        weights: Weights,
        gallery: Codes,
        stored: Weights | None,
        *,
        bits: int,
    ) -> None:
        self._query, self._weights, self._gallery, self._bits = query, weights, gallery, bits
        self.queries = len(query)
        self._outputs: Floats | None = None
        if stored is not None:
            vectors = stored_vectors(gallery, stored, bits=bits, kind="int8")
            self._outputs = vectors.astype(np.float64)

    def of(self, rows: slice) -> Floats:
        """Return the distances of some queries, (b, n), up to a constant for each of them."""
        query, weights = self._query[rows], self._weights[rows]
        if self._outputs is None:
            return asymmetric_distances(query, weights, self._gallery).astype(np.float64)
        outputs = signs(query, bits=self._bits) * weights.astype(np.float64)
        return -(outputs @ self._outputs.T)  # whole numbers far below 2^53, so exact


def ranked_average_precision(
    distances: _Distances, query_labels: Labels, gallery_labels: Labels, *, protocol: Protocol
) -> Floats:
    """Return the AP of every query, float64 (q,); NaN where nothing is relevant.

    Args:
        distances: of the queries to the gallery.
        query_labels: bool (q, C).
        gallery_labels: bool (n, C).
        protocol: rules for ties and cutoff.
    """
    parts = [np.empty(0)]
    gallery = gallery_labels.T.astype(np.float32)
    # In gallery order every item is a group of its own, whatever ties there are.
    stable = protocol.ties == "stable"
    rules = replace(protocol, ties="expected") if stable else protocol
    for start in range(0, distances.queries, _BLOCK):
        rows = slice(start, start + _BLOCK)
        relevant = query_labels[rows].astype(np.float32) @ gallery > 0
        tally = _sorted_tally(distances.of(rows), relevant, stable=stable)
        parts.append(
            average_precision(tally, ties=rules.ties, cutoff=rules.cutoff, divisor=rules.divisor)
        )
    return np.concatenate(parts)


def _sorted_tally(distances: Floats, relevant: npt.NDArray[np.bool_], *, stable: bool) -> Tally:
    """Return the items and relevant items of each group of equal distances, in their order."""
    count, width = distances.shape
    items, hits = np.zeros((2, count, max(width, 1)), np.int64)
    number = np.int32 if np.abs(distances).max(initial=0) < 2**29 else np.int64  # half the time
    for row in range(count):
        if stable:
            hits[row, :width] = relevant[row][np.argsort(distances[row], kind="stable")]
            items[row, :width] = 1
            continue
        # One sort of whole numbers, the last bit whether an item is relevant: no places are needed.
        keys = np.sort(2 * distances[row].astype(number) + relevant[row])
        near = keys >> 1
        starts = np.flatnonzero(np.diff(near, prepend=near[:1] - 1))
        items[row, : len(starts)] = np.diff(starts, append=width)
        hits[row, : len(starts)] = np.add.reduceat(keys & 1, starts) if width else 0
    nothing = np.zeros((count, 1), np.int64)
    return Tally(items, hits, hits, hits.astype(np.float64), nothing, np.zeros(1))
