"""`import proxyhash` offers every public name, and loads nothing heavy for it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import proxyhash as ph

HEAVY = ("torch", "transformers", "numba", "sklearn", "scipy", "numpy", "PIL", "pydantic", "typer")
NAMES = [name for name in ph.__all__ if name != "__version__"]


def typed_imports() -> dict[str, str]:
    """What type checkers are told: name -> module, as written under TYPE_CHECKING."""
    tree = ast.parse(Path(ph.__file__).read_text(encoding="utf-8"))
    (block,) = (each for each in tree.body if isinstance(each, ast.If))
    return {
        alias.name: str(each.module)
        for each in block.body
        if isinstance(each, ast.ImportFrom) and str(each.module).startswith("proxyhash")
        for alias in each.names
    }


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, proxyhash\n"
        "dir(proxyhash)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "print([name for name in sys.modules if name.startswith('proxyhash.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_searching_an_index_loads_neither_torch_nor_transformers():
    code = (
        "import sys, proxyhash as ph\n"
        "ph.MemoryIndex, ph.open_index, ph.top_k, ph.read_collection, ph.CodeFile, ph.evaluate\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_is_sorted_and_is_what_dir_shows():
    assert ph.__all__ == sorted(ph.__all__)
    assert set(ph.__all__) <= set(dir(ph))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_imported_and_is_documented(name: str):
    value = getattr(ph, name)
    assert inspect.getdoc(value)
    assert getattr(ph, name) is value


def test_type_checkers_see_the_same_names_at_the_same_places():
    typed = typed_imports()
    assert set(typed) == set(NAMES)
    assert {name: f"proxyhash.{home}" for name, home in ph._HOMES.items()} == typed


def test_everything_can_be_imported_at_once():
    scope: dict[str, object] = {}
    exec("from proxyhash import *", scope)
    assert set(ph.__all__) <= set(scope)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'proxyhash' has no attribute 'trian'"):
        _ = ph.trian  # type: ignore[attr-defined]


def test_rooms_can_still_be_imported_from_the_package():
    from proxyhash import errors

    assert issubclass(errors.UsageError, ph.ProxyhashError)
