"""Building an index from a trained run and a manifest, and adding items to one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.images import remember_images
from proxyhash.catalog.ingest import BATCH, IndexReport, ingest_collection
from proxyhash.data import Collection, Split, read_collection
from proxyhash.data.images import ImageLimits, image_limits
from proxyhash.encoders import FeatureCache
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.errors import ModelError, UsageError
from proxyhash.hashing import model_folder
from proxyhash.index.open import open_index, scheme_of
from proxyhash.index.store import Store
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.hashing import HashModel

__all__ = ["add_to_index", "build_index"]


def build_index(
    run: Path,
    manifest: Path,
    folder: Path,
    *,
    gallery_only: bool = False,
    thumbnails: bool = False,
    copy_model: bool = True,
    device: str = "cpu",
    on_bad_item: str = "fail",
    max_megapixels: float | None = None,
    track: Track = silent,
) -> IndexReport:
    """Write a new index folder with the codes of a manifest's items.

    Args:
        run: run or model folder.
        manifest: the items.
        folder: of the index; must not exist, or be empty.
        gallery_only: leave out the queries of the run's split.
        thumbnails: keep small images in the index.
        copy_model: keep a copy of the model in the index, so that texts and images can ask
            even if the run is gone.
        device: where the model runs.
        on_bad_item: "fail" or "skip".
        max_megapixels: of an image; the index remembers it, and its service takes as much. Default
            250 for JPEG, which is decoded at a smaller size above 64, and 64 for other formats.
        track: progress callback.

    Raises:
        UsageError: the folder is taken.
        ModelError: there is no model.
        InterruptedRunError: Ctrl-C; says how to continue.
    """
    if (folder / "header.json").exists():
        raise UsageError(
            f"{folder} is already an index; `proxyhash index add {folder} {manifest}` adds to it, "
            "and continues an interrupted build"
        )
    source = model_folder(run)
    model = _load(source, device)
    collection = read_collection(manifest, on_bad_item=on_bad_item)
    if gallery_only:
        collection = _gallery(run, collection)
    with Store.create(
        folder, bits=model.bits, model=model.fingerprint, modalities=model.modalities
    ) as store:
        extras = Catalog(folder)
        if copy_model:
            extras.put_model(source)
        with image_limits(remember_images(folder, collection, max_megapixels)):
            return ingest_collection(
                store,
                model,
                collection,
                thumbnails=extras.make_thumbnails() if thumbnails else None,
                cache=FeatureCache(),
                on_bad_item=on_bad_item,
                track=track,
                batch=_batch(model, collection),
            )


def add_to_index(
    uri: str,
    manifest: Path,
    *,
    model: Path | None = None,
    thumbnails: bool = False,
    device: str = "cpu",
    on_bad_item: str = "fail",
    max_megapixels: float | None = None,
    track: Track = silent,
) -> IndexReport:
    """Add a manifest's items to an index, replacing items with the same ids.

    Args:
        uri: index folder or address.
        manifest: the items.
        model: run or model folder; default the copy in the index, which gets one if it has none.
        thumbnails: keep small images; always where the index has some already.
        device: where the model runs.
        on_bad_item: "fail" or "skip".
        max_megapixels: of an image; default as the index was built.
        track: progress callback.

    Raises:
        UsageError: the index has no model, and none was given; or it cannot store
            thumbnails.
        ModelError: the model is not the one that made the codes of the index.
        InterruptedRunError: Ctrl-C; says how to continue.
    """
    folder = Catalog.at(uri)
    if thumbnails and folder is None and scheme_of(uri) != "file":
        raise UsageError(f"{uri} is not an index folder, so it cannot store thumbnails")
    with closing(open_index(uri, write=True)) as index:
        source = model or (folder.model if folder else None)
        if source is None:
            raise UsageError(f"{uri} has no model; give one with --model RUN")
        collection = read_collection(manifest, on_bad_item=on_bad_item)
        hash_model = _load(model_folder(source), device)
        if index.model not in ("", hash_model.fingerprint) or index.bits != hash_model.bits:
            raise ModelError(
                f"{source} is not the model that made the codes of {uri}; add with the model that "
                "the index was built with, or build another index"
            )
        if folder is not None and folder.model is None:
            folder.put_model(model_folder(source))
        stored = folder.thumbnails if folder else None
        if thumbnails and folder is not None:
            stored = folder.make_thumbnails()
        limits = (
            ImageLimits.of_megapixels(max_megapixels)
            if folder is None
            else remember_images(folder.path, collection, max_megapixels)
        )
        with image_limits(limits):
            return ingest_collection(
                index,
                hash_model,
                collection,
                thumbnails=stored,
                cache=FeatureCache(),
                on_bad_item=on_bad_item,
                track=track,
                batch=_batch(hash_model, collection),
            )


def _load(folder: Path, device: str) -> HashModel:
    from proxyhash.hashing import HashModel

    return HashModel.load(folder, device=device)


def _batch(model: HashModel, collection: Collection) -> int:
    """Precomputed features belong to a manifest as a whole, so all of it is one batch."""
    encoders = (model.encoder(modality) for modality in model.modalities)
    precomputed = any(isinstance(encoder, PrecomputedFeatures) for encoder in encoders)
    return len(collection) if precomputed else BATCH


def _gallery(run: Path, collection: Collection) -> Collection:
    path = run / "split.json"
    if not path.is_file():
        raise ModelError(f"{run} has no split.json, so it has no gallery; give a run folder")
    split = Split.load(path, collection)
    return Collection.of(
        collection.path, (collection.items[row] for row in np.sort(split.gallery).tolist())
    )
