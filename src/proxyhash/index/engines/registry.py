"""The search engines there are: a decorator here, or the entry-point group `proxyhash.engines`.

To add one, write a class with the `Engine` interface under `@register_engine` and import it below;
another package names its module under the entry-point group. The contract suite
(tests/index/engines/test_contract.py) runs over every registered exact engine.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from proxyhash.errors import check_option
from proxyhash.index.engines.base import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["engines", "get_engine", "register_engine"]

E = TypeVar("E", bound=type[Engine])

_ENGINES: dict[str, type[Engine]] = {}


def register_engine(engine: E) -> E:
    """Class decorator: make an engine available under its `name`.

    Raises:
        ValueError: another class already has that name.
    """
    taken = _ENGINES.setdefault(engine.name, engine)
    if taken is not engine:
        raise ValueError(f"{taken.__qualname__} already is the engine {engine.name!r}")
    return engine


def engines() -> Mapping[str, type[Engine]]:
    """Return every engine by its name, those of other packages included."""
    _load_engines()
    return dict(_ENGINES)


def get_engine(name: str) -> type[Engine]:
    """Return the class of the engine `name`.

    Raises:
        UsageError: "engine is 'NAME'; it must be one of ...".
    """
    return engines()[check_option("engine", name, engines())]


@cache
def _load_engines() -> None:
    import proxyhash.index.engines.auto.engine
    import proxyhash.index.engines.clustered.engine
    import proxyhash.index.engines.faiss.engine
    import proxyhash.index.engines.multi_index.engine
    import proxyhash.index.engines.scan.engine
    import proxyhash.index.engines.segmented.engine  # noqa: F401  (each registers itself)

    for entry in entry_points(group="proxyhash.engines"):
        entry.load()
