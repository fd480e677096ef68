"""Settings that refuse what they do not know, in sentences a user can act on."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings", "read_settings"]


class Settings(BaseModel):
    """Frozen settings; a method's own class lists them with their defaults."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=BaseModel)


def read_settings(kind: type[S], values: Mapping[str, Any], *, owner: str = "") -> S:
    """Return `values` as a `kind`, checked.

    Args:
        kind: The pydantic model.
        values: Names and values, as read from a file or the command line.
        owner: Whose settings they are, for the message (for example "method dchml").

    Raises:
        UsageError: "unknown setting 'learning_rat'; did you mean 'learning_rate'?" or
            "setting bits is 0: input should be greater than or equal to 1"; every wrong
            setting is named, one per line.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        whose = f" of {owner}" if owner else ""
        lines = [_sentence(kind, problem, whose) for problem in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from None


def _sentence(kind: type[BaseModel], problem: Any, whose: str) -> str:
    """Say one pydantic problem in the user's words."""
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        known = sorted(kind.model_fields)
        close = get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"
        return f"unknown setting {name!r}{whose}; {hint}"
    if problem["type"] == "missing":
        step = "add it" if whose else f"give it with --{name.replace('_', '-')}"
        return f"setting {name}{whose} is missing; {step}"
    message: str = problem["msg"].removeprefix("Value error, ")
    if not name:
        return message
    return f"setting {name}{whose} is {problem['input']!r}: {message[0].lower()}{message[1:]}"
