"""Binary codes: bit conventions, Hamming and asymmetric distances, exact top-k, the code file.

Numpy and numba only: codes can be packed, compared and stored without torch.
"""

from proxyhash.codes.asymmetric import Weights, asymmetric_distances, asymmetric_top_k, weights_of
from proxyhash.codes.bits import (
    Codes,
    binarize,
    check_bits,
    check_codes,
    code_bytes,
    pack,
    signs,
    unpack,
)
from proxyhash.codes.file import CodeFile
from proxyhash.codes.hamming import TopK, distances, top_k

__all__ = [
    "CodeFile",
    "Codes",
    "TopK",
    "Weights",
    "asymmetric_distances",
    "asymmetric_top_k",
    "binarize",
    "check_bits",
    "check_codes",
    "code_bytes",
    "distances",
    "pack",
    "signs",
    "top_k",
    "unpack",
    "weights_of",
]
