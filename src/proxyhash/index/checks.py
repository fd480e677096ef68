"""Checks of the arguments of every index, so that all of them refuse with the same sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from proxyhash.codes import Codes, check_codes
from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.index.filters import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "as_ids",
    "can_be_id",
    "check_batch",
    "check_codes_of",
    "check_items",
    "check_modalities",
    "check_search",
    "copy_json",
]

MAX_ID = 512
"""Characters of the longest id, as in a manifest."""

_MAX_DEPTH = 32


def can_be_id(id_: object) -> TypeGuard[str]:
    """Whether something may be stored under this id."""
    return isinstance(id_, str) and (id_.isascii() or _is_unicode(id_))


def as_ids(ids: Sequence[str]) -> list[str]:
    """Return those of the ids that something may be stored under, each once.

    Raises:
        UsageError: "ids is the string 'abc'; give a list of ids".
    """
    if isinstance(ids, str):
        raise UsageError(f"ids is the string {ids!r:.60}; give a list of ids")
    return [id_ for id_ in dict.fromkeys(ids) if can_be_id(id_)]


def check_batch(batch: int) -> int:
    """Return the number of items per batch.

    Raises:
        UsageError: "batch is 0; it must be at least 1".
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}; it must be at least 1")
    return batch


def check_codes_of(
    place: object, *, bits: int, model: str, wanted_bits: int | None, wanted_model: str | None
) -> None:
    """Refuse an index whose codes have another length, or are another model's, than wanted.

    Args:
        place: where the index is, for the sentence.
        bits: its code length.
        model: its model's fingerprint, "" when unknown.
        wanted_bits: the code length it must have; None for any.
        wanted_model: the fingerprint it must have; None or "" for any.

    Raises:
        DataError: "FOLDER holds codes of 64 bits, not 128; ...".
    """
    if wanted_bits is not None and wanted_bits != bits:
        raise DataError(
            f"{place} holds codes of {bits} bits, not {wanted_bits}; encode with the model "
            "the index was built with, or build another index"
        )
    if wanted_model and model and wanted_model != model:
        raise DataError(
            f"{place} holds codes of model {model}, not {wanted_model}; codes of two models "
            "cannot be compared: use the model the index was built with, or build another index"
        )


def check_modalities(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the names of modalities when an index can have them.

    Raises:
        UsageError: there are none, or one is not a name or is repeated.
    """
    names = tuple(modalities)
    if isinstance(modalities, str) or not names or len(set(names)) != len(names):
        raise UsageError(
            f"modalities is {modalities!r}; it must be one or several different names, "
            "such as ('image', 'text')"
        )
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or len(name) > 32:
            raise UsageError(f"{name!r} is not a modality name; use up to 32 letters, digits and _")
    return names


def check_items(
    ids: Sequence[str],
    codes: Codes | Mapping[str, Codes],
    payloads: Sequence[Mapping[str, object]] | None,
    *,
    bits: int,
    modalities: tuple[str, ...],
) -> tuple[list[str], dict[str, Codes], list[dict[str, object]]]:
    """Return the ids, codes by modality and payloads of items to store.

    Args:
        ids: n ids, all different.
        codes: packed codes, uint8 (n, ceil(bits/8)), by modality, or plain where there is one.
        payloads: n JSON objects, copied; None for empty ones.
        bits: the code length of the index.
        modalities: what the index can hold codes of.

    Raises:
        DataError: something has the wrong type, width or number; says which item.
    """
    if isinstance(ids, str):
        raise DataError(f"ids is the string {ids!r:.60}; give a list of ids")
    ids = [_checked_id(id_) for id_ in ids]
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(id_ for id_ in ids if id_ in seen or seen.add(id_))  # type: ignore[func-returns-value]
        raise DataError(f"id {twice!r} is given twice; ids must be unique")
    if not isinstance(codes, Mapping):
        if len(modalities) > 1:
            raise DataError(
                f"the index has the modalities {' and '.join(modalities)}; "
                "give a mapping from modality to codes"
            )
        codes = {modalities[0]: codes}
    if not codes:
        raise DataError("no codes are given; an item has one in at least one modality")
    for name, rows in codes.items():
        if name not in modalities:
            raise DataError(
                f"codes are given of {name!r}; the index has {' and '.join(modalities)}"
            )
        check_codes(rows, bits=bits, name=f"{name} codes" if len(modalities) > 1 else "codes")
    payloads = [{}] * len(ids) if payloads is None else payloads
    for rows in codes.values():
        if not len(ids) == len(rows) == len(payloads):
            raise DataError(
                f"{len(ids)} ids, {len(rows)} codes and {len(payloads)} payloads were given; "
                "an item has one of each"
            )
    return ids, dict(codes), [_checked_payload(*pair) for pair in zip(ids, payloads, strict=True)]


def check_search(
    codes: Codes,
    *,
    k: int | None,
    modality: str | None,
    radius: int | None,
    bits: int,
    modalities: tuple[str, ...],
) -> str:
    """Return the modality that a search is about, when its arguments make sense together.

    Raises:
        UsageError: neither k nor a radius, or one out of range; an unknown modality.
        DataError: the codes have another width than the index.
    """
    if k is None and radius is None:
        raise UsageError("neither k nor a radius is given; a search needs one of them")
    if k is not None and k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    if radius is not None and radius < 0:
        raise UsageError(f"radius is {radius}; it must be at least 0 bits")
    if modality is None:
        if len(modalities) > 1:
            raise UsageError(
                f"the index has the modalities {' and '.join(modalities)}; say which is searched"
            )
        modality = modalities[0]
    check_option("modality", modality, modalities)
    check_codes(codes, bits=bits, name="query codes")
    return modality


def copy_json(value: object, *, place: str = "the payload", depth: int = 0) -> object:
    """Return a copy of a JSON value that shares nothing with it; tuples become lists.

    Raises:
        DataError: "PLACE holds nan, which is not JSON".
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _checked_string(value, place)
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise DataError(f"{place} holds an integer of more than 64 bits; use a float")
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth == _MAX_DEPTH:
        raise DataError(f"{place} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        return [copy_json(one, place=place, depth=depth + 1) for one in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise DataError(f"{place} has a key that is not a string, which is not JSON")
        return {
            _checked_string(key, place): copy_json(one, place=place, depth=depth + 1)
            for key, one in value.items()
        }
    raise DataError(f"{place} holds {value!r:.60}, which is not JSON")


def _checked_id(id_: object) -> str:
    if not isinstance(id_, str):
        raise DataError(f"id {id_!r:.60} is not a string")
    if not 1 <= len(id_) <= MAX_ID:
        raise DataError(f"id {id_[:20]!r} has {len(id_)} characters; 1 to {MAX_ID} are expected")
    if "\0" in id_:
        raise DataError(f"id {id_!r} contains a null character")
    return _checked_string(id_, "an id")


def _checked_string(text: str, place: str) -> str:
    if not text.isascii() and not _is_unicode(text):
        raise DataError(f"{place} holds {text!a:.60}, which is not valid Unicode")
    return str(text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _checked_payload(id_: str, payload: object) -> dict[str, object]:
    if not isinstance(payload, Mapping):
        raise DataError(f"the payload of {id_!r} is {payload!r:.60}; it must be a JSON object")
    copied = copy_json(payload, place=f"the payload of {id_!r}")
    assert isinstance(copied, dict)
    return copied
