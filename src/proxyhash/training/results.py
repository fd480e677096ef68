"""Results of a finished training: model, codes, metrics and card of the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.evaluation import Evaluations, evaluate_both_galleries
from proxyhash.evaluation.second_look import evaluate_second_look
from proxyhash.files import write_json, write_text
from proxyhash.hashing import HashModel
from proxyhash.training.card import model_card

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxyhash.encoders import FeatureCache
    from proxyhash.progress import Track
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.folder import RunFolder
    from proxyhash.training.prepare import Prepared
    from proxyhash.training.state import Networks, TrainState

__all__ = ["RunResult", "write_results"]

_MOST_RANKED = 200_000
"""Items up to which a second look is measured, which sorts the gallery for every query."""


@dataclass(frozen=True)
class RunResult:
    """Results of a finished run."""

    folder: Path
    """The run folder."""
    metrics: dict[str, Any]
    """The content of metrics.json."""
    epochs: int
    """Epochs trained."""
    best_epoch: int
    """The epoch whose weights were kept."""
    seconds: float
    """Time spent in epochs, without encoding and the final evaluation."""
    evaluations: Evaluations
    """The evaluations behind the metrics, single queries included; under torchrun process 0 alone
    has them."""


def write_results(
    config: TrainConfig,
    folder: RunFolder,
    state: TrainState,
    networks: Networks,
    prepared: Prepared,
    *,
    about: Mapping[str, Any],
    cache: FeatureCache,
    track: Track,
) -> RunResult:
    """Write what a finished training leaves in its folder; return the same.

    Args:
        config: The run's configuration.
        folder: The run folder.
        state: After the last epoch.
        networks: Those that are kept, complete.
        prepared: Collection, split, encoders as they are now, and their features.
        about: What metrics.json says about the training.
        cache: Where features are kept between runs.
        track: Reports progress.
    """
    collection, split, proxies = prepared.collection, prepared.split, state.objective.proxies
    model = HashModel(
        bits=config.bits,
        classes=collection.classes,
        method=config.method,
        networks=networks.by_modality,
        encoders=prepared.encoders,
        proxies=proxies,
    )
    queries = prepared.query_features(cache=cache, track=track)
    codes = model.encode_prepared(collection.ids, prepared.features, queries=queries)
    evaluations = evaluate_both_galleries(
        codes,
        collection,
        split,
        proxies=proxies.codes if proxies else None,
        track=track,
    )
    metrics = evaluations.to_dict()
    if len(collection) <= _MOST_RANKED:
        weights = model.weigh_prepared({**prepared.features, **queries})
        looked = evaluate_second_look(codes, weights, collection.labels, split, track=track)
        protocol = evaluations.literature.protocol.to_dict()
        figures = {name: each.to_dict() for name, each in looked.items()}
        metrics["second_look"] = {"protocol": protocol} | figures
    metrics["training"] = dict(about)
    model.save(folder.model)
    codes.save(folder.codes)
    write_text(folder.card, model_card(config, collection, split, metrics))
    write_json(folder.metrics, metrics)  # the last file: where it is, the run is finished
    return RunResult(
        folder=folder.path,
        metrics=metrics,
        epochs=state.epoch,
        best_epoch=state.best.epoch,
        seconds=state.seconds,
        evaluations=evaluations,
    )
