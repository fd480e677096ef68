"""All calls into transformers, whose names and return types change between versions.

Nothing here uses the network, runs code that came with a model, or reads pickled weights.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers.utils import logging as transformers_logging

from proxyhash.encoders._backbone import Backbone, add_dense, dense_in
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from proxyhash.data.modalities import Modality

__all__ = [
    "ImageProcessor",
    "Tokenizer",
    "load_backbone",
    "quiet",
    "restore_backbone",
]

_SAFE = {"local_files_only": True, "trust_remote_code": False}
_TOWERS = {
    "image": ("vision_model", "visual_projection"),
    "text": ("text_model", "text_projection"),
}
_ALIGNED = 64  # bytes; torch's own memory begins at a multiple of it
_OTHER = {"image": "text", "text": "image"}


def load_backbone(
    folder: Path,
    *,
    modality: Modality,
    dense: Mapping[str, torch.Tensor] = MappingProxyType({}),
    device: str = "cpu",
) -> Backbone:
    """Return the network in a folder that `save_pretrained` wrote.

    If the weights lack the pooler, which transformers would initialize randomly, the first token
    (or the mean over a map) is used instead.

    Args:
        folder: of the network.
        modality: that it is to encode.
        dense: weights of the layers after its pooling, see `add_dense`.
        device: where it runs.

    Raises:
        ModelError: transformers cannot load it, or weights are missing.
    """
    with quiet(), torch.random.fork_rng(devices=[]), _as_model_error(folder):
        config = _config(folder)
        module, report = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **_SAFE,
        )
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{folder}: models with a decoder are not supported; use an encoder")
    missing = sorted(report["missing_keys"])
    parts: tuple[str, ...] = ()
    dual = all(hasattr(module, f"get_{side}_features") for side in _TOWERS)
    lacks_pooler = any(name.startswith("pooler.") for name in missing)
    if dual:
        pooling, parts = "projection", _TOWERS[_OTHER[modality]]
    elif modality == "image" and not lacks_pooler:
        pooling = "pooler"
    else:
        pooling, parts = ("first" if modality == "image" else "mean"), ("pooler",)
    dropped = tuple(part for part in parts if getattr(module, part, None) is not None)
    missing = [name for name in missing if name.partition(".")[0] not in dropped]
    if missing:
        raise ModelError(f"{folder}: the weights lack {', '.join(missing[:3])}; is this the model?")
    add_dense(module, dense)
    return _finished(module, pooling, dropped, device)


def restore_backbone(
    folder: Path,
    state: Mapping[str, NDArray[Any]],
    *,
    pooling: str,
    dropped: Sequence[str],
    device: str = "cpu",
) -> Backbone:
    """Return the network of the configuration in `folder` with the weights of `Backbone.state`.

    Raises:
        ModelError: the weights do not fit the configuration.
    """
    with quiet(), torch.random.fork_rng(devices=[]), _as_model_error(folder):
        config = _config(folder)
        module = transformers.AutoModel.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
        add_dense(module, dense_in(state))
        backbone = _finished(module, pooling, tuple(dropped), "cpu")
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        backbone.module.load_state_dict(tensors, strict=True)
    backbone.module.to(device)
    return backbone


class ImageProcessor:
    """A model's own image processor, with rescaling and normalization per batch.

    The processors of transformers rescale and normalize image by image in float64, which takes
    longer than decoding and resizing together. Both are one multiplication and addition per channel
    of uint8 pixels, so they run here on the whole batch. Whether that holds for a given processor
    is tested on noise when it is loaded; if the result differs from the processor's own by more
    than 1e-6, the processor does everything itself.

    Attributes:
        batched: whether rescaling and normalizing run on whole batches.
    """

    def __init__(self, folder: Path) -> None:
        with quiet(), _as_model_error(folder):
            # torchvision's backend, if installed, gives other pixels than Pillow's.
            self._processor: Any = transformers.AutoImageProcessor.from_pretrained(
                folder, backend="pil", **_SAFE
            )
            self._affine, self.batched = self._find_affine()

    @property
    def recipe(self) -> str:
        """Settings that decide what `prepare` returns, and versions of who follows them."""
        import PIL

        versions = f"transformers {transformers.__version__}, Pillow {PIL.__version__}"
        return f"prepared 1, {versions}, {self._processor.to_json_string()}"

    def prepare(self, image: Image) -> NDArray[Any]:
        """Return one RGB image resized and cropped: uint8 (h, w, 3), or the float (3, h, w)."""
        if not self.batched:
            return self._process(image)
        geometry = self._process(image, do_rescale=False, do_normalize=False)
        return np.moveaxis(geometry, 0, -1)

    def pixels(self, prepared: Sequence[NDArray[Any]]) -> torch.Tensor:
        """Return the model's input for prepared images, float32 (b, 3, h, w)."""
        if len({image.shape for image in prepared}) > 1:
            raise ModelError("the model's image processor gives images of different sizes")
        batch = torch.from_numpy(np.stack(prepared))
        if not self.batched:
            return batch.float().contiguous(memory_format=torch.channels_last)
        # The channels of a pixel are adjacent in memory, which is torch's channels_last.
        return self.normalized(batch.permute(0, 3, 1, 2).float())

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Return the model's input for images (b, 3, h, w) of values from 0 to 255.

        Raises:
            ModelError: the processor does more than to rescale and to normalize each value.
        """
        if self._affine is None:
            raise ModelError(
                "the model's image processor does more to pixels than to rescale and normalize "
                "them, so the model cannot learn from augmented images; leave its encoder frozen"
            )
        scale, shift = (each.to(images.device) for each in self._affine)
        return torch.addcmul(shift, images, scale)

    def _process(self, image: Image, **options: bool) -> NDArray[Any]:
        return np.asarray(self._processor(image, **options)["pixel_values"][0])

    def _find_affine(self) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, bool]:
        """Return factor and summand of pixels, if they tell the values, and whether to 1e-6."""
        from PIL import Image

        settings = self._pointwise_settings()
        if settings is None:
            return None, False
        (scale, shift), exact = settings, True
        noise = np.random.default_rng(0)
        for height, width in ((64, 64), (45, 80), (300, 260)):
            image = Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
            wanted = self._process(image)
            geometry = self._process(image, do_rescale=False, do_normalize=False)
            if geometry.dtype != np.uint8 or geometry.shape != wanted.shape or len(geometry) != 3:
                return None, False
            found = torch.addcmul(shift, torch.from_numpy(geometry.astype(np.float32)), scale)
            difference = (found - torch.from_numpy(wanted).float()).abs().max().item()
            exact = exact and difference <= 1e-6
            if difference > 1e-6 * max(1.0, float(np.abs(wanted).max())):
                return None, False
        return settings, exact

    def _pointwise_settings(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return factor and summand of a pixel value, each (3, 1, 1), from the settings."""

        def setting(name: str, switch: str, default: float) -> Any:
            on = getattr(self._processor, switch, False)
            return getattr(self._processor, name, None) if on else default

        factor = setting("rescale_factor", "do_rescale", 1.0)
        mean = setting("image_mean", "do_normalize", 0.0)
        deviation = setting("image_std", "do_normalize", 1.0)
        if factor is None or mean is None or deviation is None:
            return None
        middle, spread = (
            torch.tensor(value, dtype=torch.float64).expand(3).view(3, 1, 1)
            for value in (mean, deviation)
        )
        return (factor / spread).float(), (-middle / spread).float()


