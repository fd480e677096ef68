"""All errors that this package raises on purpose, with their exit codes on the command line.

ProxyhashError                1   any failure; the message has the next step
├── UsageError                2   an option, argument or setting is wrong
├── DataError                 3   a manifest, image, feature file or code file is bad
│   ├── ManifestError             names the file and row
│   ├── SourceError               names the file of an item
│   │   └── ImageError                names the image
│   ├── FeatureError              names the feature file
│   └── MigratedError             an index holds codes of another model since it was opened
├── ModelError                3   a model or run folder is incomplete, damaged or does not match
├── MissingExtraError         4   an optional dependency is not installed
├── DivergedError             1   training produced NaN or infinity
├── OutOfMemoryError          1   training needs more memory; names the option to change
├── StoppedError              1   nobody waits for the work any more; only inside a service
└── InterruptedRunError     130   stopped by the user; progress is saved
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DataError",
    "DivergedError",
    "FeatureError",
    "ImageError",
    "InterruptedRunError",
    "ManifestError",
    "MigratedError",
    "MissingExtraError",
    "ModelError",
    "OutOfMemoryError",
    "ProxyhashError",
    "SourceError",
    "StoppedError",
    "UsageError",
    "check_option",
    "closest",
    "require_extra",
]

_LONGEST_WORD = 64


class ProxyhashError(Exception):
    """Root of the tree; the message is a sentence for the user, with the next step in it."""

    exit_code: ClassVar[int] = 1


class UsageError(ProxyhashError):
    """An option, argument or setting that cannot be used."""

    exit_code = 2


class DataError(ProxyhashError):
    """Input data that cannot be used."""

    exit_code = 3


class ManifestError(DataError):
    """A manifest that cannot be read; the message names the file and row."""


class SourceError(DataError):
    """A file of an item that cannot be read; encoders raise it, or a class below it."""


class ImageError(SourceError):
    """An image that cannot be decoded within the limits; the message names it."""


class NotFiniteError(SourceError):
    """Features that an encoder made of an item and that are not finite; never skipped."""


class FeatureError(DataError):
    """A feature file that is unreadable or does not match the manifest."""


class MigratedError(DataError):
    """An index that was migrated to another model since it was opened; open both again."""


class ModelError(ProxyhashError):
    """A model or run folder that is incomplete, damaged or belongs to something else."""

    exit_code = 3


class MissingExtraError(ProxyhashError):
    """An optional dependency is missing; the message has the install command."""

    exit_code = 4


class DivergedError(ProxyhashError):
    """Training produced a loss that is not finite."""


class OutOfMemoryError(ProxyhashError):
    """Training needs more memory than there is; the message says which option to change to what."""


class StoppedError(ProxyhashError):
    """Work that ended early because nobody waits for its result."""


class InterruptedRunError(ProxyhashError):
    """The user stopped the work; the message says how to resume it."""

    exit_code = 130


def check_option(name: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        UsageError: "NAME is 'VALUE'; it must be one of a, b, c (did you mean 'b'?)".
    """
    allowed = sorted(allowed)
    if value in allowed:
        return value
    close = closest(value, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}{hint}")


def closest(word: str, candidates: Iterable[str], *, n: int = 3) -> tuple[str, ...]:
    """Return the candidates most alike to a word, most alike first; none for a very long word.

    Upper and lower case count as the same.

    Args:
        word: as somebody wrote it.
        candidates: what it may have meant.
        n: at most this many.

    Example:
        >>> closest("snwo", ["snow", "dog", "show"])
        ('snow', 'show')
    """
    if not 0 < len(word) <= _LONGEST_WORD:
        return ()
    written: dict[str, str] = {}
    for candidate in candidates:  # comparing is slow; lengths that differ much are never alike
        if 2 * abs(len(candidate) - len(word)) <= len(word) + 1:
            written.setdefault(candidate.casefold(), candidate)
    plain = word.casefold()
    swapped = [one for one in written if sorted(one) == sorted(plain)]  # before other letters
    alike = get_close_matches(plain, written, n=n, cutoff=0.7)
    found = dict.fromkeys(get_close_matches(plain, swapped, n=n, cutoff=0.5) + alike)
    return tuple(written[one] for one in found)[:n]


def require_extra(module: str, *, extra: str, purpose: str) -> Any:
    """Import an optional dependency.

    Raises:
        MissingExtraError: "reading Parquet needs pyarrow: pip install 'proxyhash[formats]'".
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs {package}: pip install 'proxyhash[{extra}]'"
        ) from error
