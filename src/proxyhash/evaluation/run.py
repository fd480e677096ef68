"""Evaluating a run folder: its codes, its split and its proxies, without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from proxyhash.data.run_data import read_run
from proxyhash.errors import DataError, ModelError, UsageError, check_option
from proxyhash.evaluation.evaluator import Evaluation, evaluate_codes
from proxyhash.evaluation.protocol import Protocol
from proxyhash.files import read_json, write_json
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.codes import CodeFile
    from proxyhash.data import Collection, Split
    from proxyhash.data.run_data import RunData

__all__ = [
    "Evaluations",
    "RunEvaluation",
    "evaluate",
    "evaluate_both_galleries",
    "evaluate_run",
    "read_proxies",
    "save_metrics",
]


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


@dataclass(frozen=True)
class RunEvaluation:
    """What was asked of a run's evaluation.

    Attributes:
        evaluations: one a gallery, the literature's first.
        metrics: all of it, ready for JSON: with both galleries the content of `metrics.json`, with
            one that gallery's alone.
    """

    evaluations: tuple[Evaluation, ...]
    metrics: dict[str, Any]


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    protocol: Protocol | None = None,
    gallery: str = "both",
    track: Track = silent,
) -> RunEvaluation:
    """Return the evaluation of the run in a folder; nothing is written.

    Args:
        run: the run folder.
        data: where the run's collection lies now, if it was moved.
        protocol: how to evaluate, expected mAP@all by default; its gallery is not used.
        gallery: "literature", "strict" or "both".
        track: told about each block of queries.

    Raises:
        ModelError: the folder is no finished run, or its parts do not belong together.
        DataError: the collection, the split or the codes cannot be read.
    """
    parts = read_run(run, data=data)
    return evaluate_run(parts, protocol=protocol, gallery=gallery, track=track)


def evaluate_run(
    run: RunData, *, protocol: Protocol | None = None, gallery: str = "both", track: Track = silent
) -> RunEvaluation:
    """Return the evaluation of a run's codes; nothing is written.

    Args:
        run: what `data.run_data.read_run` returned.
        protocol: how to evaluate; its gallery is not used.
        gallery: "literature", "strict" or "both".
        track: told about each block of queries.

    Raises:
        UsageError: the strict gallery alone was asked for, and the run has none.
        ModelError: the run's proxies are damaged or of another model.
    """
    check_option("gallery", gallery, ("literature", "strict", "both"))
    protocol = protocol or Protocol()
    proxies = read_proxies(run.folder, bits=run.codes.bits)
    if gallery == "both":
        both = evaluate_both_galleries(
            run.codes, run.collection, run.split, protocol=protocol, proxies=proxies, track=track
        )
        there = (both.literature, both.strict)
        return RunEvaluation(tuple(each for each in there if each is not None), both.to_dict())
    if gallery == "strict" and not len(run.split.strict_gallery):
        raise UsageError(
            f"the gallery of {run.folder} holds nothing but train and validation items, so there "
            "is no strict gallery; use --gallery literature"
        )
    alone = evaluate_codes(
        run.codes,
        run.collection.labels,
        run.split,
        protocol=replace(protocol, gallery=gallery),  # type: ignore[arg-type]
        fingerprint=run.split.fingerprint(run.collection),
        proxies=proxies,
        track=track,
    )
    return RunEvaluation((alone,), alone.to_dict())


def read_proxies(run: str | Path, *, bits: int) -> npt.NDArray[np.int8] | None:
    """Return the classes' codes of a run's model, -1 and +1 (C, bits), or None without any.

    Raises:
        ModelError: the file is damaged, or its codes are not of `bits` bits; names it.
    """
    path = Path(run) / "model" / "proxies.safetensors"
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            codes = file.get_tensor("codes")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} is damaged ({error}); copy it again from the original or train the model again"
        ) from error
    if codes.dtype != np.int8 or codes.ndim != 2 or codes.shape[1] != bits:
        raise ModelError(
            f"{path} holds {codes.dtype} of shape {codes.shape}, not proxies of {bits} bits; "
            "it belongs to another model, train the run again"
        )
    return np.asarray(codes)


def save_metrics(run: str | Path, metrics: Mapping[str, Any]) -> Path:
    """Write a run's `metrics.json` and return its path; what training noted there stays."""
    path = Path(run) / "metrics.json"
    known = read_json(path) if path.is_file() else {}
    kept = {key: known[key] for key in ("training",) if key in known}
    write_json(path, dict(metrics) | kept)
    return path
