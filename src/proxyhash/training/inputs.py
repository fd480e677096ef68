"""Inputs of encoders that learn: batches of pixels or tokens, prepared ahead of the steps."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import torch

from proxyhash.data.pixel_cache import PixelCache
from proxyhash.encoders import TransformersImageEncoder
from proxyhash.progress import Track, silent
from proxyhash.training.pixels import TrainingImages, prefetched

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from proxyhash.encoders import TrainableEncoder
    from proxyhash.training.config import TrainConfig

__all__ = ["EncoderInputs", "PixelInputs", "SourceInputs", "encoder_inputs"]


class EncoderInputs(Protocol):
    """Inputs of an encoder for n items."""

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
    """

    def __init__(self, encoder: TrainableEncoder, sources: Sequence[Any]) -> None:
        self._encoder = encoder
        self._sources = sources

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
        encoder = self._encoder
        return encoder.tensors([encoder.prepare(self._sources[item]) for item in items.tolist()])


class PixelInputs:
    """Images of one size, decoded once into a cache on disk, and augmented on the device.

    Args:
        encoder: of images.
        images: of all items.

    Raises:
        ModelError: the encoder does not take images of this size.
    """

    def __init__(self, encoder: TrainableEncoder, images: TrainingImages) -> None:
        self._encoder = encoder
        self._images = images
        with torch.no_grad():  # so that this is said before the first epoch
            blank = torch.zeros(1, 3, images.size, images.size, device=images.device)
            encoder.features({"pixels": encoder.normalized(blank)})

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
    sources: Sequence[Any],
    config: TrainConfig,
    *,
    track: Track = silent,
) -> EncoderInputs:
    """Return the inputs that an encoder learns from.

    Images go through the pixel cache and are augmented. Without augmentation and with the encoder's
    own size they are prepared as for evaluation, like everything that is not an image.

    Args:
        encoder: The encoder.
        sources: (n) as `prepare` takes them; None where an item has none.
        config: The run's configuration.
        track: Reports progress per decoded image.

    Raises:
        ImageError: an image cannot be read; names it.
        ModelError: the encoder does not take images of `image_size`.
    """
    if not isinstance(encoder, TransformersImageEncoder):
        return SourceInputs(encoder, sources)
    if not config.augment and config.image_size is None:
        return SourceInputs(encoder, sources)
    images = TrainingImages(
        sources,
        size=config.image_size or max(encoder.image_size),
        device=encoder.device,
        seed=config.seed,
        kinds=config.augment,
        crop_min=config.crop_min,
        cache=PixelCache(max_bytes=int(config.pixel_cache_gb * 2**30)),
        workers=config.workers,
        track=track,
        on_bad_item=config.on_bad_item,
        name=lambda position: f"training item {position + 1}",
    )
    return PixelInputs(encoder, images)
