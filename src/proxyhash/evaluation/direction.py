"""Directions of retrieval, such as image to text, and every metric of one of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import permutations
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.data.modalities import MODALITIES
from proxyhash.evaluation.average_precision import (
    block_average_precision,
    mean_over_queries,
    summarize,
    weighted_average_precision,
)
from proxyhash.evaluation.metrics import Curves, curves, lookup, ndcg_at, precision_at, recall_at
from proxyhash.evaluation.protocol import Protocol
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxyhash.data import Modality
    from proxyhash.evaluation.ranking import Ranking, Tally

__all__ = ["AT", "RADIUS", "Direction", "LookupMeans", "directions_of", "evaluate_direction"]

Floats = npt.NDArray[np.float64]

AT = (1, 10, 100, 1000)
"""The N of precision, recall and NDCG at N."""

RADIUS = 2
"""Radius of the look-up, in bits."""


def directions_of(modalities: Iterable[Modality]) -> dict[str, tuple[Modality, Modality]]:
    """Return the directions between modalities, each with those of its queries and its gallery.

    Directions from one modality to another come first, whatever the order of the arguments.

    Example:
        >>> list(directions_of(["text", "image"]))
        ['image_to_text', 'text_to_image', 'image_to_image', 'text_to_text']
    """
    registered = list(MODALITIES)
    given = set(modalities)
    ordered = [each for each in registered if each in given] + sorted(given - set(registered))
    pairs = [*permutations(ordered, 2), *((each, each) for each in ordered)]
    return {f"{asked}_to_{searched}": (asked, searched) for asked, searched in pairs}


@dataclass(frozen=True)
class LookupMeans:
    """Hash look-up within a radius: means over the queries.

    Attributes:
        radius: in bits.
        precision: share of relevant items among those returned; 0 for an empty look-up.
        recall: share of the relevant items that is returned.
        retrieved: number of items returned.
        empty: share of the queries without any result.
    """

    radius: int
    precision: float
    recall: float
    retrieved: float
    empty: float


@dataclass(frozen=True)
class Direction:
    """Metrics of one direction: means over the averaged queries, NaN without any.

    Attributes:
        map: mean average precision by the protocol.
        weighted_map: mean of the AP weighted by shared labels, over the whole gallery.
        queries: number of queries that were averaged.
        left_out: number of queries left out because nothing in the gallery is relevant to them.
        gallery: number of items searched.
        precision_at: mean precision of the first N, by N up to the gallery's size.
        recall_at: mean recall of the first N, by N.
        ndcg_at: mean NDCG of the first N, by N.
        lookup: metrics of a hash look-up.
        curves: precision and recall over the Hamming radius, and pairs by distance.
        average_precision: AP of every query, float64 (q,); NaN where nothing is relevant.
        relevant_share: mean share of the gallery that is relevant to an averaged query.
    """

    map: float
    weighted_map: float
    queries: int
    left_out: int
    gallery: int
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    ndcg_at: dict[int, float]
    lookup: LookupMeans
    curves: Curves
    average_precision: Floats
    relevant_share: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, None for NaN, without curves and single queries."""
        return {
            "map": _json_number(self.map),
            "weighted_map": _json_number(self.weighted_map),
            "queries": self.queries,
            "left_out": self.left_out,
            "gallery": self.gallery,
            "precision_at": _json_numbers(self.precision_at),
            "recall_at": _json_numbers(self.recall_at),
            "ndcg_at": _json_numbers(self.ndcg_at),
            "lookup": _json_numbers(asdict(self.lookup)),
        }


def evaluate_direction(
    ranking: Ranking,
    *,
    protocol: Protocol | None = None,
    at: Sequence[int] = AT,
    radius: int = RADIUS,
    track: Track = silent,
    description: str = "evaluate",
) -> Direction:
    """Return every metric of a ranking.

    Works in blocks of queries. Peak memory without the inputs: about 200 MB.

    Args:
        ranking: queries and gallery.
        protocol: rules of the evaluation; its gallery is ignored.
        at: the N of precision, recall and NDCG; those beyond the gallery's size are left out.
        radius: radius of the look-up, in bits.
        track: reports progress per block of queries.
        description: text of the progress.
    """
    protocol = protocol or Protocol()
    at = [n for n in at if n <= len(ranking.gallery)]
    parts: list[dict[str, Floats]] = []
    shapes: list[Curves] = []
    for rows in track(list(ranking.blocks(graded=True)), description):
        counts = ranking.tally(rows, gain=protocol.gain)
        parts.append(
            {"map": block_average_precision(ranking, rows, counts, protocol)}
            | {"relevant": counts.relevant.sum(axis=1) / max(len(ranking.gallery), 1)}
            | _query_metrics(counts, at, radius)
        )
        shapes.append(curves(counts))
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    total = summarize(values["map"], protocol)
    kept = ~np.isnan(values["map"])
    mean = {name: mean_over_queries(each, kept, protocol) for name, each in values.items()}
    return Direction(
        map=total.value,
        weighted_map=mean["weighted_map"],
        queries=total.queries,
        left_out=total.left_out,
        gallery=len(ranking.gallery),
        precision_at={n: mean[f"precision_at {n}"] for n in at},
        recall_at={n: mean[f"recall_at {n}"] for n in at},
        ndcg_at={n: mean[f"ndcg_at {n}"] for n in at},
        lookup=LookupMeans(
            radius,
            *(mean[f"lookup {name}"] for name in ("precision", "recall", "retrieved", "empty")),
        ),
        curves=reduce(add, shapes),
        average_precision=total.per_query,
        relevant_share=mean["relevant"],
    )


def _query_metrics(counts: Tally, at: Sequence[int], radius: int) -> dict[str, Floats]:
    """Return each metric per query, float64 (q,)."""
    found = lookup(counts, radius=radius)
    result = {
        "weighted_map": weighted_average_precision(counts),
        "lookup precision": found.precision,
        "lookup recall": found.recall,
        "lookup retrieved": found.retrieved,
        "lookup empty": (found.retrieved == 0).astype(np.float64),
    }
    for n in at:
        result[f"precision_at {n}"] = precision_at(counts, n)
        result[f"recall_at {n}"] = recall_at(counts, n)
        result[f"ndcg_at {n}"] = ndcg_at(counts, n)
    return result


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _json_numbers(values: dict[Any, float]) -> dict[str, float | None]:
    return {str(name): _json_number(value) for name, value in values.items()}
