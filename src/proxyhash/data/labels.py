"""Labels as manifests write them: lists, cells, class numbers, one-hot rows, probabilities."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxyhash.data.text_file import read_text_lines
from proxyhash.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = [
    "CLASSES_FILE",
    "LIKELY",
    "Labels",
    "probabilities_of",
    "read_classes",
    "show",
    "split_cell",
]

LIKELY = 0.5
"""Probability from which an item counts as one of a class, wherever labels are yes or no."""

CLASSES_FILE = "classes.txt"
"""Names of the class numbers, beside the manifest: one per line, the first for 0."""

_PIECE = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[0-9]++"""
_LIST = re.compile(rf"[\[({{]\s*(?:(?:{_PIECE})\s*+(?:,\s*+)?)+[\])}}]")  # of Python or numpy
_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((\[[^\]]*\])(?:,\s*dtype=[^()]*)?\)")
_BARE = re.compile(r"""\[([^\[\]{}'"]*)\]""")
_MOST = 1 << 16  # characters of a list that is not JSON


@dataclass(slots=True)
class Labels:
    """Turns what a row has as labels into names.

    Attributes:
        separator: what separates names in a cell; None for `|`, or else `;`.
        classes: returns the names of class numbers, empty where there are none.
        with_comma: number of cells that became one name with a comma in it.
        example: the first of these.
        numbers: number of rows whose class numbers became names.
    """

    separator: str | None = None
    classes: Callable[[], Sequence[str]] = tuple
    with_comma: int = 0
    example: str = ""
    numbers: int = 0
    _names: Sequence[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.separator == "":
            raise UsageError(
                "the label separator is empty; give what is between two labels of a cell, "
                "such as ','"
            )

    def __call__(self, value: object) -> Sequence[object]:
        """Return the names in a row's value, which are not checked further.

        A text is read by `split_cell`. A class number, or a list of them, becomes the names that
        `classes` has; so does a list of a 0 or 1 for every class.

        Raises:
            ValueError: what the value is and what was expected.
        """
        if isinstance(value, str):
            value = self._cell(value)
            if isinstance(value, list) and value and isinstance(value[0], str):
                return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = [value]
            if not self._known:
                raise ValueError(_expected(value[0]))
        if not isinstance(value, list | tuple):
            raise ValueError(_expected(value))  # noqa: TRY004 -- a row's fault, not a caller's
        if value and all(map(_is_number, value)):
            return self._of_numbers(value)
        return value

    def _cell(self, cell: str) -> object:
        names = split_cell(cell, self.separator)
        if isinstance(names, list) and names and all(map(_is_digits, names)):
            known = self._known
            if known and not any(name in known for name in names):
                return [int(name) for name in names]
        elif self.separator is None and names == [cell.strip()] and "," in cell:
            self.with_comma += 1
            self.example = self.example or cell.strip()
        return names

    def _of_numbers(self, values: Sequence[float]) -> list[str]:
        names = self._known
        flags = set(values) <= {0, 1}
        if not names:
            if flags and len(values) > 2:
                raise ValueError(
                    f"labels is {show(values)}, a 0 or 1 for each of {len(values)} classes; put "
                    f"their names into {CLASSES_FILE} beside the manifest, one per line"
                )
            raise ValueError(_expected(values))
        self.numbers += 1
        if flags and len(values) == len(names):
            if len(names) < 3 and len(set(values)) == len(values):
                raise ValueError(
                    f"labels is {show(values)}, which may be class numbers or a 0 or 1 for each "
                    f"of the {len(names)} classes in {CLASSES_FILE}; give names"
                )
            return [name for name, flag in zip(names, values, strict=True) if flag]
        if bad := [each for each in values if not 0 <= each < len(names) or each != int(each)]:
            raise ValueError(
                f"labels has the class number {bad[0]:g}, but there are {len(names)} class names, "
                f"for 0 to {len(names) - 1}"
            )
        return [names[int(each)] for each in values]

    @property
    def _known(self) -> Sequence[str]:
        if self._names is None:
            self._names = self.classes()
        return self._names


def split_cell(cell: str, separator: str | None = None) -> object:
    """Return the names in one cell.

    A cell that begins with `[` is a list: of JSON, of Python (`['dog', 'cat']`), of numpy
    (`['dog' 'cat']`, also within `array(...)`) or of names without quotes; tuples and sets of
    Python are read too. Any other is split at the separator, by default at `|`, or at `;` if it has
    no `|`; blanks around names and empty names are dropped. What looks like a list and is none is
    returned as it is.
    """
    text = cell.strip()
    if array := _ARRAY.fullmatch(text):
        text = array[1]
    if text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    if text[:1] in "[({" and len(text) <= _MOST:
        if _LIST.fullmatch(text) and (text[0] == "[" or "'" in text or '"' in text):
            try:
                return [_value(token) for token in re.findall(_PIECE, text)]
            except (ValueError, SyntaxError):  # an escape that Python does not know
                return cell
        if bare := _BARE.fullmatch(text):
            return [name.strip() for name in bare[1].split(",") if name.strip()]
    if text.startswith("["):
        return cell
    separator = separator or ("|" if "|" in cell else ";")
    return [name.strip() for name in cell.split(separator) if name.strip()]


def probabilities_of(value: object) -> dict[str, float] | None:
    """Return the probability of each class in a row's value; None where it has none.

    Probabilities are an object `{"beach": 0.8, "dog": 1}`, in a table also as the JSON of one. A
    class that is missing, null or 0 is certainly not there.

    Raises:
        ValueError: one is not a number from 0 to 1; says which.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None  # a set of Python, or a name that begins so
    if not isinstance(value, Mapping):
        return None
    found = {}
    for name, each in value.items():
        if each is None:
            continue
        if not _is_number(each) or not 0 <= each <= 1:
            raise ValueError(
                f"labels gives {show(name)} the probability {show(each)}; a number from 0 to 1 is "
                'expected, such as {"dog": 0.8}, or a list of names that are certain'
            )
        if each:
            found[name] = float(each)
    return found


def read_classes(folder: Path) -> tuple[str, ...]:
    """Return the names in `CLASSES_FILE` of a manifest's folder, none without the file.

    Raises:
        ManifestError: the file cannot be read, or a line before the last name is blank.
    """
    path = folder / CLASSES_FILE
    if not path.is_file():
        return ()
    names = [line.strip() for line in read_text_lines(path)]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise ManifestError(
            f"{path}, line {names.index('') + 1}: blank; give one class name per line, the first "
            "for class 0"
        )
    return tuple(names)


def show(value: object) -> str:
    """Return a value as a sentence has it: on one line, cut after 60 characters."""
    shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _value(token: str) -> str | int:
    if token[0] not in "'\"":
        return int(token)
    return str(ast.literal_eval(token)) if "\\" in token else token[1:-1]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_digits(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.isdigit()


def _expected(value: object) -> str:
    return (
        f"labels is {show(value)}; a list of names is expected, such as "
        '["dog", "beach"], or [] for none'
        + (
            f"; class numbers need a file {CLASSES_FILE} beside the manifest with a name per line"
            if _is_number(value)
            or (isinstance(value, list | tuple) and value and all(map(_is_number, value)))
            else ""
        )
    )
