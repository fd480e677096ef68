"""Binary codes: bit conventions, Hamming distances, exact top-k and the code file.

Numpy and numba only: codes can be packed, compared and stored without torch.
"""

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
    "binarize",
    "check_bits",
    "check_codes",
    "code_bytes",
    "distances",
    "pack",
    "signs",
    "top_k",
    "unpack",
]
