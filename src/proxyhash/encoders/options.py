"""Options behind an encoder's name: `bow:weighting=tfidf,normalize=true`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.errors import UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_options"]

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def read_options(kind: str, argument: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `defaults` with the options of `argument` in place, each of its default's type.

    Args:
        kind: the encoder's name, for the messages.
        argument: "NAME=VALUE,NAME=VALUE", or "".
        defaults: every option there is, with an int, bool or str.

    Raises:
        UsageError: an option is unknown or its value is of another type.
    """
    options = dict(defaults)
    for part in filter(None, argument.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        check_option(f"the option of encoder {kind!r}", name, defaults)
        if not equals:
            raise UsageError(f"encoder {kind!r}: the option {name} has no value; write {name}=...")
        options[name] = _read(f"{kind}:{name}", value, type(defaults[name]))
    return options


def _read(name: str, value: str, expected: type) -> Any:
    if expected is bool:
        return check_option(name, value.lower(), _TRUE + _FALSE) in _TRUE
    if expected is int:
        try:
            return int(value)
        except ValueError:
            raise UsageError(f"{name} is {value!r}; a whole number is expected") from None
    return value
