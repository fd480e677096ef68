"""The training images of a run: their pixels from the cache, prefetched and augmented."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import torch

from proxyhash.data.decoders import processor_cores
from proxyhash.data.pixel_cache import PixelCache
from proxyhash.data.pixel_decoding import SquashedImages
from proxyhash.progress import Track, silent
from proxyhash.training.augment import CROP_MIN, augment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from proxyhash.data.pixel_rows import PixelRows

__all__ = ["TrainingImages", "prefetched", "stored_side"]

T = TypeVar("T")

_MANY = 64  # images from which on processes decode them
_MOST_WORKERS = 8
_AHEAD = 2  # batches that wait for the loop at most


def stored_side(size: int) -> int:
    """Return the width and height of stored images for training images of `size`: 8/7 of it."""
    return -(-8 * size // 7)


class TrainingImages:
    """Augmented images of a run, batch by batch; a context manager, which ends its processes.

    Args:
        sources: paths of image files; None where an item has none.
        size: width and height of a training image.
        device: where they go.
        seed: of the run.
        kinds: of augmentation, see `augment`.
        crop_min: least area of a crop.
        cache: where the pixels are stored; default that of the user.
        workers: processes that decode; default one per core, at most 8, for 64 images or more, and
            0, none, for fewer.
        track: told of every image.
        on_bad_item: "fail" or "skip", see `PixelCache.rows`.
        name: what errors call the row at a position.

    Attributes:
        rows: the stored images.
    """

    def __init__(
        self,
        sources: Sequence[Path | None],
        *,
        size: int,
        device: torch.device | str,
        seed: int,
        kinds: Sequence[str] = ("crop", "flip", "color"),
        crop_min: float = CROP_MIN,
        cache: PixelCache | None = None,
        workers: int | None = None,
        track: Track = silent,
        on_bad_item: str = "fail",
        name: Callable[[int], str] = lambda position: f"row {position + 1}",
    ) -> None:
        self.size, self.device, self.seed = size, torch.device(device), seed
        self.kinds, self.crop_min = tuple(kinds), crop_min
        if workers is None:
            workers = min(_MOST_WORKERS, processor_cores()) if len(sources) >= _MANY else 0
        self._decode = SquashedImages(stored_side(size), workers=workers)
        try:
            self.rows: PixelRows = (cache or PixelCache()).rows(
                sources,
                recipe=self._decode.recipe,
                shape=self._decode.shape,
                decode=self._decode,
                workers=workers,
                track=track,
                on_bad_item=on_bad_item,
                name=name,
            )
        finally:
            self._decode.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.rows)

    def close(self) -> None:
        """End the processes that decode what is not in the cache."""
        self._decode.close()

    def batch(self, positions: NDArray[np.int64], *, epoch: int) -> Tensor:
        """Return augmented images, float32 (b, 3, size, size) in 0..255, on the device."""
        return self._augmented(positions, *self._gathered(positions), epoch=epoch)

    def batches(
        self, steps: Iterable[NDArray[np.int64]], *, epoch: int
    ) -> Generator[Tensor, None, None]:
        """Yield the augmented images of each step; the next ones are read in a thread meanwhile.

        Close it (`contextlib.closing`) where it is not read to the end.
        """

        def gathered() -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
            for positions in steps:
                yield positions, *self._gathered(positions)

        with closing(prefetched(gathered())) as ready:
            for each in ready:
                yield self._augmented(*each, epoch=epoch)

    def _gathered(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the pixels on the device, and the aspects."""
        pixels, sizes = self.rows.read(positions)
        aspect = torch.from_numpy(sizes[:, 0] / sizes[:, 1])
        return torch.from_numpy(pixels).to(self.device), aspect

    def _augmented(
        self, positions: NDArray[np.int64], pixels: Tensor, aspect: Tensor, *, epoch: int
    ) -> Tensor:
        return augment(
            pixels,
            aspect,
            torch.from_numpy(np.asarray(positions, np.int64)),
            epoch=epoch,
            seed=self.seed,
            size=self.size,
            kinds=self.kinds,
            crop_min=self.crop_min,
        )


def prefetched(steps: Iterable[T], *, ahead: int = _AHEAD) -> Generator[T, None, None]:
    """Yield what `steps` yields, which runs in a thread, at most `ahead` results in advance.

    An error in the thread is raised here, after what came before it. Closing this, or an error in
    the block that reads it, ends the thread at its next result.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()
    room, stopped = threading.Semaphore(ahead), threading.Event()

    def run() -> None:
        try:
            waiting = iter(steps)
            while room.acquire() and not stopped.is_set():
                ready.put((next(waiting), None))
        except BaseException as error:  # raised by whoever reads
            ready.put((None, error))
        finally:
            if isinstance(steps, Generator):
                steps.close()

    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            value, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        room.release()
        thread.join()
