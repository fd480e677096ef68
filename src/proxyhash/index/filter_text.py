"""Filters as people type them: `labels contains dog and not (price >= 9 or color = "dark red")`.

    filter     all of these joined by `or`
    all        these joined by `and`
    part       `not` part, or (filter), or condition
    condition  field `contains` value, or field and one of = != < <= > >= and value
    field      a word, or a text in quotes
    value      a number, true, false, null, a text in quotes, or a word, which stands for a text

`and` binds closer than `or`, `not` closer than both. Words that mean something (and, or, not,
contains, true, false, null) are put in quotes where they are meant as texts.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.errors import UsageError
from proxyhash.index.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Contains,
    Equals,
    Filter,
    Not,
    Or,
    Range,
    filter_to_json,
    parse_filter,
)
from proxyhash.payload import MAX_INTEGER

if TYPE_CHECKING:
    from typing import NoReturn

    from proxyhash.index.filters import Scalar

__all__ = ["parse_filter_text"]

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<sign>[()]|[<>!=]=|[<>=])
      | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[^\s()<>=!"']+)
    """,
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_BOUNDS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_OPERATORS = ("=", "==", "!=", *_BOUNDS)
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_KEYWORDS = {"and", "or", "not", "contains", *_CONSTANTS}


def parse_filter_text(text: str) -> Filter:
    """Return the filter that a text means; a text that starts with `{` is read as JSON.

    Raises:
        UsageError: "filter, column 8: found 'dog', expected ...", with the place marked below.

    Example:
        >>> parse_filter_text('labels contains dog and not price >= 9')
        And(parts=(Contains(field='labels', value='dog'), Not(part=Range(field='price', gt=None,\
 ge=9, lt=None, le=None))))
    """
    if text.lstrip().startswith("{"):
        try:
            return parse_filter(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the filter starts like JSON, but is not JSON: {error}") from None
    return _Parser(text).parse()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else ascii(self.text)[:40]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._split()
        self.place = 0
        self.conditions = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def parse(self) -> Filter:
        filter_ = self._joined("or", depth=1)
        if self.token.kind != "end":
            self._fail("'and', 'or' or the end")
        parse_filter(filter_to_json(filter_))  # refuses what is too deep or too long as JSON
        return filter_

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        start = 0
        while start < len(self.text):
            match = _TOKEN.match(self.text, start)
            if match is None:
                if self.text[start] == "!":
                    self._fail_at(start, "'!'", "'!=' or 'not'")
                self._fail_at(start, "a quote that is not closed", "a text in two equal quotes")
            if match.lastgroup != "space":
                tokens.append(_Token(str(match.lastgroup), match.group(), start))
            start = match.end()
        return [*tokens, _Token("end", "", len(self.text))]

    def _joined(self, word: str, *, depth: int) -> Filter:
        parts = [self._operand(word, depth=depth)]
        while self._accept(word):
            parts.append(self._operand(word, depth=depth))
        if len(parts) == 1:
            return parts[0]
        return Or(tuple(parts)) if word == "or" else And(tuple(parts))

    def _operand(self, word: str, *, depth: int) -> Filter:
        return self._joined("and", depth=depth) if word == "or" else self._part(depth=depth)

    def _part(self, *, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            self._fail(f"no more than {MAX_DEPTH} levels")
        if self._accept("not"):
            return Not(self._part(depth=depth + 1))
        if self._accept("("):
            inner = self._joined("or", depth=depth + 1)
            if not self._accept(")"):
                self._fail("')', 'and' or 'or'")
            return inner
        return self._condition()

    def _condition(self) -> Filter:
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            self._fail(f"no more than {MAX_CONDITIONS} conditions")
        field = self._take("a field's name, 'not' or '('")
        if self._accept("contains"):
            return Contains(field, self._value())
        operator = self.token
        if operator.text not in _OPERATORS:
            self._fail(f"one of {' '.join(_OPERATORS)} contains")
        self.place += 1
        if operator.text in _BOUNDS:
            return Range(field, **{_BOUNDS[operator.text]: self._bound()})
        equals = Equals(field, self._value())
        return Not(equals) if operator.text == "!=" else equals

    def _value(self) -> Scalar:
        token = self.token
        if token.kind == "word":
            if token.text.lower() in _CONSTANTS:
                self.place += 1
                return _CONSTANTS[token.text.lower()]
            if _NUMBER.fullmatch(token.text):
                return self._number()
        return self._take("a value")

    def _bound(self) -> str | int | float:
        start = self.place
        value = self._value()
        if value is None or isinstance(value, bool):
            self.place = start
            self._fail("a number or a text to compare with")
        return value

    def _number(self) -> int | float:
        text = self.token.text
        value = int(text) if _WHOLE.fullmatch(text) else float(text)
        if abs(value) > (MAX_INTEGER if isinstance(value, int) else sys.float_info.max):
            self._fail("a smaller number")
        self.place += 1
        return value

    def _take(self, expected: str) -> str:
        """Return the text of the next token, which must be a quoted text or a word."""
        token = self.token
        is_word = token.kind == "word" and token.text.lower() not in _KEYWORDS
        if token.kind != "quoted" and not is_word:
            hint = " (put the word in quotes if it is meant as a text)"
            self._fail(expected + (hint if token.text.lower() in _KEYWORDS else ""))
        text = token.text
        if token.kind == "quoted":
            text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self._fail("valid Unicode")
        self.place += 1
        return text

    def _accept(self, text: str) -> bool:
        if self.token.kind == "quoted" or self.token.text.lower() != text:
            return False
        self.place += 1
        return True

    def _fail(self, expected: str) -> NoReturn:
        self._fail_at(self.token.start, str(self.token), expected)

    def _fail_at(self, start: int, found: str, expected: str) -> NoReturn:
        first = max(0, start - 50)
        shown = "".join(
            each if each.isprintable() else " " for each in self.text[first : start + 30]
        )
        raise UsageError(
            f"filter, column {start + 1}: found {found}, expected {expected}\n"
            f"  {shown}\n  {' ' * (start - first)}^"
        )
