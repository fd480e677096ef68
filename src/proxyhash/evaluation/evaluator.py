"""Evaluation of the codes of a collection by one protocol: all directions, and bit statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.errors import DataError
from proxyhash.evaluation.average_precision import MAP, mean_average_precision
from proxyhash.evaluation.bits import code_statistics
from proxyhash.evaluation.caveats import Caveat, find_caveats, found_labels, gather_caveats
from proxyhash.evaluation.direction import AT, Direction, directions_of, evaluate_direction
from proxyhash.evaluation.protocol import Protocol
from proxyhash.evaluation.ranking import Labels, Ranking
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import CodeFile
    from proxyhash.data import Split

__all__ = [
    "MAP",
    "Evaluation",
    "evaluate_codes",
    "mean_average_precision",
]


@dataclass(frozen=True)
class Evaluation:
    """Result of one protocol on one set of codes.

    Attributes:
        protocol: rules of the evaluation.
        fingerprint: what was evaluated: the fingerprint of the split, and the model's as "model".
        bits: code length.
        directions: a `Direction` for each of `directions_of` the modalities.
        missing: per direction, the numbers of queries and of gallery items without the modality,
            which were left out.
        bit_statistics: of the gallery, by modality, "pairs" and "proxies"; see `code_statistics`.
        caveats: what makes the figures mean little.
    """

    protocol: Protocol
    fingerprint: Mapping[str, Any]
    bits: int
    directions: Mapping[str, Direction]
    missing: Mapping[str, tuple[int, int]]
    bit_statistics: Mapping[str, Any]
    caveats: tuple[Caveat, ...] = ()

    @property
    def map(self) -> dict[str, float]:
        """The mAP of each direction; NaN where no query has relevant items."""
        return {name: direction.map for name, direction in self.directions.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, figures first and curves last."""
        directions = {name: direction.to_dict() for name, direction in self.directions.items()}
        for name, (queries, gallery) in self.missing.items():
            directions[name] |= {"queries_missing": queries, "gallery_missing": gallery}
        return {
            "protocol": self.protocol.to_dict(),
            "fingerprint": dict(self.fingerprint),
            "bits": self.bits,
            "map": {name: direction["map"] for name, direction in directions.items()},
            "warnings": [each.to_dict() for each in self.caveats],
            "directions": directions,
            "bit_statistics": dict(self.bit_statistics),
            "curves": {name: each.curves.to_dict() for name, each in self.directions.items()},
        }


def evaluate_codes(
    codes: CodeFile,
    labels: Labels,
    split: Split,
    *,
    protocol: Protocol | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    proxies: npt.NDArray[np.int8] | None = None,
    at: Sequence[int] = AT,
    estimated: int = 0,
    track: Track = silent,
) -> Evaluation:
    """Return the evaluation of a collection's codes by one protocol.

    An item without a modality is left out where the direction needs it, and counted as missing. The
    figures of a direction are NaN where nothing in its gallery is relevant to any query.

    Args:
        codes: the codes of n items.
        labels: bool (n, C), in the order of the codes.
        split: positions of queries, gallery, training and validation items.
        protocol: rules of the evaluation; by default expected mAP@all of the literature's gallery.
        fingerprint: identifies what was evaluated; stored in the result.
        proxies: codes of the classes, -1 and +1, (C, K).
        at: the N of precision, recall and NDCG at N.
        estimated: number of items whose labels were probabilities, which makes a caveat.
        track: reports progress per block of queries.

    Raises:
        DataError: labels, split and codes have different numbers of items.
    """
    protocol = protocol or Protocol()
    _check(codes, labels, split)
    gallery = split.gallery if protocol.gallery == "literature" else split.strict_gallery
    directions, missing, caveats = {}, {}, {}
    for name, (asked, searched) in directions_of(codes.modalities).items():
        rows, columns = codes.having(asked, split.query), codes.having(searched, gallery)
        ranking = Ranking(  # one at a time: it holds the labels of its gallery
            query=codes.as_queries(asked)[rows],
            gallery=codes.of(searched)[columns],
            query_labels=labels[rows],
            gallery_labels=labels[columns],
            bits=codes.bits,
        )
        directions[name] = evaluate_direction(
            ranking,
            protocol=protocol,
            at=at,
            track=track,
            description=f"evaluate {name.replace('_', ' ')}, {protocol.gallery} gallery",
        )
        caveats[name] = find_caveats(ranking, directions[name], protocol)
        missing[name] = (len(split.query) - len(rows), len(gallery) - len(columns))
        del ranking
    return Evaluation(
        protocol=protocol,
        fingerprint={"model": codes.model} | dict(fingerprint or {}),
        bits=codes.bits,
        directions=directions,
        missing=missing,
        bit_statistics=code_statistics(codes, gallery, proxies=proxies),
        caveats=(*found_labels(estimated, directions), *gather_caveats(caveats)),
    )


def _check(codes: CodeFile, labels: Labels, split: Split) -> None:
    for name, count in (
        ("labels have", len(labels)),
        ("split has", len(split.query) + len(split.gallery)),
    ):
        if count != len(codes):
            raise DataError(
                f"the {name} {count:,} items and the codes {len(codes):,}; "
                "they must belong to one collection"
            )
