"""Inputs of encoders that learn: batches of pixels or tokens, prepared ahead of the steps."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from proxyhash.encoders import TrainableEncoder

__all__ = ["EncoderInputs", "SourceInputs"]

_THREADS, _AHEAD = 2, 4


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

    Batches are prepared by threads while the encoder computes, at most a few ahead.

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
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="inputs")
        waiting: deque[Future[dict[str, Tensor]]] = deque()
        try:
            for items in wanted:
                waiting.append(pool.submit(self._prepare, items.tolist()))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, items: Sequence[int]) -> dict[str, Tensor]:
        encoder = self._encoder
        return encoder.tensors([encoder.prepare(self._sources[item]) for item in items])
