"""Reader of JSON lines, one object per line: the native format, `items.jsonl`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from proxyhash.data.readers.base import Problem, Record, Records, read_lines, register_reader

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_jsonl"]

_LINES = "; each line holds one item, so write JSON as lines: jq -c '.[]' OLD.json > items.jsonl"


@register_reader(
    "jsonl",
    names=("items.jsonl",),
    suffixes=(".jsonl", ".ndjson"),
    example='{"id": "7", "image": "images/7.jpg", "text": "a dog on a beach", '
    '"labels": ["dog", "beach"]}',
)
def read_jsonl(path: Path) -> Records:
    """Yield one record per line that is not blank; its row is the line number."""
    for line in read_lines(path):
        if isinstance(line, Problem):
            yield line
        elif line[1].strip():
            yield _parse(*line)


def _parse(row: int, text: str) -> Record | Problem:
    hint = _LINES if text.lstrip().startswith("[") or text.strip() == "{" else ""
    try:
        values = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        return Problem(row, f"not valid JSON, column {error.colno} ({error.msg}){hint}")
    except (ValueError, RecursionError) as error:
        return Problem(row, f"not valid JSON ({error})")
    if not isinstance(values, dict):
        return Problem(row, f"a JSON object is expected, not {type(values).__name__}{hint}")
    return Record(row, values)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value
