"""Evaluation of a run folder with both galleries, as in its `metrics.json`; without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from proxyhash.data.run_data import read_run
from proxyhash.errors import DataError, ModelError, UsageError, check_option
from proxyhash.evaluation.evaluator import Evaluation, evaluate_codes
from proxyhash.evaluation.pairs import PairEvaluation, evaluate_pairs
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
    "given_labels",
    "read_metrics",
    "read_proxies",
    "save_metrics",
]


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of the same codes with both galleries, the content of `metrics.json`.

    Attributes:
        literature: the gallery includes training and validation items.
        strict: the gallery excludes them; None if it would be empty.
        pairs: how well queries find their other halves; None where none has two.
    """

    literature: Evaluation
    strict: Evaluation | None
    pairs: PairEvaluation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the first evaluation as JSON values, with the other one under "strict"."""
        result = self.literature.to_dict()
        shapes = result.pop("curves")
        strict = None if self.strict is None else self.strict.to_dict()
        if strict is not None:
            del strict["fingerprint"]  # the same for both
        pairs = None if self.pairs is None else self.pairs.to_dict()
        return result | {"pairs": pairs, "strict": strict, "curves": shapes}


def evaluate_both_galleries(
    codes: CodeFile,
    collection: Collection,
    split: Split,
    *,
    protocol: Protocol | None = None,
    proxies: npt.NDArray[np.int8] | None = None,
    given: Collection | None = None,
    track: Track = silent,
) -> Evaluations:
    """Return the evaluations of a run's codes with both galleries.

    Args:
        codes: the codes of the whole collection.
        collection: the items, in the order of the codes.
        split: the run's split.
        protocol: rules of the evaluation; its gallery is ignored.
        proxies: codes of the classes, -1 and +1, (C, K).
        given: a collection whose labels count instead, matched by id; see `given_labels`.
        track: reports progress per block of queries.

    Raises:
        DataError: "the codes do not belong to the items of COLLECTION ...", or no item of `given`
            is one of them.
    """
    if codes.ids != collection.ids:
        raise DataError(
            f"the codes do not belong to the items of {collection.path} ({len(codes):,} and "
            f"{len(collection):,} ids); run `proxyhash encode` again"
        )
    protocol = protocol or Protocol()
    labels, estimated, fingerprint = _judged_by(collection, split, given)

    def evaluate(gallery: Literal["literature", "strict"]) -> Evaluation:
        return evaluate_codes(
            codes,
            labels,
            split,
            protocol=replace(protocol, gallery=gallery),
            fingerprint=fingerprint,
            proxies=proxies,
            estimated=estimated,
            track=track,
        )

    has_strict = len(split.strict_gallery) > 0
    return Evaluations(
        literature=evaluate("literature"),
        strict=evaluate("strict") if has_strict else None,
        pairs=evaluate_pairs(codes, split.query, collection),
    )


def given_labels(collection: Collection, given: Collection) -> npt.NDArray[np.bool_]:
    """Return the labels that the items of `collection` have in `given`, bool (n, C of `given`).

    Items are matched by id; one that `given` lacks has no labels.

    Raises:
        DataError: no id is in both, or no matched item has a label.
    """
    labels = np.zeros((len(collection), len(given.classes)), np.bool_)
    there = [row for row, id_ in enumerate(collection.ids) if id_ in given.positions]
    labels[there] = given.labels[[given.positions[collection.ids[row]] for row in there]]
    if not labels.any():
        what = "label for any item" if there else "item"
        raise DataError(
            f"{given.path} has no {what} of {collection.path}; give the manifest that has the "
            "labels of the same ids"
        )
    return labels


def _judged_by(
    collection: Collection, split: Split, given: Collection | None
) -> tuple[npt.NDArray[np.bool_], int, dict[str, Any]]:
    """Return the labels that decide what is relevant, how many were found, and what says so."""
    fingerprint = dict(split.fingerprint(collection))
    if given is None:
        return collection.labels, collection.estimated, fingerprint
    fingerprint["labels"] = {"path": str(given.path), "sha256": given.fingerprint}
    return given_labels(collection, given), given.estimated, fingerprint


@dataclass(frozen=True)
class RunEvaluation:
    """Evaluation of a run, with the galleries that were requested.

    Attributes:
        evaluations: one per gallery, the literature's first.
        metrics: the same as JSON values: the content of `metrics.json` for both galleries, or the
            evaluation of one.
        pairs: how well queries find their other halves, whatever the gallery; None where none has
            two.
    """

    evaluations: tuple[Evaluation, ...]
    metrics: dict[str, Any]
    pairs: PairEvaluation | None


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    protocol: Protocol | None = None,
    gallery: str = "both",
    given: Collection | None = None,
    track: Track = silent,
) -> RunEvaluation:
    """Return the evaluation of the run in a folder; nothing is written.

    Args:
        run: the run folder.
        data: path of the run's collection, if it was moved.
        protocol: rules of the evaluation, expected mAP@all by default; its gallery is ignored.
        gallery: "literature", "strict" or "both".
        given: a collection whose labels count instead of the run's, matched by id.
        track: reports progress per block of queries.

    Raises:
        ModelError: the folder is not a finished run, or its parts do not belong together.
        DataError: the collection, the split or the codes cannot be read.
    """
    parts = read_run(run, data=data)
    return evaluate_run(parts, protocol=protocol, gallery=gallery, given=given, track=track)


def evaluate_run(
    run: RunData,
    *,
    protocol: Protocol | None = None,
    gallery: str = "both",
    given: Collection | None = None,
    track: Track = silent,
) -> RunEvaluation:
    """Return the evaluation of a run's codes; nothing is written.

    Args:
        run: the run, as `data.run_data.read_run` returns it.
        protocol: rules of the evaluation; its gallery is ignored.
        gallery: "literature", "strict" or "both".
        given: a collection whose labels count instead of the run's, matched by id.
        track: reports progress per block of queries.

    Raises:
        UsageError: only the strict gallery was requested, and it is empty.
        ModelError: the run's proxies are damaged or belong to another model.
    """
    check_option("gallery", gallery, ("literature", "strict", "both"))
    protocol = protocol or Protocol()
    proxies = read_proxies(run.folder, bits=run.codes.bits)
    if gallery == "both":
        both = evaluate_both_galleries(
            run.codes, run.collection, run.split, protocol=protocol, proxies=proxies, given=given,
            track=track,
        )  # fmt: skip
        there = (both.literature, both.strict)
        shown = tuple(each for each in there if each is not None)
        return RunEvaluation(shown, both.to_dict(), both.pairs)
    if gallery == "strict" and not len(run.split.strict_gallery):
        raise UsageError(
            f"the gallery of {run.folder} has only training and validation items, so the strict "
            "gallery is empty; use --gallery literature"
        )
    labels, estimated, fingerprint = _judged_by(run.collection, run.split, given)
    alone = evaluate_codes(
        run.codes,
        labels,
        run.split,
        protocol=replace(protocol, gallery=gallery),  # type: ignore[arg-type]
        fingerprint=fingerprint,
        proxies=proxies,
        estimated=estimated,
        track=track,
    )
    pairs = evaluate_pairs(run.codes, run.split.query, run.collection)
    metrics = alone.to_dict()
    shapes = metrics.pop("curves")
    metrics |= {"pairs": None if pairs is None else pairs.to_dict(), "curves": shapes}
    return RunEvaluation((alone,), metrics, pairs)


def read_proxies(run: str | Path, *, bits: int) -> npt.NDArray[np.int8] | None:
    """Return the proxies of a run's model, -1 and +1 (C, bits), or None if it has none.

    Raises:
        ModelError: the file is damaged, or its codes do not have `bits` bits; names it.
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
            "they belong to another model; train the run again"
        )
    return np.asarray(codes)


def read_metrics(run: str | Path) -> dict[str, Any]:
    """Return the content of a run's `metrics.json`; empty where it is missing."""
    path = Path(run) / "metrics.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def save_metrics(run: str | Path, metrics: Mapping[str, Any]) -> Path:
    """Write a run's `metrics.json` and return its path; what only training measures is kept."""
    path = Path(run) / "metrics.json"
    known = read_metrics(run)
    kept = {key: known[key] for key in ("second_look", "training") if key in known}
    write_json(path, dict(metrics) | kept)
    return path
