"""The registry of methods, and how a name becomes an objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from proxyhash.methods.shared.objective import Context, Objective
from proxyhash.methods.shared.settings import Settings, read_settings
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["METHODS", "get_method", "make_objective", "method_settings", "register_method"]

O = TypeVar("O", bound=type[Objective])  # noqa: E741

METHODS: Registry[type[Objective]] = Registry(
    "method", group="proxyhash.methods", modules=("proxyhash.methods.*",)
)
"""Every method by name: the files of `proxyhash/methods/`, and those of other packages."""


def register_method(name: str) -> Callable[[O], O]:
    """Return a decorator that registers an `Objective` under `name`.

    Raises:
        ValueError: another class already has the name.
    """
    return METHODS.register(name)


def get_method(name: str) -> type[Objective]:
    """Return the class of the method `name`.

    Raises:
        UsageError: "method is 'NAME'; it must be one of cca-itq, csq, ...".
    """
    return METHODS[name]


def method_settings(name: str, values: Mapping[str, Any]) -> Settings:
    """Return the settings of the method `name`: `values`, and its defaults for the rest.

    Raises:
        UsageError: there is no such method, a setting is unknown, or a value cannot be used.
    """
    return read_settings(get_method(name).settings_type, values, owner=f"method {name}")


def make_objective(name: str, context: Context, values: Mapping[str, Any]) -> Objective:
    """Return the objective of the method `name` with the settings `values`."""
    return get_method(name)(context, method_settings(name, values))
