"""The one callable that turns batches of rows into codes, wherever it runs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from proxyhash.data import MODALITIES, Modality
from proxyhash.data.images import ImageLimits, image_limits
from proxyhash.encoders import Encoder, FeatureCache, Features, PrecomputedFeatures
from proxyhash.encoders.collection import encode_steps
from proxyhash.errors import DataError, ModelError, UsageError, check_option
from proxyhash.hashing import HashModel, model_folder

__all__ = ["Encode"]

Batch = Mapping[str, Any]
"""Columns of equal length by name: lists, or arrays as Ray Data passes them."""


class Encode:
    """Codes of batches of rows: for `map_batches` of Ray Data, a pool, or a loop of your own.

    A batch has a column for each modality of the model: paths or bytes of images, texts, None where
    a row has none. The batch that comes back has every other column as it was and, for each
    modality of the model, `{modality}_codes`, uint8 (n, ceil(bits/8)), zero where there is none,
    and `has_{modality}`, bool (n,). With `on_bad_item="skip"`, `unreadable_{modality}`, bool (n,),
    marks what could not be read.

    Batches of the same rows give the same bits on machines of one kind, with any number of threads;
    only features that a cache has from other batches may differ from them in the last digit.

    Args:
        model: the model, or the folder of a run or model, which is loaded at the first batch.
        device: where a model in a folder runs.
        root: folder that relative paths start from; default the working directory.
        batch_size: largest number of rows that go through an encoder together.
        on_bad_item: "fail" at a row that cannot be read, or "skip" it.
        cache: where features are looked up and kept; None encodes everything.
        max_megapixels: refuse larger images; default as of `proxyhash.data.images`.
        manifest: what errors call the rows' origin; they name `row` and `id` where a batch has
            such columns.
        items: number of rows of the whole manifest, for models of precomputed features: these are
            found by the columns `position`, counted from 0, and `id`.
        fingerprint: of the model that is expected in the folder; default any.

    Example, on a Ray cluster::

        images = ray.data.read_parquet("photos/")  # columns: id, image (bytes or paths)
        codes = images.map_batches(
            Encode, fn_constructor_args=["runs/f64"], batch_size=1024, concurrency=8
        )
    """

    def __init__(
        self,
        model: Any,
        *,
        device: str = "cpu",
        root: Any = "",
        batch_size: int = 64,
        on_bad_item: str = "fail",
        cache: FeatureCache | None = None,
        max_megapixels: float | None = None,
        manifest: str = "the batch",
        items: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self._given, self._device, self._fingerprint = model, device, fingerprint
        self._root, self._manifest, self._items = Path(root), manifest, items
        self._batch_size, self._cache = batch_size, cache
        self._on_bad_item = check_option("on_bad_item", on_bad_item, ("fail", "skip"))
        self._limits = ImageLimits.of_megapixels(max_megapixels)

    @cached_property
    def model(self) -> HashModel:
        """The model, loaded on first use.

        Raises:
            ModelError: there is none in the folder, or another than expected.
        """
        if isinstance(self._given, HashModel):
            return self._given
        model = HashModel.load(model_folder(self._given), device=self._device)
        if self._fingerprint not in (None, model.fingerprint):
            raise ModelError(
                f"{self._given} holds another model here than where the work was started; give "
                "all machines the same folder"
            )
        return model

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """Return the batch with codes in place of what they were made from.

        Raises:
            UsageError: the batch has no column of the model, or columns of different lengths.
            SourceError: a row cannot be read; names it.
            DataError: a text is not a string, or features are not finite.
            ModelError: as `model`.
        """
        found: list[dict[str, Any]] = []

        def steps() -> Generator[None, None, None]:
            found.append((yield from self.steps(batch)))

        deque(steps(), maxlen=0)
        return found[0]

    def steps(self, batch: Batch) -> Generator[None, None, dict[str, Any]]:
        """Yield once per source that is encoded, and return the batch as `__call__` does."""
        model = self.model
        count = _length(batch, model.modalities)
        columns = {name: batch[name] for name in batch if name not in model.modalities}
        features = {}
        with image_limits(self._limits):
            for modality in model.modalities:
                given = batch[modality] if modality in batch else [None] * count
                features[modality] = yield from self._features(modality, given, batch)
        ids = tuple(map(str, range(count)))  # those of a batch need not be unique
        codes = model.encode_prepared(ids, features)
        for name in model.modalities:
            columns[f"{name}_codes"] = codes.of(name)
            columns[f"has_{name}"] = codes.has(name)
            if self._on_bad_item == "skip":
                columns[f"unreadable_{name}"] = codes.missed(name)
        return columns

    def _features(
        self, modality: Modality, given: Sequence[Any] | np.ndarray, batch: Batch
    ) -> Generator[None, None, Features]:
        encoder = self._encoder(modality)
        sources = [
            self._source(modality, value, batch, position) for position, value in enumerate(given)
        ]
        if isinstance(encoder, PrecomputedFeatures):
            return self._precomputed(encoder, sources, batch)
        return (
            yield from encode_steps(
                encoder,
                sources,
                place=lambda position: self._place(batch, position),
                cache=self._cache,
                batch_size=self._batch_size,
                on_bad_item=self._on_bad_item,
                steady=True,
            )
        )

    def _precomputed(
        self, encoder: PrecomputedFeatures, sources: Sequence[Any], batch: Batch
    ) -> Features:
        if self._items is None or "position" not in batch or "id" not in batch:
            raise UsageError(
                f"the model's {encoder.modality} features were computed beforehand, so they belong "
                "to a manifest as a whole; pass items=, and the columns position and id"
            )
        found = encoder.some_rows(
            [str(id_) for id_ in batch["id"]],
            np.asarray(batch["position"], dtype=np.int64),
            items=self._items,
            root=self._root,
        )
        named = np.array([source is not None for source in sources], dtype=np.bool_)
        return Features(found.values, found.present, ~found.present & named)

    def _encoder(self, modality: Modality) -> Encoder:
        encoder = self.model.encoder(modality)
        if encoder is None:
            raise UsageError(
                f"this model was saved without its {modality} encoder; pass features to "
                "encode_features of the model instead"
            )
        return encoder

    def _source(self, modality: Modality, value: Any, batch: Batch, position: int) -> Any:
        """Return a cell as an encoder takes it: a path, bytes, a text, or None for a missing one.

        A missing cell is None, blank, or the NaN of pandas.
        """
        missing = isinstance(value, float | np.floating) and math.isnan(value)
        if value is None or missing or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, bytes) and MODALITIES[modality].is_file:
            return value
        if isinstance(value, Path):
            value = str(value)
        if not isinstance(value, str):
            raise DataError(
                f"{self._place(batch, position)}: {modality} is {value!r:.40} (a Python "
                f"{type(value).__name__}); a string is expected"
                + (", or the bytes of a file" if MODALITIES[modality].is_file else "")
            )
        return self._root / value if MODALITIES[modality].is_file else str(value)

    def _place(self, batch: Batch, position: int) -> str:
        row = batch["row"][position] if "row" in batch else position
        id_ = f", item {str(batch['id'][position])!r}" if "id" in batch else ""
        return f"{self._manifest}, row {row}{id_}"


def _length(batch: Batch, modalities: Sequence[Modality]) -> int:
    if not any(name in batch for name in modalities):
        raise UsageError(
            f"the batch has the columns {', '.join(batch) or '(none)'}; the model takes "
            f"{' and '.join(modalities)}"
        )
    lengths = {name: len(batch[name]) for name in batch}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"the columns of the batch have different lengths: {lengths}")
    return next(iter(lengths.values()))
