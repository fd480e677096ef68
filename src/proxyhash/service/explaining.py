"""What a code says: how far everything is from it, and which classes it is near."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index.filters import Filter
    from proxyhash.service.snapshot import Snapshot

__all__ = ["explain"]


def explain(
    snapshot: Snapshot,
    code: Codes,
    *,
    target: Modality,
    filter: Filter | None,  # noqa: A002 -- the index's word
) -> dict[str, Any]:
    """Return the histogram of distances over what a search looked at, and the nearest proxies.

    An index on a server that cannot count distances gives an empty histogram.

    Args:
        snapshot: what is searched.
        code: packed code of the query, uint8 (ceil(bits/8),).
        target: whose codes are searched.
        filter: what limits the search, or None.
    """
    histogram: list[int] = []
    if snapshot.index.supports("count_distances"):
        counts = snapshot.index.count_distances(code[None], modality=target, filter=filter)
        histogram = counts.tolist()
    return {"histogram": histogram, "proxies": snapshot.nearest_proxies(code)}
