"""JSON values of the cells of a Parquet table, converted without pandas."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["NOT_FINITE", "BadCell", "column_cells", "decoded", "type_name"]

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_FIRST_DAY = dt.date(1970, 1, 1).toordinal()


NOT_FINITE = object()
"""A number that JSON does not have."""


class BadCell:
    """A cell without a JSON value, and the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def column_cells(column: Any, pyarrow: Any) -> Sequence[object]:
    """Return the Python values of a column, in one step where every value surely has one."""
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_plain(column.type, pyarrow):
        try:
            cells: list[Any] = column.to_pylist()
        except (ValueError, pyarrow.ArrowException):  # text that is not UTF-8
            pass
        else:
            if not pyarrow.types.is_floating(column.type):
                return cells
            return [cell if cell is None or math.isfinite(cell) else NOT_FINITE for cell in cells]
    return [_cell(scalar, pyarrow) for scalar in column]


def _is_plain(kind: Any, pyarrow: Any) -> bool:
    types = pyarrow.types
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type, pyarrow) and not types.is_floating(kind.value_type)
    return any(
        check(kind)
        for check in (
            *(types.is_string, types.is_large_string, types.is_boolean),
            *(types.is_integer, types.is_floating, types.is_null),
        )
    )


def _cell(scalar: Any, pyarrow: Any) -> object:
    try:
        return _value(scalar, pyarrow)
    except UnicodeDecodeError as error:
        return BadCell(f"not UTF-8 text ({error.reason})")
    except (ArithmeticError, ValueError, TypeError, AttributeError) as error:
        return BadCell(f"{scalar.type} that has no JSON value ({error})")
    except (pyarrow.ArrowException, NotImplementedError, RecursionError) as error:
        return BadCell(f"{scalar.type} that pyarrow cannot convert ({error})")


def _value(scalar: Any, pyarrow: Any) -> object:
    """Return the JSON value of one cell.

    Raises:
        Exception: it has none; `_cell` lists the classes.
    """
    if not scalar.is_valid:
        return None
    types, kind = pyarrow.types, scalar.type
    result: object
    if types.is_map(kind):
        result = _mapping([[_inner(each, pyarrow) for each in pair] for pair in _pairs(scalar)])
    elif types.is_struct(kind):
        names = _unique([kind.field(place).name for place in range(kind.num_fields)])
        result = {name: _inner(scalar[place], pyarrow) for place, name in enumerate(names)}
    elif types.is_dictionary(kind):
        result = _value(scalar.dictionary[scalar.index.as_py()], pyarrow)
    elif hasattr(kind, "value_type") and hasattr(scalar, "values"):
        result = [_inner(each, pyarrow) for each in scalar.values]
    else:
        convert = next(
            (convert for check, convert in _CONVERSIONS.items() if getattr(types, check)(kind)),
            _other,
        )
        result = convert(scalar)
    return result


def _inner(scalar: Any, pyarrow: Any) -> object:
    value = _value(scalar, pyarrow)
    return None if isinstance(value, bytes) else value


def _pairs(scalar: Any) -> Iterator[tuple[Any, Any]]:
    return ((pair[0], pair[1]) for pair in scalar.values)


def _mapping(pairs: list[list[object]]) -> object:
    """Return an object where the keys are different texts, else the list of pairs."""
    keys = {pair[0] for pair in pairs if isinstance(pair[0], str)}
    return {str(key): value for key, value in pairs} if len(keys) == len(pairs) else pairs


def decoded(cell: object, *, else_: str = "") -> object:
    """Return a cell of bytes as the text that it is in UTF-8, any other cell as it is.

    Args:
        cell: of a table.
        else_: said about bytes that are not text; by default why they are not.
    """
    if not isinstance(cell, bytes):
        return cell
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadCell(else_ or f"not UTF-8 text ({error.reason})")


def _other(scalar: Any) -> object:
    value = scalar.as_py()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bytes):
        return value
    return str(value)


def _decimal(scalar: Any) -> float:
    value = scalar.as_py()
    return int(value) if scalar.type.scale <= 0 else float(value)


def _date(scalar: Any) -> str:
    days = scalar.value if scalar.type.bit_width == 32 else scalar.value // (_DAY * 1000)
    return _day(days)


def _day(days: int) -> str:
    try:
        return dt.date.fromordinal(days + _FIRST_DAY).isoformat()
    except (ValueError, OverflowError):
        raise ValueError("its year is not one of 1 to 9999") from None


def _time(scalar: Any) -> str:
    return _clock(scalar.value, _PER_SECOND[scalar.type.unit])


def _timestamp(scalar: Any) -> str:
    second = _PER_SECOND[scalar.type.unit]
    days, rest = divmod(scalar.value, _DAY * second)
    zone = "" if scalar.type.tz is None else "+00:00"
    return f"{_day(days)}T{_clock(rest, second)}{zone}"


def _clock(ticks: int, second: int) -> str:
    """Return hours, minutes and seconds; digits after the point only as far as they are needed."""
    seconds, rest = divmod(ticks, second)
    digits = f"{rest:0{len(str(second)) - 1}d}".rstrip("0") if rest else ""
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{clock}.{digits}" if digits else clock


def _duration(scalar: Any) -> float:
    ticks: int = scalar.value
    second = _PER_SECOND[scalar.type.unit]
    return ticks if second == 1 else ticks / second


_CONVERSIONS: Mapping[str, Callable[[Any], object]] = {
    "is_decimal": _decimal,
    "is_date": _date,
    "is_time": _time,
    "is_timestamp": _timestamp,
    "is_duration": _duration,
}
_TYPE_NAMES = {
    "is_decimal": "numbers",
    "is_date": "dates",
    "is_time": "times",
    "is_timestamp": "timestamps",
    "is_duration": "seconds",
}


def type_name(kind: Any, pyarrow: Any) -> str:
    """Return what the cells of a type become: "numbers", "dates", ..., or "" for anything else."""
    types = pyarrow.types
    if types.is_integer(kind) or types.is_floating(kind):
        return "numbers"
    if types.is_boolean(kind):
        return "true or false"
    return next((name for check, name in _TYPE_NAMES.items() if getattr(types, check)(kind)), "")


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, a repeated one with a number behind it."""
    taken, result = set(names), []
    for place, name in enumerate(names):
        count = names[:place].count(name) + 1
        fresh = name
        while count > 1 and fresh in taken:
            fresh, count = f"{name} ({count})", count + 1
        taken.add(fresh)
        result.append(fresh)
    return result
