"""Checks of the arguments of every index, so that all of them refuse with the same sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from proxyhash.codes import Codes, check_codes
from proxyhash.codes.asymmetric import Weights, check_weights
from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.index.filters import Filter, check_fields
from proxyhash.payload import check_id, check_string, copy_json

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "as_ids",
    "can_be_id",
    "check_batch",
    "check_codes_of",
    "check_filter",
    "check_item_weights",
    "check_items",
    "check_limits",
    "check_modalities",
    "check_search",
    "check_shortlist",
]


def can_be_id(id_: object) -> TypeGuard[str]:
    """Whether something may be stored under this id."""
    if not isinstance(id_, str):
        return False
    try:
        check_string(id_, "an id")
    except DataError:
        return False
    return True


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
    ids = [check_id(id_) for id_ in ids]
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


def check_item_weights(
    weights: Weights | Mapping[str, Weights], codes: Mapping[str, Codes], *, bits: int
) -> dict[str, Weights]:
    """Return how sure items to store are of each bit, uint16 (n, bits), by modality.

    Args:
        weights: by modality, or plain where there is one; some may be missing.
        codes: their codes, checked.
        bits: the code length.

    Raises:
        DataError: weights of the wrong type or number, or of a modality without codes.
    """
    if not isinstance(weights, Mapping):
        if len(codes) > 1:
            raise DataError(
                f"codes are given of {' and '.join(codes)}; give a mapping from modality to weights"
            )
        weights = dict.fromkeys(codes, weights)
    for name, rows in weights.items():
        if name not in codes:
            raise DataError(f"weights are given of {name!r}, but no codes")
        check_weights(rows, queries=len(codes[name]), bits=bits)
    return dict(weights)


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
    check_limits(k=k, radius=radius)
    if modality is None:
        if len(modalities) > 1:
            raise UsageError(
                f"the index has the modalities {' and '.join(modalities)}; say which is searched"
            )
        modality = modalities[0]
    check_option("modality", modality, modalities)
    check_codes(codes, bits=bits, name="query codes")
    return modality


def check_limits(*, k: int | None, radius: int | None) -> None:
    """Check how much a search may return.

    Raises:
        UsageError: neither k nor a radius is given, or one is out of range or not a whole number.
    """
    if k is None and radius is None:
        raise UsageError("neither k nor a radius is given; a search needs one of them")
    for name, value in (("k", k), ("radius", radius)):
        if value is not None and not _is_whole(value):
            raise UsageError(f"{name} is {value!r}; it must be a whole number")
    if k is not None and k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    if radius is not None and radius < 0:
        raise UsageError(f"radius is {radius}; it must be at least 0 bits")


def check_shortlist(shortlist: object) -> None:
    """Check the length of a short-list.

    Raises:
        UsageError: "shortlist is 0; ...".
    """
    if shortlist is not None and not (_is_whole(shortlist) and shortlist >= 1):
        raise UsageError(
            f"shortlist is {shortlist!r}; it must be a whole number of at least 1, or for all "
            "items `all` on the command line, null in JSON, None in Python"
        )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_filter(filter: object) -> None:  # noqa: A002 -- the index's word
    """Check that a filter is one, and neither its text nor its JSON.

    Raises:
        UsageError: "filter is a str; ...".
    """
    if filter is not None and not isinstance(filter, Filter):
        raise UsageError(
            f"filter is a {type(filter).__name__}; make one with proxyhash.parse_filter_text, "
            "from words or from JSON"
        )
    if filter is not None:
        check_fields(filter)


def _checked_payload(id_: str, payload: object) -> dict[str, object]:
    if not isinstance(payload, Mapping):
        raise DataError(f"the payload of {id_!r} is {payload!r:.60}; it must be a JSON object")
    copied = copy_json(payload, place=f"the payload of {id_!r}")
    assert isinstance(copied, dict)
    return copied
