"""The methods there are: a decorator here, or the entry-point group `proxyhash.methods`.

To add one, write a file in this folder with an `Objective` under `@register_method("name")` and
import it below; another package names its module under the entry-point group. The contract suite
(tests/methods/test_contract.py) runs over every registered method.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from proxyhash.errors import check_option
from proxyhash.methods.shared.objective import Context, Objective
from proxyhash.methods.shared.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["get_method", "make_objective", "method_settings", "methods", "register_method"]

O = TypeVar("O", bound=type[Objective])  # noqa: E741

_METHODS: dict[str, type[Objective]] = {}


def register_method(name: str) -> Callable[[O], O]:
    """Register the decorated `Objective` under `name`.

    Raises:
        ValueError: another class already has the name.
    """

    def register(method: O) -> O:
        if name in _METHODS and _METHODS[name] is not method:
            raise ValueError(f"there already is a method named {name!r}")
        _METHODS[name] = method
        return method

    return register


def methods() -> Mapping[str, type[Objective]]:
    """Return every method by its name, those of other packages included."""
    _load_methods()
    return dict(_METHODS)


def get_method(name: str) -> type[Objective]:
    """Return the class of the method `name`.

    Raises:
        UsageError: "method is 'NAME'; it must be one of dchml, dcmh, psldh".
    """
    return methods()[check_option("method", name, methods())]


def method_settings(name: str, values: Mapping[str, Any]) -> Settings:
    """Return the settings of the method `name`: `values`, and its defaults for the rest.

    Raises:
        UsageError: there is no such method, a setting is unknown, or a value cannot be used.
    """
    return read_settings(get_method(name).settings_type, values, owner=f"method {name}")


def make_objective(name: str, context: Context, values: Mapping[str, Any]) -> Objective:
    """Return the objective of the method `name` with the settings `values`."""
    return get_method(name)(context, method_settings(name, values))


@cache
def _load_methods() -> None:
    from proxyhash.methods import (  # noqa: F401  (each registers itself)
        cca_itq,
        csq,
        daph,
        dchml,
        dchml_plus,
        dchmt,
        dcmh,
        hyp2,
        label_codes,
        orthohash,
        psldh,
        random_projection,
    )

    for entry in entry_points(group="proxyhash.methods"):
        entry.load()
