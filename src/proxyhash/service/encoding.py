"""The model's two micro-batchers: texts and images in, codes out.

Images take a core a batch, as many batches at once as there are cores: all are busy as long as
images wait, while a batch on all cores waits for the slowest before the next begins. Texts take
so little that one thread is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.data.images import check_image
from proxyhash.encoders.batches import use_one_torch_thread, worker_threads
from proxyhash.errors import UsageError
from proxyhash.service.batching import MicroBatcher
from proxyhash.service.errors import ApiError, refusing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.encoders import Encoder
    from proxyhash.hashing import HashModel
    from proxyhash.service.metrics import Metrics
    from proxyhash.service.settings import Limits

__all__ = ["Encoded", "Encoding", "known_code"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """What became of one text or image.

    Attributes:
        code: packed code, uint8 (ceil(bits/8),).
        known: whether the encoder found anything in it; a bag of words may know none of the words,
            and then the code means nothing.
    """

    code: Codes
    known: bool


class Encoding:
    """Encodes what requests bring, together with what others bring at the same moment.

    Args:
        model: makes the codes; None where the index carries no model.
        limits: of the service.
        metrics: told the sizes of batches.
    """

    def __init__(self, model: HashModel | None, *, limits: Limits, metrics: Metrics) -> None:
        self._model = model
        self._limits = limits
        self._texts: MicroBatcher[str, Encoded] = MicroBatcher(
            self._encode_texts,
            name="texts",
            most=limits.encode_batch,
            waiting=limits.waiting,
            observe=metrics.encode_batch.labels("text").observe,
        )
        self._images: MicroBatcher[bytes, Encoded] = MicroBatcher(
            self._encode_images,
            name="images",
            most=limits.encode_batch,
            waiting=limits.waiting,
            workers=worker_threads(),
            prepare=use_one_torch_thread,
            observe=metrics.encode_batch.labels("image").observe,
        )

    @property
    def waiting(self) -> dict[str, int]:
        """How many texts and images wait."""
        return {"text": self._texts.waiting, "image": self._images.waiting}

    def kind(self, modality: Modality) -> str | None:
        """Return the name of an encoder, None where there is none."""
        encoder = self._encoder(modality)
        return None if encoder is None else encoder.kind

    async def text(self, text: str) -> Encoded:
        """Return the code of a text.

        Raises:
            ApiError: 422, the text is empty or too long, or there is no text encoder; 503, too many
                wait.
        """
        text = " ".join(text.split())
        if not text:
            raise ApiError(422, "invalid_request", "the text is empty; write some words")
        if len(text) > self._limits.text:
            raise ApiError(
                422,
                "invalid_request",
                f"the text has {len(text)} characters; {self._limits.text} are the most",
            )
        self._need("text")
        return await self._texts.submit(text)

    async def image(self, content: bytes) -> Encoded:
        """Return the code of an image file's bytes.

        Raises:
            ApiError: 422, it is no image, too large, or there is no image encoder; 503, too many
                wait.
        """
        self._need("image")
        with refusing():
            check_image(content, max_pixels=self._limits.pixels)
            return await self._images.submit(content)

    async def close(self) -> None:
        """Finish what waits."""
        await self._texts.close()
        await self._images.close()

    def warm_up(self) -> None:
        """Load the encoders and encode something, so that the first request need not wait."""
        if self._model is None:
            return
        if self._has("text"):
            self._encode_texts(["warm up"])
        if self._has("image"):
            self._encode_images([_SMALL_IMAGE])

    def _need(self, modality: Modality) -> None:
        if not self._has(modality):
            raise ApiError(
                422,
                "no_encoder",
                f"this service has no {modality} encoder; GET /v1/info says what it has",
            )

    def _has(self, modality: Modality) -> bool:
        return self._encoder(modality) is not None

    def _encoder(self, modality: Modality) -> Encoder | None:
        return None if self._model is None else self._model.encoder(modality)

    def _encode_texts(self, texts: Sequence[str]) -> list[Encoded]:
        assert self._model is not None
        encoder = self._model.encoder("text")
        assert encoder is not None
        features = encoder.encode(texts)
        codes = self._model.encode_features(features, modality="text")
        return [Encoded(code, bool(row.any())) for code, row in zip(codes, features, strict=True)]

    def _encode_images(self, images: Sequence[bytes]) -> list[Encoded]:
        assert self._model is not None
        return [Encoded(code, known=True) for code in self._model.encode_images(images)]


def known_code(encoded: Encoded, text: str) -> Codes:
    """Return the code of a text that the model knows a word of.

    Raises:
        ApiError: 422, it knows none.
    """
    if not encoded.known:
        with refusing():
            raise UsageError(
                f"the model knows no word of {text!r:.80}, so its code would mean nothing; try "
                "words that the texts of its train items use"
            )
    return encoded.code


# A PPM of one gray pixel.
_SMALL_IMAGE = b"P6 1 1 255\n\x80\x80\x80"
