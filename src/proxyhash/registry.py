"""Generic registry: members in modules of this package, and in others by entry point."""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
from hashlib import sha256
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Generic, TypeVar

from proxyhash.errors import ProxyhashError, UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["PLUGIN_FILES", "Registry", "add_plugin_files", "load_plugin_files"]

PLUGIN_FILES = "PROXYHASH_PLUGINS"
"""Environment variable with the paths of Python files that register members, joined by a colon (on
Windows a semicolon); worker processes see it, too."""

logger = logging.getLogger(__name__)

T = TypeVar("T")
Member = TypeVar("Member")


class Registry(Generic[T]):
    """Named members of one kind, such as all methods or all engines; iterates over the names.

    A member registers itself when its module is imported. The modules of this package are imported
    at the first look-up, and so is what other packages name under the entry-point group, and the
    files that the user names (see `PLUGIN_FILES`). An entry point that cannot be loaded is warned
    about and costs the other members nothing.

    Args:
        noun: what one member is, in messages: "method".
        group: the entry-point group, such as "proxyhash.methods".
        modules: dotted names of this package's modules with members; "package.*" stands for every
            module of a package whose name does not begin with an underscore, and
            "package.*.engine" for the module `engine` of each of its folders.
        ordered: whether the names are in the order of their registration, not sorted.
        adopts: whether an entry point may name the member itself, which is then registered under
            the entry point's name if it has not registered itself.

    Example:
        >>> greetings: Registry[str] = Registry("greeting", group="example.greetings")
        >>> greetings.add("short", "hi")
        'hi'
        >>> greetings["short"]
        'hi'
    """

    def __init__(
        self,
        noun: str,
        *,
        group: str,
        modules: Sequence[str] = (),
        ordered: bool = False,
        adopts: bool = False,
    ) -> None:
        self.noun = noun
        self.group = group
        self._ordered = ordered
        self._adopts = adopts
        self._modules = tuple(modules)
        self._members: dict[str, T] = {}
        self._broken: dict[str, str] = {}
        self._loaded = False
        self._lock = RLock()

    def register(self, name: str) -> Callable[[Member], Member]:
        """Return a decorator that registers a function or class under `name`."""

        def decorate(member: Member) -> Member:
            self.add(name, member)  # type: ignore[arg-type]  # a decorator keeps the exact type
            return member

        return decorate

    def add(self, name: str, member: T) -> T:
        """Register a member under `name` and return it; an equal one twice is fine.

        Loads nothing, so that modules may register while this package is being imported.

        Raises:
            ValueError: another member already has the name.
        """
        taken = self._members.setdefault(name, member)
        if taken != member:
            raise ValueError(f"another {self.noun} is already named {name!r}: {taken!r}")
        return taken

    def remove(self, name: str) -> None:
        """Remove a member, such as one of a test."""
        del self._members[name]

    def __getitem__(self, name: str) -> T:
        """Return the member called `name`.

        Raises:
            UsageError: "method is 'dchm'; it must be one of ... (did you mean 'dchml'?)".
        """
        if name in self._members:  # no need to load the others
            return self._members[name]
        self.load()
        if name not in self._members and name in self._broken:
            raise ProxyhashError(f"{self.noun} {name!r}: {self._broken[name]}")
        return self._members[check_option(self.noun, name, self._members)]

    @property
    def broken(self) -> dict[str, str]:
        """Sentence about each entry point that cannot be loaded, by its name."""
        self.load()
        return dict(self._broken)

    def __contains__(self, name: object) -> bool:
        """Whether there is a member of that name."""
        if name not in self._members:
            self.load()
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted or in the order of registration."""
        self.load()
        return iter(list(self._members) if self._ordered else sorted(self._members))

    def __len__(self) -> int:
        """Return the number of members."""
        self.load()
        return len(self._members)

    def items(self) -> list[tuple[str, T]]:
        """Return the (name, member) pairs in the order of the names."""
        return [(name, self._members[name]) for name in self]

    def load(self) -> None:
        """Import every module that may hold members, once."""
        if not self._loaded:
            with self._lock:
                self._load()

    def _load(self) -> None:
        if self._loaded:  # by another thread meanwhile
            return
        for name in self._modules:
            _import(name)
        for entry in entry_points(group=self.group):
            try:
                found = entry.load()
            except Exception as error:  # whatever a module of another package raises
                self._broken[entry.name] = _why_broken(entry, error)
                logger.warning("%s; everything else works without it", self._broken[entry.name])
                continue
            if self._adopts and entry.name not in self._members:
                self._members[entry.name] = found
        load_plugin_files()
        self._loaded = True


def add_plugin_files(paths: Iterable[Path]) -> None:
    """Add files to those that `PLUGIN_FILES` names, for worker processes, too, and run them.

    Raises:
        UsageError: as `load_plugin_files`.
    """
    named = os.environ.get(PLUGIN_FILES, "").split(os.pathsep)
    named += [str(path.absolute()) for path in paths]
    os.environ[PLUGIN_FILES] = os.pathsep.join(dict.fromkeys(filter(None, named)))
    load_plugin_files()


def load_plugin_files() -> None:
    """Run the files that `PLUGIN_FILES` names, each once; what they register is then there.

    Raises:
        UsageError: a file is missing, or raises an error; names the file and its line.
    """
    for given in filter(None, os.environ.get(PLUGIN_FILES, "").split(os.pathsep)):
        path = Path(given).expanduser().resolve()
        name = f"proxyhash_plugin_{path.stem}_{sha256(bytes(path)).hexdigest()[:8]}"
        if name in sys.modules:  # run already, or running right now
            continue
        spec = spec_from_file_location(name, path) if path.is_file() else None
        if spec is None or spec.loader is None:
            raise UsageError(f"plug-in {given}: no such Python file; give the path of a .py file")
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever somebody's file raises
            del sys.modules[name]
            raise UsageError(
                f"plug-in {given}{_line(error, path)}: {type(error).__name__}: {error}; mend the "
                "file, or leave it out"
            ) from error


def _line(error: Exception, path: Path) -> str:
    """Return ", line 3", the last one of this file that an error passed through."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines, step = [], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            lines.append(step.tb_lineno)
        step = step.tb_next
    return f", line {lines[-1]}" if lines else ""


def _why_broken(entry: EntryPoint, error: Exception) -> str:
    package = f"the package {entry.dist.name}" if entry.dist else "another package"
    return (
        f"{entry.value}, which {package} names under the entry-point group {entry.group}, "
        f"cannot be loaded: {type(error).__name__}: {error}; mend or uninstall the package"
    )


def _import(name: str) -> None:
    package, star, rest = name.partition(".*")
    module = import_module(package)
    if star:
        for found in pkgutil.iter_modules(module.__path__):
            if not found.name.startswith("_") and found.ispkg == bool(rest):
                import_module(f"{package}.{found.name}{rest}")
