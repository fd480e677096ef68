"""Patch encoder: image features learned from the train images, by where patches occur."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import Image

from proxyhash.data.images import open_image
from proxyhash.encoders.base import BatchEncoder, EncoderRequest, read_options, register_encoder
from proxyhash.encoders.folder import fingerprint_of, read_arrays, write_arrays, write_settings
from proxyhash.errors import DataError, ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.modalities import Modality

__all__ = ["CONTRAST", "PatchFeatures", "PatchVocabulary", "learn_vocabulary", "normalized"]

logger = logging.getLogger(__name__)

_SIDE = 48  # images are resized to this width and height
_PATCH = 6  # width and height of a patch in pixels
_SAMPLES = 40_000  # patches that the vocabulary is learned from
_IMAGES = 600  # train images that patches are taken from
_ARRAYS = "patches.safetensors"
_CPU_BATCH = 2  # batch size: the activations fit the cache of a core

CONTRAST = 400.0
"""Added to a patch's variance (of values 0..255) before dividing by its root, so that faint noise
of a plain surface is not amplified to a pattern. The paper uses 10, for photos."""

_WHITENING = 0.1  # added to the variances before whitening, as in the paper
_CLUSTER_BATCH = 4096
_ROUNDS = 30


@register_encoder
class PatchFeatures(BatchEncoder):
    """Single-layer features of Coates, Ng and Lee (AISTATS 2011), fitted without labels.

    Every 6x6 patch of the image, resized to 48x48, is normalized and whitened, and its distances
    z_k to `count` k-means centers become activations max(0, mean(z) - z_k), the paper's "triangle".
    Each center gives nine features: its mean and its maximum in each quarter of the image, and its
    overall maximum, which finds a small object anywhere. They are standardized over the train
    images, as in the paper.

    Needs no pretrained weights, and recognizes far more than `descriptor`.

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
        """Return the encoder learned from up to 600 of the images; unreadable ones are ignored.

        Args:
            images: paths, bytes or opened images of the training items.
            count: number of k-means centers; each gives nine features.
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
                f"none of the {len(images)} train images can be read, so there are no "
                "patches to learn from; `proxyhash data check` says why"
            )
        vocabulary = learn_vocabulary(
            np.stack(seen), count=count, side=_PATCH, samples=_SAMPLES, seed=seed
        )
        raw = cls(vocabulary, device=device).encode([Image.fromarray(p) for p in seen])
        deviation = np.maximum(raw.std(axis=0), 0.01 * raw.std())
        return cls(vocabulary, mean=raw.mean(axis=0), deviation=deviation, device=device)

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Fit on the images of the training items; options: count, seed."""
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
        """Return the image resized to 48x48, uint8 (48, 48, 3)."""
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
        """Return the activation of every center at every place: (b, 3, h, w) to (b, K, y, x)."""
        from torch.nn import functional

        side = self.vocabulary.side
        gray, power = pixels.mean(1, keepdim=True), pixels.square().mean(1, keepdim=True)
        mean = functional.avg_pool2d(gray, side, stride=1)
        variance = functional.avg_pool2d(power, side, stride=1) - mean.square()
        # Filters of mean zero respond to a patch as if its mean were subtracted.
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
    """Return quarters' means and maxima and the overall maximum: (b, K, y, x) to (b, 9K)."""
    import torch
    from torch.nn import functional

    means = functional.adaptive_avg_pool2d(maps, 2).flatten(1)
    quarters = functional.adaptive_max_pool2d(maps, 2)
    return torch.cat([means, quarters.flatten(1), quarters.amax(dim=(2, 3))], dim=1)


@dataclass(frozen=True)
class PatchVocabulary:
    """Patch vocabulary; patches are flat, d = side * side * 3, channels last.

    Attributes:
        mean: of the normalized patches, float32 (d,).
        whitening: float32 (d, d): (patch - mean) @ whitening has the identity as covariance.
        centers: of the clusters of whitened patches, float32 (count, d).
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    centers: NDArray[np.float32]

    @property
    def side(self) -> int:
        """Height and width of a patch in pixels."""
        return math.isqrt(len(self.mean) // 3)


def learn_vocabulary(
    images: NDArray[np.uint8], *, count: int, side: int, samples: int, seed: int
) -> PatchVocabulary:
    """Return the `count` centers of k-means over patches from random places of the images.

    Patches are normalized and whitened as in section 3 of the paper. Runs on one thread, so that
    sums do not depend on the number of cores.

    Args:
        images: uint8 (n, height, width, 3).
        count: number of centers.
        side: height and width of a patch in pixels.
        samples: number of patches to learn from.
        seed: of the patches and of k-means.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        patches = normalized(_random_patches(images, side=side, samples=samples, seed=seed))
        mean = patches.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
        whitening = (axes / np.sqrt(variances + _WHITENING)).astype(np.float32)
        cluster = MiniBatchKMeans(
            count, batch_size=_CLUSTER_BATCH, max_iter=_ROUNDS, n_init=1, random_state=seed
        )
        cluster.fit((patches - mean) @ whitening)
    return PatchVocabulary(mean, whitening, cluster.cluster_centers_.astype(np.float32))


def normalized(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return patches (n, d) with mean 0 and variance var / (var + CONTRAST) each."""
    centered = patches - patches.mean(axis=1, keepdims=True)
    spread: NDArray[np.float32] = centered / np.sqrt(centered.var(axis=1, keepdims=True) + CONTRAST)
    return spread


def _random_patches(
    images: NDArray[np.uint8], *, side: int, samples: int, seed: int
) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))
    count, rows, columns = windows.shape[:3]
    chosen = windows[
        random.integers(count, size=samples),
        random.integers(rows, size=samples),
        random.integers(columns, size=samples),
    ]  # (samples, 3, side, side)
    return np.moveaxis(chosen, 1, -1).reshape(samples, -1).astype(np.float32)
