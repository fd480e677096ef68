"""Image features learned from the train images themselves: which small patches occur where."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import Image

from proxyhash.data.images import open_image
from proxyhash.encoders.base import BatchEncoder, EncoderRequest, read_options, register_encoder
from proxyhash.encoders.folder import fingerprint_of, read_arrays, write_arrays, write_settings
from proxyhash.encoders.patch_learning import CONTRAST, PatchVocabulary, learn_vocabulary
from proxyhash.errors import DataError, ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.item import Modality

__all__ = ["PatchFeatures"]

logger = logging.getLogger(__name__)

_SIDE = 48  # images are shrunk to this many pixels a side
_PATCH = 6  # pixels a side of a patch
_SAMPLES = 40_000  # patches that the vocabulary is learned from
_IMAGES = 600  # train images that are looked at
_ARRAYS = "patches.safetensors"
_CPU_BATCH = 2  # images at a time: their maps fit the cache of a core


@register_encoder
class PatchFeatures(BatchEncoder):
    """Single-layer features of Coates, Ng and Lee (AISTATS 2011), fitted without labels.

    Every 6x6 patch of the image, shrunk to 48x48, is normalized and whitened, and its distances
    z_k to `count` k-means centers become activations max(0, mean(z) - z_k), the paper's "triangle".
    Each center gives nine features: its mean and its maximum in each quarter of the image, and
    its maximum anywhere, by which a small thing is found wherever it stands. They are brought to
    mean 0 and deviation 1 over the train images, as in the paper.

    No pretrained weights are needed, and far more is recognized than by `descriptor`.

    Attributes:
        vocabulary: whitening and centers.
    """

    kind: ClassVar[str] = "patches"
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)

    modality: Modality = "image"

    def __init__(
        self,
        vocabulary: PatchVocabulary,
        *,
        mean: NDArray[np.float32] | None = None,
        deviation: NDArray[np.float32] | None = None,
        device: str = "cpu",
    ) -> None:
        self.vocabulary = vocabulary
        self.device = device
        self.dim = 9 * len(vocabulary.centers)
        if device == "cpu":
            self.max_batch = _CPU_BATCH
        self._mean = np.zeros(self.dim, dtype=np.float32) if mean is None else mean
        self._deviation = np.ones(self.dim, dtype=np.float32) if deviation is None else deviation
        if self._mean.shape != (self.dim,) or self._deviation.shape != (self.dim,):
            raise ValueError(f"mean and deviation must have {self.dim} values")
        self.fingerprint = fingerprint_of({"kind": self.kind, "side": _SIDE}, self._arrays())
        self._open_filters()

    @classmethod
    def fit(
        cls, images: Sequence[Any], *, count: int = 256, seed: int = 0, device: str = "cpu"
    ) -> Self:
        """Return the encoder learned from up to 600 of the images; unreadable ones are left out.

        Args:
            images: paths, bytes or opened images of the train items.
            count: k-means centers; there are nine features for each.
            seed: of the choice of images and patches, and of k-means.
            device: where it encodes.

        Raises:
            UsageError: "count is 1; ...".
            DataError: "none of the 12 train images can be read; ...".
        """
        if count < 2:
            raise UsageError(f"patches:count is {count}; at least 2 centers are needed")
        chosen = np.random.default_rng(seed).permutation(len(images))[:_IMAGES]
        seen = []
        for position in np.sort(chosen):
            try:
                seen.append(_shrunk(images[position]))
            except ImageError as error:
                logger.debug("not learning from an image: %s", error)
        if not seen:
            raise DataError(
                f"none of the {len(images)} train images can be read; there is nothing to "
                "learn patches from"
            )
        vocabulary = learn_vocabulary(
            np.stack(seen), count=count, side=_PATCH, samples=_SAMPLES, seed=seed
        )
        raw = cls(vocabulary, device=device).encode([Image.fromarray(p) for p in seen])
        deviation = np.maximum(raw.std(axis=0), 0.01 * raw.std())
        return cls(vocabulary, mean=raw.mean(axis=0), deviation=deviation, device=device)

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Fit on the images of the train items; options: count, seed."""
        options = read_options(cls.kind, request.argument, {"count": 256, "seed": 0})
        collection, train = request.training_inputs(cls.kind)
        paths = collection.sources(cls.modality)
        images = [paths[row] for row in train if paths[row] is not None]
        return cls.fit(images, device=request.device, **options)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the saved encoder."""
        arrays = read_arrays(folder / _ARRAYS)
        vocabulary = PatchVocabulary(*(arrays[k] for k in ("patch_mean", "whitening", "centers")))
        return cls(vocabulary, mean=arrays["mean"], deviation=arrays["deviation"], device=device)

    def save(self, folder: Path) -> None:
        """Write the vocabulary, the mean and the deviation as safetensors."""
        write_arrays(folder / _ARRAYS, self._arrays())
        write_settings(folder, self, {"side": _SIDE, "patch": self.vocabulary.side})

    def prepare(self, source: Any) -> NDArray[np.uint8]:
        """Return the image shrunk or stretched to 48x48, uint8 (48, 48, 3)."""
        return _shrunk(source)

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch of prepared images."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(prepared)).to(self.device)
            maps = self._activations(pixels.permute(0, 3, 1, 2).float())
            features: NDArray[np.float32] = _pooled(maps).cpu().numpy()
        return (features - self._mean) / self._deviation

    def _activations(self, pixels: Any) -> Any:
        """The triangle activation of every center at every place: (b, 3, h, w) to (b, K, y, x)."""
        from torch.nn import functional

        side = self.vocabulary.side
        gray, power = pixels.mean(1, keepdim=True), pixels.square().mean(1, keepdim=True)
        mean = functional.avg_pool2d(gray, side, stride=1)
        variance = functional.avg_pool2d(power, side, stride=1) - mean.square()
        # Filters without a mean of their own see a patch as if its mean were taken off.
        whitened = functional.conv2d(pixels, self._filters)
        whitened = whitened / (variance.clamp(min=0) + CONTRAST).sqrt() + self._offset
        # |x - c|^2 = |x|^2 - 2xc + |c|^2
        squared = functional.conv2d(whitened, -2 * self._centers, bias=self._center_norms)
        squared += whitened.square().sum(1, keepdim=True)
        distance = squared.clamp_(min=0).sqrt_()
        return (distance.mean(1, keepdim=True) - distance).relu_()

    def _open_filters(self) -> None:
        import torch

        words, side = self.vocabulary, self.vocabulary.side
        filters = (words.whitening - words.whitening.mean(axis=0)).T.reshape(-1, side, side, 3)
        self._filters = torch.from_numpy(filters.copy()).permute(0, 3, 1, 2).to(self.device)
        offset = torch.from_numpy(-words.mean @ words.whitening)
        self._offset = offset.view(1, -1, 1, 1).to(self.device)
        self._centers = torch.from_numpy(words.centers)[:, :, None, None].to(self.device)
        self._center_norms = self._centers.square().sum(dim=(1, 2, 3))

    def _arrays(self) -> dict[str, NDArray[np.float32]]:
        return {
            "patch_mean": self.vocabulary.mean,
            "whitening": self.vocabulary.whitening,
            "centers": self.vocabulary.centers,
            "mean": self._mean,
            "deviation": self._deviation,
        }


def _shrunk(source: Any) -> NDArray[np.uint8]:
    return np.asarray(open_image(source).resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _pooled(maps: Any) -> Any:
    """Means and maxima of the quarters and the overall maximum: (b, K, y, x) to (b, 9K)."""
    import torch
    from torch.nn import functional

    means = functional.adaptive_avg_pool2d(maps, 2).flatten(1)
    quarters = functional.adaptive_max_pool2d(maps, 2)
    return torch.cat([means, quarters.flatten(1), quarters.amax(dim=(2, 3))], dim=1)
