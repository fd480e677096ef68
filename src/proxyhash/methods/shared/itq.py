"""Iterative quantization: the rotation that loses least when signs are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxyhash.methods.shared.batch import sign

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["itq_rotation", "quantization_error"]


def itq_rotation(
    projections: Float[Tensor, "n r"], bits: int, *, seed: int, iterations: int = 50
) -> Float[Tensor, "r k"]:
    """Return R with orthonormal rows, R R^T = I, that makes ||sign(Z R) - Z R||^2 small.

    Starts from a random rotation and repeats: B = sign(Z R), then the R that is best for this B,
    R = U V^T from the singular vectors of Z^T B = U S V^T (orthogonal Procrustes). The error never
    rises. Where there are fewer projections than bits, R is the part of a rotation of K dimensions
    that acts on projections padded with zeros: K different bits that share r directions.

    Args:
        projections: Z, centered; r at most K.
        bits: K.
        seed: makes the first rotation.
        iterations: repetitions; 50 in the paper.

    Source: Gong, Lazebnik, Gordo and Perronnin, "Iterative Quantization: A Procrustean Approach to
    Learning Binary Codes for Large-Scale Image Retrieval", TPAMI 2013.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(bits, bits, generator=generator, dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(start).Q[: projections.shape[1]].to(projections)
    for _ in range(iterations):
        codes = sign(projections @ rotation)
        left, _, right = torch.linalg.svd(projections.T @ codes, full_matrices=False)
        rotation = left @ right
    return rotation


def quantization_error(
    projections: Float[Tensor, "n r"], rotation: Float[Tensor, "r k"]
) -> Float[Tensor, ""]:
    """Return the mean over rows of ||sign(Z R) - Z R||^2."""
    rotated = projections @ rotation
    return (sign(rotated) - rotated).square().sum(dim=1).mean()
