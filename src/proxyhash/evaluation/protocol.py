"""Evaluation protocol: every choice that changes a figure without changing the codes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from proxyhash.errors import DataError, UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Protocol"]

_ALLOWED = {
    "ties": ("expected", "stable", "optimistic", "pessimistic"),
    "divisor": ("hits", "min", "relevant"),
    "gallery": ("literature", "strict"),
    "empty": ("skip", "zero"),
    "relevance": ("any",),
    "gain": ("exponential", "linear"),
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Rules of an evaluation, stored with every result.

    Two figures are comparable only under the same protocol: on the same codes, the rule for ties
    alone can change mAP by 0.15, and the divisor mAP@R by 0.24.

    Attributes:
        ties: the order of gallery items at equal distance, for mAP. `expected`: the mean over all
            orders, in closed form. `stable`: the order of the gallery, as in most released code.
            `optimistic` and `pessimistic`: relevant items first, or last. Precision, recall and
            NDCG at N are always the mean over all orders.
        cutoff: R of mAP@R, the number of nearest gallery items; None for the whole gallery.
        divisor: divisor of the sum of precisions in mAP@R. `hits`: the relevant items among the
            first R, as in most released code. `min`: min(R, relevant items). `relevant`: all
            relevant items. Without a cutoff all three are equal.
        gallery: `literature`: everything except the queries, including training items. `strict`:
            without training and validation items.
        empty: a query without relevant gallery items is left out (`skip`) or counts as 0 (`zero`).
        relevance: `any`: an item is relevant if it shares at least one label with the query; an
            item without labels is never relevant.
        gain: gain in NDCG of an item with s shared labels: `exponential`, 2^s - 1 (as in Zhao et
            al., CVPR 2015), or `linear`, s.

    Raises:
        UsageError: an option has an unknown value.
    """

    ties: Literal["expected", "stable", "optimistic", "pessimistic"] = "expected"
    cutoff: int | None = None
    divisor: Literal["hits", "min", "relevant"] = "hits"
    gallery: Literal["literature", "strict"] = "literature"
    empty: Literal["skip", "zero"] = "skip"
    relevance: Literal["any"] = "any"
    gain: Literal["exponential", "linear"] = "exponential"

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            check_option(name, getattr(self, name), allowed)
        if self.cutoff is not None and self.cutoff < 1:
            raise UsageError(f"cutoff is {self.cutoff}; it must be at least 1, or None")

    @property
    def name(self) -> str:
        """Name of the figure: "mAP@all", or "mAP@5000 / hits"."""
        return "mAP@all" if self.cutoff is None else f"mAP@{self.cutoff} / {self.divisor}"

    def to_dict(self) -> dict[str, Any]:
        """Return the protocol as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Protocol:
        """Return the protocol that `to_dict` wrote; missing keys take their defaults.

        Raises:
            DataError: "unknown key 'tie' in a protocol; did you mean 'ties'?".
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise DataError(f"unknown key {key!r} in a protocol{hint}")
        return cls(**values)
