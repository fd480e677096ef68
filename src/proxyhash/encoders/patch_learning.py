"""Learning a vocabulary of image patches: normalize, whiten, cluster.

Source: Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning",
AISTATS 2011, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CONTRAST", "PatchVocabulary", "learn_vocabulary", "normalized"]

CONTRAST = 400.0
"""Added to a patch's variance (of values 0..255) before dividing by its root, so that the faint
noise of a plain wall is not blown up to look like a pattern. The paper has 10, for photos."""

_WHITENING = 0.1  # added to the variances before whitening, as in the paper
_BATCH = 4096
_ROUNDS = 30


@dataclass(frozen=True)
class PatchVocabulary:
    """What a patch is measured with. Patches are flat, d = side * side * 3, channels last.

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

    Runs on one thread, whose sums do not depend on the machine's number of cores.

    Args:
        images: uint8 (n, height, width, 3).
        count: how many centers.
        side: height and width of a patch.
        samples: how many patches to learn from.
        seed: of the places and of k-means.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        patches = normalized(_random_patches(images, side=side, samples=samples, seed=seed))
        mean = patches.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
        whitening = (axes / np.sqrt(variances + _WHITENING)).astype(np.float32)
        cluster = MiniBatchKMeans(
            count, batch_size=_BATCH, max_iter=_ROUNDS, n_init=1, random_state=seed
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
