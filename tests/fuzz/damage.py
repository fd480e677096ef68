"""Damage to files: bytes, numbers of arrays, headers of arrays, values of JSON."""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Rng = np.random.Generator

__all__ = ["damage_array", "damage_bytes", "damage_file", "damage_json", "npy"]

_ODD_VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 255, 2**31, 2**32, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), True, False, None, "", "scan", "auto", "segmented",
    "clustered", "multi_index", "faiss_hnsw", "../..", "/dev/zero", "a\u202eb\x1b[2J", "\ud800",
    "x" * 5000, [], {}, [[]], [0], [None] * 3, {"a": 1},
)  # fmt: skip

_ODD_HEADERS = (
    "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': [('a', '<u4'), ('b', '|O')], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<u4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (68719476736,), }",
    "{'descr': '<u4', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<u4', 'fortran_order': False, 'shape': (1L",
    "{'descr': '<U0', 'fortran_order': False, 'shape': (10000000,), }",
    "{'descr': '<u4', 'shape': (2,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<u4,,', 'fortran_order': 7, 'shape': 'x'}",
    "{[]: 1}",
    "(" * 3000,
    "if 1:\n    a\n  b",
    "",
)


def npy(header: str, content: bytes, *, length: int | None = None) -> bytes:
    """Return an `.npy` file with any text as its header, which may claim another length."""
    text = header.encode(errors="surrogatepass").ljust(117) + b"\n"
    size = min(len(text) if length is None else length, 65535)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", size) + text + content


def damage_file(path: Path, rng: Rng, *, chosen: Sequence[int] = ()) -> str:
    """Damage one file in place and return how; `chosen` are numbers worth trying in arrays."""
    content = path.read_bytes()
    ways: dict[str, Callable[[], bytes]] = {"bytes": lambda: damage_bytes(content, rng)}
    if path.suffix == ".npy":
        ways |= {
            "array": lambda: damage_array(content, rng, chosen),
            "numbers": lambda: damage_array(content, rng, chosen),
            "header": lambda: _damage_header(content, rng),
        }
    if path.suffix == ".json":
        ways |= {
            "value": lambda: damage_json(content, rng, chosen),
            "values": lambda: damage_json(damage_json(content, rng, chosen), rng, chosen),
        }
    way = str(rng.choice(list(ways)))
    path.write_bytes(ways[way]())
    return f"{path.name} {way}"


def damage_bytes(content: bytes, rng: Rng) -> bytes:
    """Flip bits, overwrite, cut off, cut out or append bytes, or leave nothing."""
    changed, size = bytearray(content), len(content)
    place = int(rng.integers(0, max(size, 1)))
    match rng.integers(0, 8):
        case 0:
            return content[:place]
        case 1:
            return content + rng.bytes(int(rng.integers(1, 200)))
        case 2:
            del changed[place : place + int(rng.integers(1, 64))]
        case 3:
            changed[place : place + 8] = rng.bytes(8)[: size - place]
        case 4 if rng.random() < 0.3:
            return b""
        case _:
            for spot in rng.integers(0, max(size, 1), int(rng.integers(1, 9))):
                if size:
                    changed[spot] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def damage_array(content: bytes, rng: Rng, chosen: Sequence[int]) -> bytes:
    """Change numbers of an array: chosen values, random ones, swapped, shuffled, shifted."""
    array = np.load(io.BytesIO(content)).copy()
    flat = array.reshape(-1)
    if flat.size:
        kind = flat.dtype
        size = int(rng.choice([1, 1, 2, 5, max(1, flat.size // 10), flat.size]))
        start = int(rng.integers(0, flat.size))
        places = (
            rng.integers(0, flat.size, size)
            if rng.random() < 0.5
            else np.arange(start, min(start + size, flat.size))
        )
        match rng.integers(0, 6) if kind.kind in "iu" else rng.integers(2, 4):
            case 0 | 1:
                value = int(rng.choice([0, 1, 2**64 - 1, 2**63, 2**31, *chosen], replace=True))
                flat[places] = np.array(value & (2**64 - 1), np.uint64).astype(kind)
            case 2:
                raw = flat.view(np.uint8).reshape(flat.size, kind.itemsize)
                raw[places] = rng.integers(0, 256, (len(places), kind.itemsize), np.uint8)
            case 3:
                flat[places] = flat[rng.permutation(places)]
            case 4:
                flat[places] += np.array(rng.integers(1, 4)).astype(kind)
            case _:
                flat[places] -= np.array(rng.integers(1, 4)).astype(kind)
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _damage_header(content: bytes, rng: Rng) -> bytes:
    array = np.load(io.BytesIO(content))
    data = array.tobytes()
    dtype, shape = array.dtype.str, array.shape
    other = str(rng.choice(["<u1", "<u2", "<u4", "<u8", "<i8", "<f8", ">u4", ">u8", "|b1", "<c16"]))
    swapped = tuple(reversed(shape)) if rng.random() < 0.5 else (int(np.prod(shape)), 1)
    headers = [
        f"{{'descr': '{dtype}', 'fortran_order': True, 'shape': {shape}, }}",
        f"{{'descr': '{other}', 'fortran_order': False, 'shape': {shape}, }}",
        f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {swapped}, }}",
        *_ODD_HEADERS,
    ]
    header = headers[int(rng.integers(0, len(headers)))]
    if rng.random() < 0.3:
        array = np.asfortranarray(array.reshape(-1, 1) if array.ndim < 2 else array)
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()
    return npy(header, data, length=int(rng.choice([3, 118, 118, 118, 65535])))


def damage_json(content: bytes, rng: Rng, chosen: Sequence[int]) -> bytes:
    """Replace, remove, double or swap values of a JSON file, or nest it deeply."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return damage_bytes(content, rng)
    if rng.random() < 0.04:
        return b"[" * 20_000 if rng.random() < 0.5 else b'{"a":' * 5000 + b"1" + b"}" * 5000
    places = list(_places(value))
    if not places:
        return json.dumps(_odd(rng, chosen)).encode()
    holder, key = places[int(rng.integers(0, len(places)))]
    match rng.integers(0, 8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder["unheard of"] = _odd(rng, chosen)
        case 2 if isinstance(holder, list):
            holder.extend(holder * int(rng.integers(1, 4)))
        case 3:
            other, name = places[int(rng.integers(0, len(places)))]
            holder[key], other[name] = other[name], holder[key]
        case 4 if isinstance(holder[key], str):
            holder[key] += str(rng.choice(["", "x", "/../x", "\x00", "\u202e"]))
        case _:
            holder[key] = _odd(rng, chosen)
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError):  # swapped into itself
        return b"{}"


def _odd(rng: Rng, chosen: Sequence[int]) -> Any:
    values = [*_ODD_VALUES, *chosen]
    return values[int(rng.integers(0, len(values)))]


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])