class Tokenizer:
    """A model's own tokenizer; truncates at `max_tokens` and pads to the longest of a batch.

    Args:
        folder: of the tokenizer.
        max_tokens: of a text, with the special ones; None for what the model takes.
        pooling: what becomes of its tokens. For the "first" and the "last" of them padding is on
            the right, where it changes neither the first place nor those that a decoder sees; and
            for the last one, each text has a token.
        end: whether the end-of-text token is added where the tokenizer itself adds none; for the
            last token only.
    """

    def __init__(
        self, folder: Path, *, max_tokens: int | None, pooling: str = "mean", end: bool = False
    ) -> None:
        with quiet(), _as_model_error(folder):
            config = transformers.AutoConfig.from_pretrained(folder, **_SAFE)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, **_SAFE)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        text = getattr(config, "text_config", None) or config
        limit = self._tokenizer.model_max_length
        if not isinstance(limit, (int, float)) or not limit >= 0:
            raise ModelError(
                f"{folder / 'tokenizer_config.json'}: model_max_length is {limit!r:.40}; a number "
                "of tokens, 1 or more, is expected"
            )
        self.max_tokens = _token_limit(text, limit, max_tokens)
        # SigLIP was trained on texts padded to full length and reads its last token.
        full = config.model_type.startswith("siglip")
        self._padding = "max_length" if full else "longest"
        # A fast tokenizer has truncation and padding as state, so it is not thread-safe.
        self._lock = threading.Lock()
        self._pooling = pooling
        if pooling in ("first", "last"):
            self._tokenizer.padding_side = "right"
        last = self._tokenizer.eos_token_id
        ended = not end or last is None or self._tokenizer("a")["input_ids"][-1:] == [last]
        self._end = [] if ended else [last]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Tokens that are of no text: those at its beginning and end, and padding."""
        names = ("bos", "cls", "eos", "pad", "sep")
        found = {getattr(self._tokenizer, f"{name}_token_id") for name in names}
        return tuple(sorted(found - {None}))

    def __call__(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the tokens of a batch: at least input_ids and attention_mask, (b, length)."""
        with self._lock:
            if self._pooling == "last":
                return self._ended(list(texts))
            tokens = self._tokenizer(
                list(texts),
                padding=self._padding,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
        return dict(tokens)

    def count(self, prompt: str) -> int:
        """Return how many tokens a prompt has at the beginning of a text."""
        with self._lock:
            ids = self._tokenizer(prompt)["input_ids"]
        special = bool(ids) and ids[-1] in self._tokenizer.all_special_ids
        return len(ids) - special

    def _ended(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Return the tokens of a batch of which each text has one at least."""
        length = self.max_tokens - len(self._end)
        found = self._tokenizer(texts, truncation=True, max_length=length)
        rows = [row + self._end or [self._tokenizer.pad_token_id] for row in found["input_ids"]]
        padded = self._tokenizer.pad(
            {"input_ids": rows},
            padding=self._padding,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        return dict(padded)


def _config(folder: Path) -> Any:
    """Return the configuration of a network that keeps nothing from one call for the next."""
    config = transformers.AutoConfig.from_pretrained(folder, **_SAFE)
    if getattr(config, "use_cache", False):
        config.use_cache = False
    return config


def _finished(module: nn.Module, pooling: str, dropped: tuple[str, ...], device: str) -> Backbone:
    for part in dropped:
        setattr(module, part, None)
    module.requires_grad_(requires_grad=False)
    for tensor in (*module.parameters(), *module.buffers()):
        # Weights read in place from a file can lie at any address, and on a CPU the last bits of a
        # product depend on it: so they are put where those of a saved encoder will be.
        if tensor.data_ptr() % _ALIGNED:
            tensor.data = tensor.data.clone()
    # Convolutions on channels_last run about twice as fast on a CPU.
    module.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Backbone(module.eval(), pooling, dropped)


def _token_limit(config: Any, tokenizer_limit: float, recipe_limit: int | None) -> int:
    limits = [limit for limit in (recipe_limit, tokenizer_limit) if limit and limit < 10**9]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa and related models number positions from the padding token on.
        reserved = 0 if limits else (getattr(config, "pad_token_id", None) or 0) + 1
        limits.append(int(positions) - reserved)
    return int(min(limits, default=512))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and reports about unused heads, which are expected here."""
    verbosity, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _as_model_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # transformers raises nearly any type for unusable files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder} cannot be used by transformers: {reason}") from error
