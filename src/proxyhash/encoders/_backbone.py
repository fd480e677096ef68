"""Forward pass of a pretrained network, from pixels or tokens to features."""

from __future__ import annotations

import inspect
import logging
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from proxyhash.encoders.model_files import check_pointer
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.encoders.recipe import Dense

    Forward = Callable[..., torch.Tensor]

__all__ = [
    "POOLED",
    "Backbone",
    "ImageNetwork",
    "add_dense",
    "dense_features",
    "dense_in",
    "image_features",
    "image_output",
    "pooled_image",
    "pooled_text",
    "read_dense",
    "text_output",
]

logger = logging.getLogger(__name__)

POOLED = "pooled"
"""Name of a mask beside the tokens: those that the mean is taken over, where not all are."""

_DENSE = "sentence_dense"
_IMAGES_BEFORE_RECORDING = 32  # recording takes as long as some thirty images


@dataclass(frozen=True)
class Backbone:
    """Pretrained network, and how its output is pooled into one vector.

    Attributes:
        module: in float32 and evaluation mode.
        pooling: "projection" (CLIP family), "pooler" (the network's own), "mean", "first" or
            "last".
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
    backbone: Backbone,
    pixels: torch.Tensor,
    *,
    resized: bool = False,
    patches: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the pooled features (b, d) of pixels (b, 3, h, w); arguments as of `image_output`."""
    output = image_output(backbone, pixels, resized=resized, patches=patches)
    return pooled_image(backbone, output)


def image_output(
    backbone: Backbone,
    pixels: torch.Tensor,
    *,
    resized: bool = False,
    patches: Mapping[str, torch.Tensor] | None = None,
) -> Any:
    """Return what the network gives for pixels (b, 3, h, w).

    Args:
        backbone: of a vision model, or of one with a vision tower.
        pixels: normalized.
        resized: whether height and width are others than the network's own, for which learned
            positions are interpolated where the network has any.
        patches: "mask" and "shapes", where pixels are patches (b, n, d).

    Raises:
        ValueError: the network takes images of its own size only.
    """
    module: Any = backbone.module
    projected = backbone.pooling == "projection"
    call, takes = (module.get_image_features,) * 2 if projected else (module, module.forward)
    positions = resized and "interpolate_pos_encoding" in inspect.signature(takes).parameters
    options: dict[str, Any] = {"interpolate_pos_encoding": True} if positions else {}
    if patches is not None:
        options = {
            "pixel_attention_mask": patches["mask"],
            "spatial_shapes": patches["shapes"],
        }
    return call(pixel_values=pixels, **options)


def pooled_image(backbone: Backbone, output: Any) -> torch.Tensor:
    """Return the pooled features (b, d) of an output of `image_output`."""
    if backbone.pooling == "projection":
        return _projected(output)
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    if backbone.pooling == "pooler" and pooled is not None:
        return pooled.flatten(1)
    hidden: torch.Tensor = output.last_hidden_state
    return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def text_output(backbone: Backbone, tokens: Mapping[str, torch.Tensor]) -> Any:
    """Return what the network gives for a batch of tokenized texts."""
    module: Any = backbone.module
    call = module.get_text_features if backbone.pooling == "projection" else module
    return call(**{name: tensor for name, tensor in tokens.items() if name != POOLED})


