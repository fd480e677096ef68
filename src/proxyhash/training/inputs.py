"""Inputs of encoders that learn: batches of pixels or tokens, prepared ahead of the steps."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image

from proxyhash.data import MODALITIES
from proxyhash.data.pixel_cache import PixelCache
from proxyhash.encoders.batches import encode_batches, worker_threads
from proxyhash.errors import SourceError
from proxyhash.progress import Track, silent
from proxyhash.training.pixels import TrainingImages, prefetched
from proxyhash.training.processes import SINGLE, Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from proxyhash.data import Collection
    from proxyhash.data.pixel_rows import PixelRows
    from proxyhash.encoders import TrainableEncoder
    from proxyhash.training.config import TrainConfig

__all__ = ["EncoderInputs", "PixelInputs", "SourceInputs", "encoder_inputs"]


_BATCH = 64
_PROBES = ((64, 64), (45, 80), (300, 260))  # width and height


class EncoderInputs(Protocol):
    """Inputs of an encoder for n items.

    Attributes:
        unreadable: which images cannot be read, bool (n,).
        as_evaluated: whether they are what evaluation gives to the encoder.
    """

    as_evaluated: bool

    @property
    def unreadable(self) -> NDArray[np.bool_]: ...  # noqa: D102 - documented above

    def close(self) -> None:
        """End what prepares them."""
        ...

    def batches(
        self, wanted: Sequence[Tensor], *, epoch: int
    ) -> Generator[dict[str, Tensor], None, None]:
        """Yield the inputs of the items at each of the positions, as `features` takes them.

        Args:
            wanted: Positions, (b,) int64 on the CPU each, none empty.
            epoch: The epoch, from 1, which decides what is random.
        """
        ...


class SourceInputs:
    """Inputs exactly as the encoder prepares them for evaluation: tokens, and whole images.

    The next batches are prepared in a thread while the encoder computes.

    Args:
        encoder: prepares the sources.
        sources: (n) one for each item; what items without the modality have is never looked at.
        name: what errors call the item at a position.

    Attributes:
        unreadable: which images `store` could not read, bool (n,).
    """

    as_evaluated = True

    def __init__(
        self,
        encoder: TrainableEncoder,
        sources: Sequence[Any],
        *,
        name: Callable[[int], str] = lambda position: f"row {position + 1}",
    ) -> None:
        self._encoder = encoder
        self._sources = sources
        self._name = name
        self._rows: PixelRows | None = None
        self.unreadable = np.zeros(len(sources), np.bool_)

    def __len__(self) -> int:
        return len(self._sources)

    def store(self, cache: PixelCache, *, track: Track = silent, on_bad_item: str = "fail") -> None:
        """Prepare images once and read them from the cache from now on.

        Nothing is done where `prepare` does not give uint8 arrays of one shape.

        Args:
            cache: what does not fit it is prepared whenever it is read.
            track: told of every image.
            on_bad_item: "fail" or "skip", see `PixelCache.rows`.

        Raises:
            ImageError: an image cannot be read; names it.
        """
        shape = _stored_shape(self._encoder)
        if self._rows is not None or shape is None or cache.folder is None or not cache.max_bytes:
            return

        def decode(source: Any) -> tuple[NDArray[np.uint8], tuple[int, int]]:
            prepared = self._encoder.prepare(source)
            return prepared, prepared.shape[:2]

        self._rows = cache.rows(
            self._sources,
            recipe=self._encoder.recipe,
            shape=shape,
            decode=decode,
            workers=worker_threads(),
            track=track,
            on_bad_item=on_bad_item,
            name=self._name,
        )
        self.unreadable = self._rows.unreadable

    def read(self, positions: Iterable[int]) -> list[Any]:
        """Return the inputs of items as `prepare` returns them; safe to use in threads.

        Raises:
            SourceError: one of them cannot be read; names it.
        """
        return [self._input(int(position)) for position in positions]

    def encode(
        self, positions: NDArray[np.int64], processes: Processes = SINGLE, track: Track = silent
    ) -> Tensor:
        """Return the features of items as `encode` of the encoder does, zeros for others, (n, d).

        Each process encodes every so many batches. They are those of one process, and so are the
        features, to the last bit.
        """
        encoder = self._encoder
        size = min(_BATCH, encoder.max_batch)
        order = positions[encoder.order([self._sources[position] for position in positions])]
        own = [order[start : start + size] for start in range(0, len(order), size)]
        mine = np.concatenate([order[:0], *own[processes.rank :: processes.world]])
        values = np.zeros((len(self), encoder.dim), dtype=np.float32)
        rows: Iterator[tuple[int, NDArray[np.float32]]] = encode_batches(
            lambda batch: encoder.embed(self.read(batch)), mine, batch_size=size
        )
        plural = MODALITIES[encoder.modality].plural
        for position, row in track(rows, f"encoding {plural}", len(mine)):
            values[position] = row
        return processes.sum(torch.from_numpy(values))

    def _input(self, position: int) -> Any:
        if self._rows is not None and self._rows.stored[position]:
            return self._rows.read(np.array([position])).pixels[0]
        try:
            return self._encoder.prepare(self._sources[position])
        except SourceError as error:
            raise type(error)(f"{self._name(position)}: {error}") from error

    def close(self) -> None:
        """Do nothing: no processes prepare these inputs."""

    def batches(
        self,
        wanted: Sequence[Tensor],
        *,
        epoch: int,  # noqa: ARG002 - nothing is random
    ) -> Generator[dict[str, Tensor], None, None]:
        """Yield the inputs of the items at each of the positions."""
        with closing(prefetched(self._prepared(items) for items in wanted)) as ready:
            yield from ready

    def _prepared(self, items: Tensor) -> dict[str, Tensor]:
        return self._encoder.tensors(self.read(items.tolist()))


def _stored_shape(encoder: TrainableEncoder) -> tuple[int, ...] | None:
    """Return the shape of what an encoder makes of any image; None where there is not one."""
    if encoder.modality != "image" or not encoder.recipe:
        return None
    found = [np.asarray(encoder.prepare(Image.new("RGB", size))) for size in _PROBES]
    kinds = {(each.shape, each.dtype) for each in found}
    return found[0].shape if len(kinds) == 1 and found[0].dtype == np.uint8 else None


class PixelInputs:
    """Images of one size, decoded once into a cache on disk, and augmented on the device.

    Args:
        encoder: of images.
        images: of all items.

    Raises:
        ModelError: the encoder does not take images of this size.
    """

    as_evaluated = False

    def __init__(self, encoder: TrainableEncoder, images: TrainingImages) -> None:
        self._encoder = encoder
        self._images = images
        with torch.no_grad():  # so that this is said before the first epoch
            blank = torch.zeros(1, 3, images.size, images.size, device=images.device)
            encoder.features({"pixels": encoder.normalized(blank)})

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """Mask of images that cannot be read, bool (n,)."""
        return self._images.rows.unreadable

    def close(self) -> None:
        """End the processes that decode."""
        self._images.close()

    def batches(
        self, wanted: Sequence[Tensor], *, epoch: int
    ) -> Generator[dict[str, Tensor], None, None]:
        """Yield the inputs of the items at each of the positions."""
        steps = [items.numpy() for items in wanted]
        with closing(self._images.batches(steps, epoch=epoch)) as batches:
            for images in batches:
                yield {"pixels": self._encoder.normalized(images)}


def encoder_inputs(
    encoder: TrainableEncoder,
    collection: Collection,
    positions: NDArray[np.int64],
    present: NDArray[np.bool_],
    *,
    config: TrainConfig,
    learning: bool,
    evaluated: bool,
    track: Track = silent,
) -> tuple[SourceInputs, EncoderInputs | None]:
    """Return the inputs of evaluation, and those that an encoder learns from.

    Images that are learned from go through the pixel cache and are augmented. Without augmentation
    and with the encoder's own size they are those of evaluation, like all that is not an image.

    Args:
        encoder: The encoder.
        collection: The collection.
        positions: (n,) which of its items.
        present: (n,) which of them have the modality.
        config: The run's configuration.
        learning: Whether the encoder learns from them; else there is nothing to learn from.
        evaluated: Whether their features are asked for again and again.
        track: Reports progress per decoded image.

    Raises:
        ImageError: an image cannot be read; "MANIFEST, row 12, item 'a': PATH: no such file".
        ModelError: the encoder does not take images of `image_size`.
    """
    given = collection.sources(encoder.modality)
    sources = [given[p] if has else None for p, has in zip(positions, present, strict=True)]
    cache = PixelCache(max_bytes=int(config.pixel_cache_gb * 2**30))

    def name(row: int) -> str:
        item = collection.items[positions[row]]
        return f"{collection.path}, row {item.row}, item {item.id!r}"

    plain = SourceInputs(encoder, sources, name=name)
    found: EncoderInputs | None = None
    changed = bool(config.augment) or config.image_size is not None
    if learning and changed and encoder.modality == "image":
        images = TrainingImages(
            sources,
            size=config.image_size or max(encoder.image_size),
            device=encoder.device,
            seed=config.seed,
            kinds=config.augment,
            crop_min=config.crop_min,
            cache=cache,
            workers=config.workers,
            track=track,
            on_bad_item=config.on_bad_item,
            name=name,
        )
        found = PixelInputs(encoder, images)
    elif learning:
        found = plain
    if evaluated or found is plain:
        plain.store(cache, track=track, on_bad_item=config.on_bad_item)
    return plain, found
