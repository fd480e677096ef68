"""Evaluating a run with both galleries: the content of its `metrics.json`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from proxyhash.errors import DataError
from proxyhash.evaluation.evaluator import Evaluation, evaluate_codes
from proxyhash.evaluation.protocol import Protocol
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import CodeFile
    from proxyhash.data import Collection, Split

__all__ = ["Evaluations", "evaluate_both_galleries"]


@dataclass(frozen=True)
class Evaluations:
    """The same codes with both galleries: the content of a run's `metrics.json`.

    Attributes:
        literature: with training and validation items in the gallery.
        strict: without them; None when nothing else is in the gallery.
    """

    literature: Evaluation
    strict: Evaluation | None

    def to_dict(self) -> dict[str, Any]:
        """Return the literature's evaluation ready for JSON, the other under "strict"."""
        result = self.literature.to_dict()
        shapes = result.pop("curves")
        strict = None if self.strict is None else self.strict.to_dict()
        if strict is not None:
            del strict["fingerprint"]  # the same: it is of the collection, split and model
        return result | {"strict": strict, "curves": shapes}


def evaluate_both_galleries(
    codes: CodeFile,
    collection: Collection,
    split: Split,
    *,
    protocol: Protocol | None = None,
    proxies: npt.NDArray[np.int8] | None = None,
    track: Track = silent,
) -> Evaluations:
    """Return the evaluation of a run's codes with the literature's gallery and the strict one.

    Args:
        codes: the codes of the whole collection.
        collection: the items, in the order of the codes.
        split: the run's split.
        protocol: how to evaluate; its gallery is not used.
        proxies: the classes' codes, -1 and +1, (C, K).
        track: told about each block of queries.

    Raises:
        DataError: "the codes are of other items than COLLECTION ...".
    """
    if codes.ids != collection.ids:
        raise DataError(
            f"the codes are of other items than {collection.path} ({len(codes):,} and "
            f"{len(collection):,} ids); write them again with `proxyhash encode`"
        )
    protocol = protocol or Protocol()
    fingerprint = split.fingerprint(collection)

    def evaluate(gallery: Literal["literature", "strict"]) -> Evaluation:
        return evaluate_codes(
            codes,
            collection.labels,
            split,
            protocol=replace(protocol, gallery=gallery),
            fingerprint=fingerprint,
            proxies=proxies,
            track=track,
        )

    has_strict = len(split.strict_gallery) > 0
    return Evaluations(evaluate("literature"), evaluate("strict") if has_strict else None)