def pooled_text(
    backbone: Backbone, output: Any, tokens: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Return the features (b, d) of an output of `text_output`, before Dense steps.

    The last token is the last one that the attention mask has, on whichever side padding is.

    Args:
        backbone: the network.
        output: what it gives for the tokens.
        tokens: with their masks.
    """
    if backbone.pooling == "projection":
        return _projected(output)
    hidden: torch.Tensor = output.last_hidden_state
    if backbone.pooling == "first":
        return hidden[:, 0]
    mask = tokens.get(POOLED)
    mask = tokens["attention_mask"] if mask is None else mask
    if backbone.pooling == "last":
        last = (mask.cumsum(dim=1) * mask).argmax(dim=1)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)
    hidden = hidden.float()  # half precision would round the sum
    mask = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


def read_dense(folder: Path, layers: Sequence[Dense]) -> dict[str, torch.Tensor]:
    """Return the weights of the Dense steps of a sentence-transformers folder, named for `state`.

    Raises:
        ModelError: a file is missing, damaged, pickled, or of another shape; names it.
    """
    found = {}
    for place, layer in enumerate(layers):
        path = folder / layer.folder / "model.safetensors"
        if not path.is_file():
            pickled = (path.parent / "pytorch_model.bin").exists()
            raise ModelError(
                f"{path} is missing, the weights of a Dense step; "
                + (
                    "the pytorch_model.bin beside it can run arbitrary code and is not read: save "
                    "the model again with sentence-transformers 2.3 or newer"
                    if pickled
                    else "copy the whole folder of the model"
                )
            )
        wanted = {"weight": [layer.outputs, layer.inputs]}
        wanted |= {"bias": [layer.outputs]} if layer.bias else {}
        try:
            with path.open("rb") as start:
                check_pointer(path, start.read(64))
            with safe_open(path, framework="pt") as file:
                for name, shape in wanted.items():
                    own = file.get_slice(f"linear.{name}").get_shape()
                    if own != shape:
                        raise ModelError(
                            f"{path}: linear.{name} is {own}, but config.json beside it describes "
                            f"{shape}; copy the model again"
                        )
                    found[f"{place}.{name}"] = file.get_tensor(f"linear.{name}").float()
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read: {error}; copy the model again") from error
    return found


def add_dense(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Add linear layers to a network, from weights named "0.weight", "0.bias", "1.weight", ...

    Raises:
        ValueError: they are not those of a chain of layers.
    """
    layers = []
    for place in range(sum(name.endswith(".weight") for name in weights)):
        weight, bias = weights[f"{place}.weight"], weights.get(f"{place}.bias")
        if weight.ndim != 2 or not (bias is None or bias.shape == weight.shape[:1]):
            raise ValueError(f"the weights of Dense step {place} fit no layer")
        outputs, inputs = weight.shape
        layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
        given = {"weight": weight} | ({} if bias is None else {"bias": bias})
        layer.load_state_dict(given, assign=True)
        layers.append(layer)
    if layers:
        module.add_module(_DENSE, nn.ModuleList(layers))


def dense_in(state: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Return the weights among those of a network that `add_dense` takes."""
    prefix = f"{_DENSE}."
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in state.items()
        if name.startswith(prefix)
    }


def dense_features(
    backbone: Backbone, features: torch.Tensor, layers: Sequence[Dense]
) -> torch.Tensor:
    """Return features (b, d) after the Dense steps that `add_dense` added.

    Raises:
        ValueError: the steps are others than those, or do not fit the features.
    """
    for layer, linear in zip(layers, getattr(backbone.module, _DENSE, ()), strict=True):
        if linear.weight.shape != (layer.outputs, features.shape[1]):
            raise ValueError(
                f"a Dense step from {layer.inputs} to {layer.outputs} features has weights "
                f"{tuple(linear.weight.shape)} and gets {features.shape[1]} features"
            )
        features = getattr(nn, layer.activation)()(linear(features))
    return features


class ImageNetwork:
    """The forward pass of an image backbone: pixels (b, 3, h, w) -> features (b, d).

    When several threads encode, they wait for the interpreter lock between any two layers. So on a
    CPU, after some images, the layers are recorded as one TorchScript program, which runs without
    the interpreter. It is used only if it gives bit-identical features, and for pixels of the
    recorded height and width; everything else goes layer by layer.

    Args:
        backbone: the network.
        forward: from it and pixels to features.
    """

    def __init__(self, backbone: Backbone, forward: Forward = image_features) -> None:
        self._backbone = backbone
        self._forward = forward
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
            self._program = _record(self._backbone, self._forward, pixels)
            self._size = pixels.shape[1:]
        if self._size == pixels.shape[1:] and self._program is not None:
            features: torch.Tensor = self._program(pixels)
            return features
        return self._forward(self._backbone, pixels)


def _record(backbone: Backbone, run: Forward, pixels: torch.Tensor) -> Any:
    """Return the forward pass as a TorchScript program, None if its features differ."""
    from proxyhash.encoders._transformers import quiet

    class Recorded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = backbone.module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return run(backbone, pixels)

    one = pixels[:1]
    trials = pixels, torch.cat([one, one.flip(-1), one.flip(-2)])
    try:
        with quiet(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, without a replacement
            trace: Any = torch.jit.trace
            program = trace(Recorded().eval(), one, check_trace=False)
        same = all(torch.equal(program(each), run(backbone, each)) for each in trials)
    except Exception as error:  # recording can raise nearly any type
        logger.debug("the network cannot be recorded: %s", error)
        return None
    return program if same else None


def _projected(output: Any) -> torch.Tensor:
    """Return the projected features: a tensor in transformers 4, a field of the output in 5."""
    projected = output if isinstance(output, torch.Tensor) else output.pooler_output
    assert isinstance(projected, torch.Tensor)
    return projected
