"""From the columns of a code file to the items of an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import CodeFile, Codes
    from proxyhash.data import Modality

__all__ = ["Put", "put_codes"]


_PARTS: tuple[tuple[Modality, ...], ...] = (("image", "text"), ("image",), ("text",))


class Put(Protocol):
    """`add` or `upsert` of an index."""

    def __call__(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> Any:
        """Store items."""
        ...


def put_codes(
    put: Put,
    codes: CodeFile,
    rows: npt.NDArray[np.int64],
    *,
    payload_of: Callable[[int], Mapping[str, object]],
) -> None:
    """Store rows of a code file, a call for each combination of modalities that items have.

    Args:
        put: `add` or `upsert` of an index.
        codes: the codes; rows without any are passed over.
        rows: which of them.
        payload_of: the payload of a row.
    """
    for names in _PARTS:
        those = rows[
            (codes.has_image[rows] == ("image" in names))
            & (codes.has_text[rows] == ("text" in names))
        ]
        if len(those):
            put(
                [codes.ids[row] for row in those],
                {name: codes.of(name)[those] for name in names},
                payloads=[payload_of(row) for row in those.tolist()],
            )
