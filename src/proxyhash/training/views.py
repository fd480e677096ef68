"""Random views of training images, encoded once: augmentation where an encoder does not learn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from PIL import Image

from proxyhash.data.images import open_squashed
from proxyhash.encoders import PrecomputedFeatures, TrainableEncoder, encode_collection
from proxyhash.errors import SourceError, UsageError
from proxyhash.progress import Track, silent
from proxyhash.training.augment import augment
from proxyhash.training.draws import uniform_draws

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from proxyhash.data import Collection
    from proxyhash.encoders import Encoder, FeatureCache, Features
    from proxyhash.methods import FeatureRows
    from proxyhash.training.config import TrainConfig

__all__ = ["ImageView", "ViewedFeatures", "encode_views"]

T = TypeVar("T")

_SIDE = 256  # of a view, in pixels, for encoders that do not say what they need


@dataclass(frozen=True)
class ImageView:
    """One random view of every image: part of it, mirrored, in other colors; see `augment`.

    What is random depends on the number of the view and the content of the file alone, so that a
    view is encoded once whatever the seed and the split of a run are.
    """

    number: int
    """1 for the first view."""
    side: int
    """Width and height in pixels, before the encoder's own preprocessing."""
    kinds: tuple[str, ...]
    """Kinds of augmentation."""
    crop_min: float
    """Least area of a crop."""

    @property
    def name(self) -> str:
        """Everything that decides how an image looks."""
        return json.dumps(["view 1", self.number, self.side, self.kinds, self.crop_min])

    def open(self, source: Path) -> Image.Image:
        """Return the view of an image file.

        Raises:
            ImageError: it cannot be read.
        """
        squashed = open_squashed(source, self.side * 3 // 2)
        width, height = squashed.info["size"]
        pixels = np.moveaxis(np.asarray(squashed), -1, 0)[None]
        changed = augment(
            torch.from_numpy(pixels.copy()),
            torch.tensor([width / height]),
            torch.tensor([_number(source)]),
            epoch=self.number,
            seed=0,
            size=self.side,
            kinds=self.kinds,
            crop_min=self.crop_min,
        )
        return Image.fromarray(changed[0].round().byte().permute(1, 2, 0).contiguous().numpy())


def _number(source: Path) -> int:
    """Return 63 bits of the SHA-256 of a file's content."""
    try:
        digest = hashlib.sha256(source.read_bytes()).digest()
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({error.strerror or error})") from error
    return int.from_bytes(digest[:8], "big") >> 1


def encode_views(
    encoder: Encoder,
    collection: Collection,
    positions: NDArray[np.int64],
    plain: Features,
    *,
    config: TrainConfig,
    cache: FeatureCache | None = None,
    track: Track = silent,
) -> NDArray[np.float32]:
    """Return the features of the views of some items' images, float32 (views, n, d).

    Args:
        encoder: Of images; it does not learn.
        collection: The items.
        positions: (n,) which of them.
        plain: Features of all items. Items without an image have no views; those whose file cannot
            be read by now have these, if the run skips such files.
        config: The run's configuration.
        cache: Where features are kept between runs.
        track: Reports progress per image.

    Raises:
        UsageError: the encoder reads features from a file, so there is nothing to change.
        ImageError: an image cannot be read; names it.
    """
    if isinstance(encoder, PrecomputedFeatures):
        raise UsageError(
            f"views is {config.views}, and the features of images come from a file, so there are "
            "no images to change; name an encoder with --image-encoder, or leave out --views"
        )
    side = _SIDE
    if isinstance(encoder, TrainableEncoder):
        side = 8 * max(encoder.image_size) // 7
    has = plain.present[positions]
    items = [collection.items[position] for position in positions[has]]
    some = replace(collection, items=tuple(items))
    found = np.repeat(plain.values[positions][None], config.views, axis=0)
    for number in range(1, config.views + 1):
        view = ImageView(number, side, config.augment, config.crop_min)
        features = encode_collection(
            encoder,
            some,
            view=view,
            cache=cache,
            track=_naming(track, f"view {number} of {config.views}"),
            on_bad_item=config.on_bad_item,
        )
        read = np.flatnonzero(has)[features.present]
        found[number - 1, read] = features.values[features.present]
    return found


def _naming(track: Track, view: str) -> Track:
    def tell(rows: Iterable[T], what: str, total: int | None = None, /) -> Iterator[T]:
        return track(rows, f"{what}, {view}", total)

    return tell


class ViewedFeatures:
    """Features of n images, and of their views, one of which a step learns from: see `FeatureRows`.

    What is read are the features of the images themselves. `learning` yields, for each item and
    epoch, those of the image or of one of its views, all equally likely.

    Args:
        plain: (n, d) features of the images.
        views: (v, n, d) those of their views, on the same device.
        seed: of the run.
    """

    def __init__(self, plain: FeatureRows, views: Tensor, *, seed: int) -> None:
        self._plain, self._views, self._seed = plain, views, seed
        self.shape, self.device = plain.shape, plain.device

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, rows: Any) -> Tensor:
        """Return the features of the images themselves."""
        return self._plain[rows]

    def learning(self, wanted: Sequence[Tensor], *, epoch: int) -> Iterator[Tensor]:
        """Yield the features of the items at each of the positions, (b, d)."""
        count = len(self._views) + 1
        for items in wanted:
            draws = uniform_draws(items.cpu().numpy(), 1, seed=self._seed, epoch=epoch)[:, 0]
            which = torch.from_numpy((draws * count).astype(np.int64) - 1).to(self.device)
            features = self._plain[items].clone()
            changed = which >= 0
            features[changed] = self._views[which[changed], items[changed]]
            yield features
