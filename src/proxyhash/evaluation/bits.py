"""Statistics of codes (balance, correlation and entropy of bits) and of proxies (distances)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes import Codes, check_codes, distances, pack, unpack
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from proxyhash.codes import CodeFile

__all__ = [
    "BitStatistics",
    "ProxyStatistics",
    "bit_statistics",
    "code_statistics",
    "proxy_statistics",
]

_ROWS = 65_536


@dataclass(frozen=True)
class BitStatistics:
    """Statistics of the bits of n codes of K bits.

    Attributes:
        codes: n.
        distinct: number of different codes.
        ones_mean: mean share of ones over the bits, 0 to 1.
        ones_min: smallest share of ones of a bit.
        ones_max: largest share of ones of a bit.
        balance: mean over the bits of 1 - |2 p - 1|, p the share of ones; 1 balanced, 0 constant.
        constant_bits: number of bits with the same value in all codes.
        correlation_mean: mean absolute correlation over pairs of bits that are not constant.
        correlation_max: the largest of them.
        bit_entropy: mean entropy of a bit, in bits, 0 to 1.
        code_entropy: entropy of the whole code over the n codes, in bits, at most log2(n) and K.
    """

    codes: int
    distinct: int
    ones_mean: float
    ones_min: float
    ones_max: float
    balance: float
    constant_bits: int
    correlation_mean: float
    correlation_max: float
    bit_entropy: float
    code_entropy: float

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return asdict(self)


def bit_statistics(codes: Codes, *, bits: int) -> BitStatistics:
    """Return the statistics of packed codes (n, B).

    Peak memory: 9 bytes per bit of 65,536 codes.

    Raises:
        DataError: there are no codes, or they do not have `bits` bits.
    """
    check_codes(codes, bits=bits)
    count = len(codes)
    if not count:
        raise DataError("bit statistics need at least one code")
    both = np.zeros((bits, bits))  # number of codes with bits i and j set
    for start in range(0, count, _ROWS):
        block = unpack(codes[start : start + _ROWS], bits=bits).astype(np.float64)
        both += block.T @ block
    ones = np.diag(both) / count
    spread = np.sqrt(ones * (1 - ones))
    moving = (ones > 0) & (ones < 1)
    covariance = (both / count - np.outer(ones, ones))[np.ix_(moving, moving)]
    correlation = np.abs(covariance / np.outer(spread[moving], spread[moving]))
    pairs = correlation[np.triu_indices(len(correlation), 1)]
    # Each row as one opaque value: much faster than numpy's unique over an axis.
    rows = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.shape[1]))).ravel()
    repeats = np.unique(rows, return_counts=True)[1]
    return BitStatistics(
        codes=count,
        distinct=len(repeats),
        ones_mean=float(ones.mean()),
        ones_min=float(ones.min()),
        ones_max=float(ones.max()),
        balance=float((1 - np.abs(2 * ones - 1)).mean()),
        constant_bits=int((~moving).sum()),
        correlation_mean=float(pairs.mean()) if len(pairs) else 0.0,
        correlation_max=float(pairs.max()) if len(pairs) else 0.0,
        bit_entropy=float((_entropy(ones) + _entropy(1 - ones)).mean()),
        code_entropy=float(_entropy(repeats / count).sum()),
    )


@dataclass(frozen=True)
class ProxyStatistics:
    """Distances between the proxies of C classes, in bits.

    Attributes:
        count: C.
        minimum_distance: of the closest pair; 0 when two classes share a proxy.
        mean_distance: over all pairs.
    """

    count: int
    minimum_distance: int
    mean_distance: float

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return asdict(self)


def proxy_statistics(proxies: npt.NDArray[np.int8]) -> ProxyStatistics | None:
    """Return the distances between proxies, or None for fewer than two.

    Args:
        proxies: -1 and +1, (C, K).
    """
    if len(proxies) < 2:
        return None
    packed = pack(proxies > 0)
    pairs = distances(packed, packed)[np.triu_indices(len(proxies), 1)]
    return ProxyStatistics(
        count=len(proxies), minimum_distance=int(pairs.min()), mean_distance=float(pairs.mean())
    )


def code_statistics(
    codes: CodeFile,
    positions: npt.NDArray[np.int64],
    *,
    proxies: npt.NDArray[np.int8] | None = None,
) -> dict[str, Any]:
    """Return the statistics of some items' codes as JSON values; None where there is nothing.

    Keys: each modality (`BitStatistics` of the items that have it), "pairs" (the number of
    pairs of codes of one item and different modalities, as "items", and their mean distance in
    bits), "proxies" (`ProxyStatistics`).
    """
    result: dict[str, Any] = {}
    for modality in codes.modalities:
        own = codes.of(modality)[codes.having(modality, positions)]
        result[modality] = bit_statistics(own, bits=codes.bits).to_dict() if len(own) else None
    differ = [np.zeros(0, np.int64)]
    for one, other in combinations(codes.modalities, 2):
        both = codes.having(one, codes.having(other, positions))
        different = codes.of(one)[both] ^ codes.of(other)[both]
        differ.append(np.bitwise_count(different).sum(axis=1, dtype=np.int64))
    pairs = np.concatenate(differ)
    apart = float(pairs.mean()) if len(pairs) else None
    result["pairs"] = {"items": len(pairs), "mean_distance": apart}
    spread = None if proxies is None else proxy_statistics(proxies)
    result["proxies"] = None if spread is None else spread.to_dict()
    return result


def _entropy(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return -p log2 p, elementwise, 0 for p = 0."""
    result = np.zeros_like(shares)
    some = shares > 0
    result[some] = -shares[some] * np.log2(shares[some])
    return result
