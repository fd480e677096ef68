"""Encoders that give token vectors of an item beside its pooled features.

Features of an item are 1 + count vectors of one width, one after another: the features that the
encoder without tokens gives, then the tokens. Where there are fewer, the last vectors are zero.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from proxyhash.encoders.base import EncoderRequest, read_options, register_encoder
from proxyhash.encoders.known import known_spec
from proxyhash.encoders.pretrained import PretrainedEncoder, TransformersImageEncoder
from proxyhash.encoders.pretrained_text import TransformersTextEncoder
from proxyhash.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from proxyhash.encoders._backbone import Backbone
    from proxyhash.encoders.model_files import ModelFiles
    from proxyhash.encoders.pretrained import Tower

__all__ = ["TOKENS", "TokensImageEncoder", "TokensTextEncoder", "split_source"]

TOKENS = "tokens"
"""Name in specs, of the encoders of both modalities: "tokens:FOLDER_OR_HUB_ID,count=16"."""

_COUNT = 16
_MOST = 4096  # tokens of an item


class _TokensEncoder(PretrainedEncoder):
    """Base of both encoders.

    Attributes:
        count: token vectors of an item.
    """

    def __init__(
        self,
        backbone: Backbone,
        files: ModelFiles,
        folder: Path,
        *,
        count: int = _COUNT,
        **options: Any,
    ) -> None:
        self._check_count(count)
        self._check_model(backbone, folder)
        self.count = count
        super().__init__(backbone, files, folder, **options)

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Load the folder, hub id or known model that the request names; options: count.

        Raises:
            UsageError: there is no model, an option is unknown, or "tokens:count is 0; ...".
        """
        source, written = split_source(request.argument)
        options = read_options(TOKENS, written, {"count": _COUNT})
        cls._check_count(options["count"])
        if not source:
            raise UsageError(
                f"the encoder {TOKENS!r} has no model; write {TOKENS}:MODEL,count={_COUNT}, with "
                "a folder, a hub id or the short name of a known model"
            )
        if not Path(source).expanduser().is_dir():
            source = known_spec(source, request.modality) or source
        return cls.from_source(source, device=request.device, **options)

    @classmethod
    def options_in(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the count that the settings of a saved encoder have."""
        return {"count": settings["count"]}

    @property
    def width(self) -> int:
        """Number of values of one vector."""
        return self.dim // (1 + self.count)

    @property
    def tower(self) -> Tower | None:
        """None: rows of several vectors have no space with others."""
        return None

    @classmethod
    def _check_count(cls, count: object) -> None:
        if type(count) is not int or not 1 <= count <= _MOST:
            raise UsageError(
                f"{TOKENS}:count is {count!r:.40}; a number from 1 to {_MOST:,} is expected"
            )

    @classmethod
    def _check_model(cls, backbone: Backbone, folder: Path) -> None:
        from proxyhash.encoders._tokens import check_tokens

        check_tokens(backbone, folder)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"count": self.count}


@register_encoder
class TokensImageEncoder(_TokensEncoder, TransformersImageEncoder):
    """Pooled output of a vision model, and averages over the cells of a square grid, row by row.

    See `proxyhash.encoders._tokens.image_tokens`.
    """

    kind: ClassVar[str] = "tokens-image"

    @property
    def _forward(self) -> Callable[..., torch.Tensor]:
        from proxyhash.encoders._tokens import image_tokens

        return partial(image_tokens, count=self.count)

    @classmethod
    def _check_count(cls, count: object) -> None:
        super()._check_count(count)
        if isinstance(count, int) and math.isqrt(count) ** 2 != count:
            raise UsageError(
                f"{TOKENS}:count is {count}; the tokens of an image are those of a square grid: "
                "give a square number, such as 9, 16 or 25"
            )

    @classmethod
    def _fitting(cls, backbone: Backbone) -> type[Self]:  # noqa: ARG003 - one class for all
        return cls

    @classmethod
    def _check_model(cls, backbone: Backbone, folder: Path) -> None:
        from proxyhash.encoders._naflex import NaflexEncoder

        if NaflexEncoder.runs(backbone):
            raise ModelError(
                f"{folder}: a model for images of any shape (NaFlex) has patches in no one grid, "
                f"so it gives no tokens; leave out `{TOKENS}:`, or take a model of one image size"
            )
        super()._check_model(backbone, folder)


@register_encoder
class TokensTextEncoder(_TokensEncoder, TransformersTextEncoder):
    """Pooled output of a text model, and the vectors of the first tokens that are of the text.

    Tokens that the tokenizer adds (at the beginning, at the end and as padding) are left out, and
    those of a prompt where the model leaves them out of its mean. Only the pooled vector is
    normalized.
    """

    kind: ClassVar[str] = "tokens-text"

    def _pooled(self, output: Any, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        from proxyhash.encoders._backbone import POOLED
        from proxyhash.encoders._tokens import text_tokens

        pooled = super()._pooled(output, tokens)
        ids = tokens["input_ids"]
        special = torch.tensor(self._tokenizer.special_ids, device=ids.device)
        content = (ids[..., None] != special).all(dim=-1)
        for name in ("attention_mask", POOLED):
            if name in tokens:
                content = content & (tokens[name] > 0)
        vectors = text_tokens(
            self._backbone, output, content, count=self.count, dense=self._recipe.dense
        )
        return torch.cat([pooled[:, None], vectors], dim=1).flatten(1)


def split_source(argument: str) -> tuple[str, str]:
    """Return the model and the options of "MODEL,count=16"; a folder's name may have commas."""
    parts = argument.split(",")
    for end in range(len(parts), 0, -1):
        source = ",".join(parts[:end])
        if source and Path(source).expanduser().is_dir():
            return source, ",".join(parts[end:])
    return parts[0].strip(), ",".join(parts[1:])
