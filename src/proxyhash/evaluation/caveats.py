"""Caveats: what makes a figure mean little, said beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxyhash.evaluation.direction import Direction
    from proxyhash.evaluation.protocol import Protocol
    from proxyhash.evaluation.ranking import Labels, Ranking

__all__ = ["Caveat", "caveat_lines", "find_caveats", "found_labels", "gather_caveats"]

MOSTLY_RELEVANT = 0.9
"""Share of relevant items from which random codes have nearly the mAP of perfect ones."""

FEW_LABELED = 0.5
"""Share of labeled items of a gallery below which the others count as wrong unseen."""

FEW_QUERIES = 10
"""Queries below which a mean says little."""

MANY_LEFT_OUT = 0.1
"""Share of queries with nothing relevant from which it is said."""


@dataclass(frozen=True)
class Caveat:
    """One reason why figures mean little.

    Attributes:
        kind: "found_labels", "no_labels", "one_class", "all_relevant", "few_labeled",
            "few_queries", "left_out", "none_relevant", "small_gallery" or "equal_codes".
        message: a sentence with the counts.
        directions: whose figures it is about.
    """

    kind: str
    message: str
    directions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the caveat as JSON values."""
        return {"kind": self.kind, "message": self.message, "directions": list(self.directions)}


def found_labels(items: int, directions: Iterable[str]) -> tuple[Caveat, ...]:
    """Return the caveat about labels that are probabilities, for the number of such items."""
    if not items:
        return ()
    message = (
        f"the labels of {items:,} items are probabilities, found and not given: mAP says how well "
        "codes follow them, not what items show; `evaluate --labels MANIFEST` takes given ones"
    )
    return (Caveat("found_labels", message, tuple(directions)),)


def find_caveats(
    ranking: Ranking, direction: Direction, protocol: Protocol
) -> tuple[tuple[str, str], ...]:
    """Return everything that makes the figures of one direction mean little, as kinds and messages.

    Args:
        ranking: queries and gallery with their labels.
        direction: the figures.
        protocol: the rules that they follow.
    """
    return tuple(_of(ranking, direction, protocol))


def gather_caveats(found: Mapping[str, Iterable[tuple[str, str]]]) -> tuple[Caveat, ...]:
    """Return what was found by direction, each once with its directions, the gravest first."""
    directions: dict[tuple[str, str], list[str]] = {}
    for name, caveats in found.items():
        for caveat in caveats:
            directions.setdefault(caveat, []).append(name)
    order = sorted(directions, key=lambda each: _ORDER.index(each[0]))
    return tuple(Caveat(kind, text, tuple(directions[kind, text])) for kind, text in order)


_ORDER = (
    "no_labels",
    "one_class",
    "all_relevant",
    "none_relevant",
    "equal_codes",
    "few_labeled",
    "left_out",
    "few_queries",
    "small_gallery",
)


def _of(ranking: Ranking, direction: Direction, protocol: Protocol) -> Iterable[tuple[str, str]]:
    queries, gallery = len(ranking.query), len(ranking.gallery)
    if not queries or not gallery:
        return
    labeled = int(ranking.gallery_labels.any(axis=1).sum())
    if not labeled or not ranking.query_labels.any():
        where = "query" if labeled else "item of the gallery"
        yield "no_labels", f"no {where} has a label, so mAP and its relatives cannot be computed"
    else:
        yield from _of_labels(ranking, direction, protocol, labeled)
    for what, codes in (("gallery", ranking.gallery), ("queries", ranking.query)):
        if len(codes) > 1 and (codes == codes[0]).all():
            yield (
                "equal_codes",
                f"all {len(codes):,} codes of the {what} are equal, so the order of the hits is "
                "chance",
            )


def _of_labels(
    ranking: Ranking, direction: Direction, protocol: Protocol, labeled: int
) -> Iterable[tuple[str, str]]:
    queries, gallery = len(ranking.query), len(ranking.gallery)
    if _classes(ranking.query_labels, ranking.gallery_labels) == 1:
        yield (
            "one_class",
            "there is one class, so every labeled item is relevant to every query: the figures say "
            "nothing about the codes",
        )
    elif direction.relevant_share == 1.0:
        yield (
            "all_relevant",
            "every item of the gallery is relevant to every query, so mAP is 1 whatever the codes",
        )
    elif direction.relevant_share >= MOSTLY_RELEVANT:
        yield (
            "all_relevant",
            f"{direction.relevant_share:.0%} of the gallery is relevant to a query on average, "
            "which is about the mAP of random codes",
        )
    lost = int(np.isnan(direction.average_precision).sum())
    if lost == queries:
        yield "none_relevant", f"none of the {queries:,} queries has a relevant item in the gallery"
    elif lost >= MANY_LEFT_OUT * queries:
        how = "are left out" if protocol.empty == "skip" else "count as 0"
        yield (
            "left_out",
            f"{lost:,} of {queries:,} queries have nothing relevant in the gallery and {how}",
        )
    if labeled < FEW_LABELED * gallery:
        yield (
            "few_labeled",
            f"{labeled:,} of {gallery:,} items of the gallery have labels; all others count as not "
            "relevant, whatever they show",
        )
    if 0 < direction.queries < FEW_QUERIES:
        plural = "query" if direction.queries == 1 else "queries"
        yield "few_queries", f"the figures are means over {direction.queries} {plural}"
    if protocol.cutoff is not None and protocol.cutoff > gallery:
        yield (
            "small_gallery",
            f"R of mAP@R is {protocol.cutoff:,} and the gallery has {gallery:,} items, so it is "
            "the mAP of the whole gallery",
        )


def _classes(*labels: Labels) -> int:
    """Return how many classes any item has."""
    return int(np.any([each.any(axis=0) for each in labels], axis=0).sum())


def caveat_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the caveats of a metrics.json as sentences, with what each is about where not all.

    A file of an earlier version has none.
    """
    lines: list[str] = []
    for part in (metrics, metrics.get("strict") or {}):
        gallery = part.get("protocol", {}).get("gallery", "literature")
        for each in part.get("warnings", ()):
            about = "" if len(each["directions"]) == len(part["map"]) else each["directions"]
            words = ", ".join(name.replace("_to_", " → ") for name in about)
            lines.append(f"{gallery} gallery{f', {words}' if words else ''}: {each['message']}")
    return lines
