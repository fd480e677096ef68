"""What a code says: how far everything is from it, and which categories it is near."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index.filters import Filter
    from proxyhash.serving.http.snapshot import Snapshot

__all__ = ["explain"]


def explain(
    snapshot: Snapshot,
    code: Codes,
    *,
    target: Modality,
    filter: Filter | None,  # noqa: A002 -- the index's word
) -> dict[str, Any]:
    """Return the histogram of distances over what a search looked at, and the nearest proxies.

    Args:
        snapshot: what is searched.
        code: packed code of the query, uint8 (ceil(bits/8),).
        target: whose codes are searched.
        filter: what limits the search, or None.
    """
    index = snapshot.index
    histogram = [0] * (index.bits + 1)
    (everything,) = index.search(code[None], modality=target, radius=index.bits, filter=filter)
    for hit in everything:
        histogram[hit.distance] += 1
    return {"histogram": histogram, "proxies": snapshot.nearest_proxies(code)}
