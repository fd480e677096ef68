"""Forward pass of a pretrained network, from pixels or tokens to features."""

from __future__ import annotations

import inspect
import logging
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Backbone", "ImageNetwork", "image_features", "text_features"]

logger = logging.getLogger(__name__)

_IMAGES_BEFORE_RECORDING = 32  # recording takes as long as some thirty images


@dataclass(frozen=True)
class Backbone:
    """Pretrained network, and how its output is pooled into one vector.

    Attributes:
        module: in float32 and evaluation mode.
        pooling: "projection" (CLIP family), "pooler" (the network's own), "mean" or "first".
        dropped: parts that the features do not need, removed from the module.
    """

    module: nn.Module
    pooling: str
    dropped: tuple[str, ...]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return every parameter and buffer that is part of the weights, by name."""
        tensors = self.module.state_dict()
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def image_features(
    backbone: Backbone, pixels: torch.Tensor, *, resized: bool = False
) -> torch.Tensor:
    """Return the pooled features (b, d) of pixels (b, 3, h, w).

    Args:
        backbone: of a vision model, or of one with a vision tower.
        pixels: normalized.
        resized: whether height and width are others than the network's own, for which learned
            positions are interpolated where the network has any.

    Raises:
        ValueError: the network takes images of its own size only.
    """
    module: Any = backbone.module
    projected = backbone.pooling == "projection"
    call, takes = (module.get_image_features,) * 2 if projected else (module, module.forward)
    positions = resized and "interpolate_pos_encoding" in inspect.signature(takes).parameters
    output = call(pixel_values=pixels, **({"interpolate_pos_encoding": True} if positions else {}))
    if projected:
        return _projected(output)
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    if backbone.pooling == "pooler" and pooled is not None:
        return pooled.flatten(1)
    hidden: torch.Tensor = output.last_hidden_state
    return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def text_features(backbone: Backbone, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the features (b, d) of a batch of tokenized texts."""
    module: Any = backbone.module
    if backbone.pooling == "projection":
        return _projected(module.get_text_features(**tokens))
    hidden: torch.Tensor = module(**tokens).last_hidden_state
    if backbone.pooling == "first":
        return hidden[:, 0]
    hidden = hidden.float()  # half precision would round the sum
    mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


class ImageNetwork:
    """The forward pass of an image backbone: pixels (b, 3, h, w) -> pooled features (b, d).

    When several threads encode, they wait for the interpreter lock between any two layers. So on a
    CPU, after some images, the layers are recorded as one TorchScript program, which runs without
    the interpreter. It is used only if it gives bit-identical features, and for pixels of the
    recorded height and width; everything else goes layer by layer.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._seen = 0
        self._recording = threading.Lock()
        self._program: Any = None
        self._size: torch.Size | None = None

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features; from any thread."""
        self._seen += len(pixels)
        if (
            self._seen > _IMAGES_BEFORE_RECORDING
            and pixels.device.type == "cpu"
            and self._recording.acquire(blocking=False)  # never released: it is tried once
        ):
            self._program = _record(self._backbone, pixels)
            self._size = pixels.shape[1:]
        if self._size == pixels.shape[1:] and self._program is not None:
            features: torch.Tensor = self._program(pixels)
            return features
        return image_features(self._backbone, pixels)


def _record(backbone: Backbone, pixels: torch.Tensor) -> Any:
    """Return the forward pass as a TorchScript program, None if its features differ."""
    from proxyhash.encoders._transformers import quiet

    class Forward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = backbone.module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return image_features(backbone, pixels)

    one = pixels[:1]
    trials = pixels, torch.cat([one, one.flip(-1), one.flip(-2)])
    try:
        with quiet(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, without a replacement
            trace: Any = torch.jit.trace
            program = trace(Forward().eval(), one, check_trace=False)
        same = all(torch.equal(program(each), image_features(backbone, each)) for each in trials)
    except Exception as error:  # recording can raise nearly any type
        logger.debug("the network cannot be recorded: %s", error)
        return None
    return program if same else None


def _projected(output: Any) -> torch.Tensor:
    """Return the projected features: a tensor in transformers 4, a field of the output in 5."""
    projected = output if isinstance(output, torch.Tensor) else output.pooler_output
    assert isinstance(projected, torch.Tensor)
    return projected
