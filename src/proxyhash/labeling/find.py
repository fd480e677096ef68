"""Find classes: the features that it takes, and the way that fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.draw import counted
from proxyhash.encoders import TrainableEncoder, encode_collection, make_encoder
from proxyhash.encoders.known import find_known_model
from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.labeling.clusters import classes_of_images, classes_of_texts
from proxyhash.labeling.names import TEMPLATES, ClassName, classes_of_names
from proxyhash.labeling.neighbors import MAX_LOOKED_AT
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from proxyhash.data import Collection, Modality, Split
    from proxyhash.encoders import Encoder, FeatureCache, Features
    from proxyhash.labeling.found import FoundClasses

__all__ = ["CLASSES", "WAYS", "Inputs", "SharedSpace", "find_classes", "read_inputs"]

WAYS = ("texts", "images", "names")
CLASSES = {"texts": 100, "images": 50}
"""Number of classes by default; at most one for every ten items."""

MIN_ITEMS = 10


@dataclass(frozen=True)
class SharedSpace:
    """A space of images and texts, as of CLIP and SigLIP.

    Attributes:
        scale: factor of cosines that the model learned.
        bias: their bias, of SigLIP; None of CLIP.
    """

    scale: float
    bias: float | None


@dataclass(frozen=True)
class Inputs:
    """A collection with the features that classes are found from.

    Attributes:
        collection: n items; their labels are not read.
        features: by modality, of all items.
        positions: the items that classes are learned from, sorted.
        embed: texts to features, float32 (m, d), where the text encoder was made for sentences.
        space: where images and texts have one space.
        notes: sentences about what was chosen.
        encoders: the specs of the encoders, by modality.
    """

    collection: Collection
    features: Mapping[Modality, Features]
    positions: NDArray[np.int64]
    embed: Callable[[Sequence[str]], NDArray[np.float32]] | None = None
    space: SharedSpace | None = None
    notes: tuple[str, ...] = ()
    encoders: Mapping[Modality, str] = field(default_factory=dict)

    @property
    def texts(self) -> list[str | None]:
        """The text of each item, or None."""
        return [None if each is None else str(each) for each in self.collection.sources("text")]

    def has(self, modality: Modality) -> NDArray[np.bool_]:
        """Return which items have features of a modality, (n,)."""
        if modality not in self.features:
            return np.zeros(len(self.collection), np.bool_)
        return self.features[modality].present


def read_inputs(
    collection: Collection,
    *,
    encoders: Mapping[Modality, str],
    split: Split | None = None,
    seed: int = 0,
    device: str = "cpu",
    cache: FeatureCache | None = None,
    on_bad_item: str = "fail",
    track: Track = silent,
) -> Inputs:
    """Encode a collection, through the cache.

    Args:
        collection: the items.
        encoders: specs by modality, as of `make_encoder`; a known model of this machine where one
            is missing, else "descriptor" and "bow". "none" leaves the modality out.
        split: classes are learned from its training and validation items alone; default from all.
        seed: of the draw of 20,000 items, where there are more.
        device: of the encoders.
        cache: where features are kept.
        on_bad_item: "fail" or "skip", see `encode_collection`.
        track: reports progress.

    Raises:
        UsageError: an encoder cannot be used.
        DataError: there are too few items, or one cannot be read.
    """
    positions = (
        np.arange(len(collection)) if split is None else np.union1d(split.train, split.validation)
    ).astype(np.int64)
    if len(positions) < MIN_ITEMS:
        raise DataError(
            f"{collection.path} has {counted(len(positions))} to learn from; at least {MIN_ITEMS} "
            "are needed to find classes"
        )
    if len(positions) > MAX_LOOKED_AT:
        drawn = np.random.default_rng(seed).choice(positions, MAX_LOOKED_AT, replace=False)
        positions = np.sort(drawn)
    features, made, notes, specs = {}, {}, [], {}
    for modality, fallback in (("text", "bow"), ("image", "descriptor")):
        spec = encoders.get(modality)
        if spec == "none" or not collection.has(modality).any():
            continue
        if spec is None:
            known = find_known_model(modality)
            spec = fallback if known is None else known[1]
            notes.append(f"{modality} encoder: {spec if known is None else known[0].hub_id}")
        specs[modality] = spec
        made[modality] = make_encoder(
            spec, modality=modality, collection=collection, train=positions, device=device
        )
        features[modality] = encode_collection(
            made[modality], collection, cache=cache, on_bad_item=on_bad_item, track=track
        )
    text = made.get("text")
    embed = text.encode if isinstance(text, TrainableEncoder) else None
    return Inputs(
        collection,
        features,
        positions,
        embed=embed,
        space=_space(made.get("image"), text),
        notes=tuple(notes),
        encoders=specs,
    )


def find_classes(
    inputs: Inputs,
    *,
    way: str | None = None,
    names: Sequence[ClassName] = (),
    classes: int | None = None,
    templates: Sequence[str] = TEMPLATES,
    neighbors: int = 20,
    seed: int = 0,
    track: Track = silent,
) -> FoundClasses:
    """Return classes of a collection, those with the most items first.

    Args:
        inputs: from `read_inputs`.
        way: "texts", "images" or "names"; by default names where any are given, else texts where
            half of the items have one, else images.
        names: for "names".
        classes: number of classes of "texts" (default 100) and "images" (50).
        templates: prompts around a name, for "names" in a shared space.
        neighbors: the neighbors of an item that are asked.
        seed: of everything drawn.
        track: reports progress.

    Raises:
        UsageError: an option cannot be used.
        DataError: there is too little to find classes in.
    """
    texts = inputs.has("text")
    if way is None:
        way = "names" if names else ("texts" if 2 * texts.sum() >= len(texts) else "images")
    check_option("--from", way, WAYS)
    if bool(names) != (way == "names"):
        raise UsageError(
            "--from names needs names; give --name or --names FILE"
            if way == "names"
            else f"names are for --from names; leave them out, or leave out --from {way}"
        )
    if way == "names":
        if classes is not None:
            raise UsageError("the number of classes is that of the names; leave out --classes")
        if inputs.space is None and not texts.any():
            raise DataError(
                f"{inputs.collection.path} has no texts, and its image encoder knows no words; "
                "give a model of images and texts as --image-encoder and --text-encoder, such as "
                "google/siglip-base-patch16-224"
            )
        return classes_of_names(
            inputs, names, templates=templates, neighbors=neighbors, track=track
        )
    if way == "texts" and not texts.any():
        raise DataError(f"{inputs.collection.path} has no texts; use --from images")
    wanted = min(classes or CLASSES[way], max(2, len(inputs.positions) // MIN_ITEMS))
    if way == "texts":
        return classes_of_texts(inputs, classes=wanted, seed=seed, neighbors=neighbors, track=track)
    return classes_of_images(inputs, classes=wanted, seed=seed, track=track)


def _space(image: Encoder | None, text: Encoder | None) -> SharedSpace | None:
    """Return the space that two encoders share: the towers of one model."""
    towers = [getattr(each, "tower", None) for each in (image, text)]
    if None in towers or towers[0] != towers[1]:
        return None
    assert towers[0] is not None
    return SharedSpace(scale=towers[0].scale, bias=towers[0].bias)
