"""Filters as Milvus expressions that everything matching meets, and little else.

What a Milvus expression says of a missing field, of null and of `not` differs between versions
(Milvus Lite 2.5 has no `not` and no null at all), so only conditions whose meaning is the same
everywhere are sent along; `matches` then decides on what comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.index.filters import And, Contains, Equals, Not, Or, Range
from proxyhash.index.milvus.keys import quoted

if TYPE_CHECKING:
    from proxyhash.index.filters import Filter, Scalar

__all__ = ["NOTHING", "expression"]

NOTHING = 'id < ""'
"""True of no item."""

_EXACT = 2**53
"""Up to here, numbers compare as doubles as they do as integers."""


def expression(filter: Filter) -> str:  # noqa: A002 -- the interface's word
    """Return an expression on the fields `id` and `payload`; "" when every item may match.

    Example:
        >>> expression(And((Equals("split", "train"), Not(Equals("kind", "dog")))))
        '(payload["split"] == "train")'
    """
    match filter:
        case Equals(field, value):
            return _condition("{} == {}", field, value)
        case Contains(field, value):
            # For 5, Milvus does not find 5.0 in the list; for 5.0 it finds both.
            if type(value) is int and abs(value) < _EXACT:
                value = float(value)
            return _condition("json_contains({}, {})", field, value)
        case Range(field):
            bounds = {">": filter.gt, ">=": filter.ge, "<": filter.lt, "<=": filter.le}
            return _joined(
                "and",
                [
                    _condition(f"{{}} {sign} {{}}", field, bound)
                    for sign, bound in bounds.items()
                    if bound is not None
                ],
            )
        case And(parts):
            return _joined("and", [expression(part) for part in parts])
        case Or(parts):
            texts = [expression(part) for part in parts]
            return _joined("or", texts or [NOTHING]) if all(texts) else ""
        case Not():
            return ""


def _joined(word: str, texts: list[str]) -> str:
    texts = [text for text in texts if text]
    return f"({f' {word} '.join(texts)})" if texts else ""


def _condition(form: str, field: str, value: Scalar) -> str:
    literal = _literal(value)
    if literal and _plain(field):
        return form.format(f"payload[{quoted(field)}]", literal)
    return ""


def _literal(value: Scalar) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value) if not value or _plain(value) else ""
        case int() | float() if abs(value) < _EXACT:
            return repr(value)
        case _:
            return ""


def _plain(text: str) -> bool:
    # What has an escape in JSON, in JSON pointers or in an expression is read differently.
    return text != "" and text.isprintable() and not set(text) & set("\"'\\/~")
