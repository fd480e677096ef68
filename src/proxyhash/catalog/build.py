"""Building an index from a trained run and a manifest, and adding items to one."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.images import remember_images
from proxyhash.catalog.ingest import IndexReport, ingest_collection
from proxyhash.catalog.manifests import remember_manifest
from proxyhash.data import Collection, Split, read_collection
from proxyhash.data.images import ImageLimits, image_limits
from proxyhash.data.run_data import read_run_config
from proxyhash.encoders import FeatureCache
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.errors import DataError, ModelError, UsageError, closest
from proxyhash.hashing import model_folder
from proxyhash.index.open import open_index, scheme_of
from proxyhash.index.store import Store
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from proxyhash.codes.vectors import VectorKind
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index

__all__ = ["add_to_index", "adding", "build_index", "needs_all", "warn_of_unlearned"]

logger = logging.getLogger(__name__)

_NAMED = 5  # labels that the warning names; the rest are counted


def build_index(
    run: Path,
    manifest: Path,
    folder: Path,
    *,
    gallery_only: bool = False,
    thumbnails: bool | None = None,
    copy_model: bool = True,
    keep_vectors: VectorKind | None = None,
    device: str = "cpu",
    on_bad_item: str = "fail",
    max_megapixels: float | None = None,
    label_separator: str | None = None,
    words: bool = True,
    track: Track = silent,
) -> IndexReport:
    """Write a new index folder with the codes of a manifest's items.

    Args:
        run: run or model folder.
        manifest: the items.
        folder: of the index; must not exist, or be empty.
        gallery_only: leave out the queries of the run's split.
        thumbnails: keep small images in the index; default where the items have images.
        copy_model: keep a copy of the model in the index, so that texts and images can ask
            even if the run is gone.
        keep_vectors: store the network's outputs as well, "int8" in a byte per bit or "float" in
            four, so that a search can rank by them; default codes alone.
        device: where the model runs.
        on_bad_item: "fail" or "skip".
        max_megapixels: of an image; the index remembers it, and its service takes as much. Default
            250 for JPEG, which is decoded at a smaller size above 64, and 64 for other formats.
        label_separator: as of `read_collection`; by default that of the run.
        words: also make a word index of the payloads, so that texts find items by their words.
        track: progress callback.

    Raises:
        UsageError: the folder is taken.
        ModelError: there is no model.
        FeatureError: precomputed features do not belong to the manifest.
        DataError: an item cannot be read. Where that is before any is stored, the folder is removed
            again, as it is where the disk is full.
        InterruptedRunError: Ctrl-C; says how to continue.
    """
    if (folder / "header.json").exists():
        raise UsageError(
            f"{folder} is already an index; `proxyhash index add {folder} {manifest}` adds to it, "
            "and continues an interrupted build"
        )
    source = model_folder(run)
    model = _load(source, device)
    if label_separator is None and (run / "config.json").is_file():
        label_separator = read_run_config(run).get("label_separator")
    collection = read_collection(manifest, on_bad_item=on_bad_item, label_separator=label_separator)
    warn_of_unlearned(model.classes, collection)
    if gallery_only:
        collection = _gallery(run, collection)
    model.check_features(collection)
    if thumbnails is None:
        thumbnails = bool(collection.has("image").any())
    with _new_store(folder, model, keep_vectors=keep_vectors) as store:
        extras = Catalog(folder)
        if words:
            store.fill_words()  # it takes in what is stored
        if copy_model:
            extras.put_model(source)
        remember_manifest(folder, collection)
        with image_limits(remember_images(folder, collection, max_megapixels)):
            return ingest_collection(
                store,
                model,
                collection,
                thumbnails=extras.make_thumbnails() if thumbnails else None,
                keys=extras.keys,
                cache=FeatureCache(),
                on_bad_item=on_bad_item,
                track=track,
            )


@contextmanager
def _new_store(
    folder: Path, model: HashModel, *, keep_vectors: VectorKind | None
) -> Iterator[Store]:
    """Yield a new store; one that an item or a full disk leaves without items is removed."""
    empty = False
    try:
        with Store.create(
            folder,
            bits=model.bits,
            model=model.fingerprint,
            modalities=model.modalities,
            keep_vectors=keep_vectors,
        ) as store:
            try:
                yield store
            except (DataError, OSError):
                empty = not len(store)
                raise
    finally:
        if empty:
            shutil.rmtree(folder, ignore_errors=True)  # such as a link, whose target stays


def add_to_index(
    uri: str,
    manifest: Path,
    *,
    model: Path | None = None,
    thumbnails: bool | None = None,
    device: str = "cpu",
    on_bad_item: str = "fail",
    max_megapixels: float | None = None,
    label_separator: str | None = None,
    track: Track = silent,
) -> IndexReport:
    """Add a manifest's items to an index, replacing items with the same ids.

    Args:
        uri: index folder or address.
        manifest: the items.
        model: run or model folder; default the copy in the index, which gets one if it has none.
        thumbnails: keep small images; default where the index has some, or had no images yet.
            With False, the thumbnails of images that changed are removed.
        device: where the model runs.
        on_bad_item: "fail" or "skip".
        max_megapixels: of an image; default as the index was built.
        label_separator: as of `read_collection`.
        track: progress callback.

    Raises:
        UsageError: the index has no model, and none was given; or it cannot store
            thumbnails.
        ModelError: the model is not the one that made the codes of the index.
        InterruptedRunError: Ctrl-C; says how to continue.
    """
    _check_thumbnails(uri, thumbnails)
    with closing(open_index(uri, write=True)) as index:
        collection = read_collection(
            manifest, on_bad_item=on_bad_item, label_separator=label_separator
        )
        with adding(
            index,
            uri,
            collection,
            model=model,
            thumbnails=thumbnails,
            device=device,
            on_bad_item=on_bad_item,
            max_megapixels=max_megapixels,
            track=track,
        ) as add:
            return add(collection)


@contextmanager
def adding(
    index: Index,
    uri: str,
    collection: Collection,
    *,
    model: Path | None,
    thumbnails: bool | None,
    device: str,
    on_bad_item: str,
    track: Track,
    max_megapixels: float | None = None,
) -> Iterator[Callable[[Collection], IndexReport]]:
    """Yield a function that adds some items of a collection to an index open for writing.

    It reports about the whole collection: the other items are unchanged.

    Raises:
        UsageError: as `add_to_index`.
        ModelError: as `add_to_index`.
    """
    _check_thumbnails(uri, thumbnails)
    folder = Catalog.at(uri)
    source = model or (folder.model if folder else None)
    if source is None:
        raise UsageError(f"{uri} has no model; give one with --model RUN")
    hash_model = _load(model_folder(source), device)
    if index.model not in ("", hash_model.fingerprint) or index.bits != hash_model.bits:
        raise ModelError(
            f"{source} is not the model that made the codes of {uri}; add with the model that "
            f"the index was built with, or `proxyhash index migrate {uri} {model or source}` "
            "encodes all of it with this one"
        )
    warn_of_unlearned(hash_model.classes, collection)
    if folder is not None and folder.model is None:
        folder.put_model(model_folder(source))
    stored = folder.thumbnails if folder else None
    wanted = thumbnails
    if wanted is None and stored is None:  # built without, unless there were no images yet
        first = "image" in index.modalities and index.count("image") == 0
        wanted = first and bool(collection.has("image").any())
    if wanted and folder is not None:
        stored = folder.make_thumbnails()
    whole = needs_all(hash_model)

    def add(items: Collection) -> IndexReport:
        if whole:
            items = collection
            hash_model.check_features(items)
        report = ingest_collection(
            index,
            hash_model,
            items,
            thumbnails=stored,
            new_thumbnails=thumbnails is not False,
            keys=folder.keys if folder else None,
            cache=FeatureCache(),
            on_bad_item=on_bad_item,
            track=track,
        )
        return report + IndexReport(unchanged=len(collection) - len(items))

    if folder is None:
        limits = ImageLimits.of_megapixels(max_megapixels)
    else:
        limits = remember_images(folder.path, collection, max_megapixels)
        remember_manifest(folder.path, collection)
    with image_limits(limits):
        yield add


def warn_of_unlearned(classes: Sequence[str], collection: Collection) -> None:
    """Log a warning about labels that a model was not trained on: only filters know them.

    A model without classes learned from pairs, and is not asked for any.
    """
    counts = Counter(label for item in collection.items for label in item.labels)
    unknown = [(label, count) for label, count in counts.most_common() if label not in {*classes}]
    if not classes or not unknown:
        return
    named = []
    for label, count in unknown[:_NAMED]:
        near = [f'"{name}"' for name in closest(label, classes)]
        hint = f", did you mean {' or '.join(near)}?" if near else ""
        named.append(f'"{label}" ({count:,} item{"s" if count > 1 else ""}{hint})')
    more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
    only = "is only a filter" if len(unknown) == 1 else "are only filters"
    logger.warning(
        "the model was trained on %d classes; %s%s %s until you train again",
        len(classes),
        ", ".join(named),
        more,
        only,
    )


def _check_thumbnails(uri: str, thumbnails: bool | None) -> None:
    if thumbnails and Catalog.at(uri) is None and scheme_of(uri) != "file":
        raise UsageError(f"{uri} is not an index folder, so it cannot store thumbnails")


def _load(folder: Path, device: str) -> HashModel:
    from proxyhash.hashing import HashModel

    return HashModel.load(folder, device=device)


def needs_all(model: HashModel) -> bool:
    """Whether all items go together: precomputed features belong to a manifest as a whole."""
    encoders = (model.encoder(modality) for modality in model.modalities)
    return any(isinstance(encoder, PrecomputedFeatures) for encoder in encoders)


def _gallery(run: Path, collection: Collection) -> Collection:
    path = run / "split.json"
    if not path.is_file():
        raise ModelError(f"{run} has no split.json, so it has no gallery; give a run folder")
    split = Split.load(path, collection)
    return Collection.of(
        collection.path, (collection.items[row] for row in np.sort(split.gallery).tolist())
    )
