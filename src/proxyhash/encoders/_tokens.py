"""Token vectors of a pretrained network beside its pooled features, of the same width.

Those of texts are the first ones; those of images are averages over the cells of a grid.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxyhash.encoders._backbone import dense_features, image_output, pooled_image
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.encoders._backbone import Backbone
    from proxyhash.encoders.recipe import Dense

__all__ = ["check_tokens", "first_tokens", "image_tokens", "text_tokens"]

_DUAL = ("clip", "siglip", "siglip2")
"""Models of images and texts that are known by what their pooled vector goes through."""


def check_tokens(backbone: Backbone, folder: Path) -> None:
    """Refuse a model of images and texts whose tokens cannot be brought into its space.

    Raises:
        ModelError: "FOLDER: tokens of a model of type 'align' ...".
    """
    kind = _kind(backbone)
    if backbone.pooling == "projection" and kind not in _DUAL:
        raise ModelError(
            f"{folder}: the way of the tokens of a model of type {kind!r} to the width of its "
            f"features is not known; only of models of type {', '.join(_DUAL)}, and of those of "
            "images alone or texts alone. Leave out `tokens:`, or take one of those"
        )


def image_tokens(
    backbone: Backbone, pixels: torch.Tensor, *, count: int, resized: bool = False
) -> torch.Tensor:
    """Return the pooled features and `count` token vectors of pixels (b, 3, h, w).

    The map of a convolutional network, or the patches of a transformer as the grid that they were,
    are averaged over side x side cells, as adaptive average pooling does, row by row. Of CLIP,
    each patch goes through the layer norm and the projection first, as the pooled vector does. Of
    SigLIP, the patches are those that its attention pooling reads, after the layer norm.

    Args:
        backbone: of a vision model, or of one with a vision tower.
        pixels: normalized.
        count: a square number.
        resized: as of `image_output`.

    Returns:
        The vectors of an item one after another, (b, (1 + count) * d).

    Raises:
        ValueError: the tokens do not form a grid, or are of another width than the pooled features.
    """
    output = image_output(backbone, pixels, resized=resized)
    pooled = pooled_image(backbone, output)
    cells, (rows, columns) = _cells(backbone, output.last_hidden_state, pixels)
    side = round(count**0.5)
    averages = torch.tensor(_averages(rows, columns, side)).to(cells)
    return _joined(pooled, averages @ _image_projected(backbone, cells))


def text_tokens(
    backbone: Backbone,
    output: Any,
    content: torch.Tensor,
    *,
    count: int,
    dense: Sequence[Dense] = (),
) -> torch.Tensor:
    """Return the first `count` token vectors of texts, float32 (b, count, d).

    They go through what the pooled vector goes through: Dense steps, and of CLIP and SigLIP the
    projection after the last layer norm, as in MITH's release (model/clip_model/model.py,
    `encode_text`).

    Args:
        backbone: of a text model, or of one with a text tower.
        output: of `text_output`.
        content: bool (b, length), which tokens are of the text.
        count: of an item with fewer, the last vectors are zero.
        dense: steps after the pooling.
    """
    vectors, given = first_tokens(output.last_hidden_state.float(), content, count=count)
    if backbone.pooling == "projection":
        module: Any = backbone.module
        head = module.text_projection if _kind(backbone) == "clip" else module.text_model.head
        vectors = head(vectors)
    vectors = dense_features(backbone, vectors.flatten(0, 1), dense).float()
    return vectors.reshape(-1, count, vectors.shape[1]) * given


def first_tokens(
    hidden: torch.Tensor, content: torch.Tensor, *, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first tokens of the content, (b, count, d), and 1 where there are any, 0 else.

    Args:
        hidden: (b, length, d).
        content: bool (b, length).
        count: of an item with fewer, the last vectors are zero.
    """
    places = content.long().cumsum(dim=1) * content
    wanted = torch.arange(1, count + 1, device=hidden.device)
    chosen = (places[:, None, :] == wanted[:, None]).to(hidden.dtype)  # a 1 per row at most
    return chosen @ hidden, chosen.sum(dim=2, keepdim=True)


def _cells(
    backbone: Backbone, hidden: torch.Tensor, pixels: torch.Tensor
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the vectors of an image's places, (b, rows * columns, d), and rows and columns."""
    if hidden.ndim == 4:
        rows, columns = map(int, hidden.shape[2:])
        return hidden.flatten(2).transpose(1, 2), (rows, columns)
    config: Any = backbone.module.config
    config = getattr(config, "vision_config", None) or config
    size = getattr(config, "patch_size", None)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if not height or not width:
        raise ValueError("the tokens of a model without a patch_size do not form a grid")
    rows, columns = int(pixels.shape[2]) // height, int(pixels.shape[3]) // width
    before = int(hidden.shape[1]) - rows * columns
    special = 2 + (getattr(config, "num_register_tokens", None) or 0)  # class, distillation
    if not 0 <= before <= special:
        raise ValueError(
            f"{hidden.shape[1]} tokens do not form a grid of {rows} x {columns} patches after at "
            f"most {special} other tokens"
        )
    return hidden[:, before:], (rows, columns)


def _image_projected(backbone: Backbone, cells: torch.Tensor) -> torch.Tensor:
    module: Any = backbone.module
    if backbone.pooling == "projection" and _kind(backbone) == "clip":
        cells = module.visual_projection(module.vision_model.post_layernorm(cells))
    return cells


def _kind(backbone: Backbone) -> str:
    config: Any = backbone.module.config
    return str(getattr(config, "model_type", ""))


def _joined(pooled: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    if vectors.shape[2] != pooled.shape[1]:
        raise ValueError(
            f"its tokens have {vectors.shape[2]} values and its pooled features "
            f"{pooled.shape[1]}, and tokens of another width cannot be used"
        )
    return torch.cat([pooled[:, None], vectors], dim=1).flatten(1)


@cache
def _averages(rows: int, columns: int, side: int) -> NDArray[np.float32]:
    """Return the matrix from places to cells, float32 (side * side, rows * columns).

    It is adaptive average pooling as a product, which ONNX has for sizes that do not divide, too.
    """
    return np.kron(_spans(rows, side), _spans(columns, side)).astype(np.float32)


def _spans(size: int, cells: int) -> NDArray[np.float64]:
    spans = np.zeros((cells, size))
    for cell in range(cells):
        start, end = cell * size // cells, -(-(cell + 1) * size // cells)
        spans[cell, start:end] = 1 / (end - start)
    return spans
