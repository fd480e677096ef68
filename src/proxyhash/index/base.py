"""The interface that every index has, whether it lives in memory, in a folder or on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.hit import Hit

__all__ = ["Index"]


class Index(Protocol):
    """Codes under ids, searched by Hamming distance.

    Attributes:
        bits: the code length.
        model: fingerprint of the model that made the codes, "" when unknown.
    """

    bits: int
    model: str

    def add(
        self,
        ids: Sequence[str],
        codes: Codes,
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store packed codes (n, ceil(bits/8)) under new ids; all of them or none."""
        ...

    def search(self, codes: Codes, *, k: int) -> list[list[Hit]]:
        """Return the nearest min(k, n) items of each query, ordered by (distance, id)."""
        ...

    def get(self, id: str, /) -> Codes:  # noqa: A002
        """Return the code stored under an id, uint8 (ceil(bits/8),)."""
        ...

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        ...

    def __len__(self) -> int:
        """Return the number of codes."""
        ...
