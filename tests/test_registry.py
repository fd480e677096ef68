"""The generic registry: names, clashes, lazy loading and members of other packages."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from proxyhash import registry as module
from proxyhash.errors import UsageError
from proxyhash.registry import PLUGIN_FILES, Registry, load_plugin_files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_decorator_registers_and_returns_the_class() -> None:
    kinds: Registry[type] = Registry("kind", group="proxyhash.test")

    @kinds.register("plain")
    class Plain:
        pass

    assert kinds["plain"] is Plain
    assert list(kinds) == ["plain"]
    assert len(kinds) == 1
    assert kinds.items() == [("plain", Plain)]
    assert "plain" in kinds
    assert "other" not in kinds


def test_a_name_is_taken_once() -> None:
    kinds: Registry[object] = Registry("kind", group="proxyhash.test")
    first = kinds.add("one", object())
    assert kinds.add("one", first) is first
    with pytest.raises(ValueError, match="another kind is already named 'one'"):
        kinds.add("one", object())
    kinds.remove("one")
    assert "one" not in kinds


def test_an_unknown_name_lists_the_known_ones() -> None:
    kinds: Registry[int] = Registry("kind", group="proxyhash.test")
    kinds.add("scan", 1)
    with pytest.raises(UsageError, match=r"kind is 'scam'.* scan \(did you mean 'scan'\?\)"):
        kinds["scam"]


def test_modules_are_imported_at_the_first_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lazy_members"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from proxyhash.registry import Registry\n"
        "kinds = Registry('kind', group='proxyhash.test', modules=['lazy_members.*'])\n"
        "folders = Registry('kind', group='proxyhash.test', modules=['lazy_members.*.member'])\n"
    )
    (package / "folder").mkdir()
    (package / "folder" / "__init__.py").write_text("")
    (package / "folder" / "other.py").write_text("raise AssertionError('not a member')\n")
    (package / "folder" / "member.py").write_text(
        "from lazy_members import folders\nfolders.add('two', 2)\n"
    )
    (package / "_helper.py").write_text("raise AssertionError('not a member')\n")
    (package / "one.py").write_text("from lazy_members import kinds\nkinds.add('one', 1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import lazy_members  # type: ignore[import-not-found]

    assert "lazy_members.one" not in sys.modules
    assert list(lazy_members.kinds) == ["one"]
    assert "lazy_members.folder" not in sys.modules
    assert lazy_members.folders.items() == [("two", 2)]
    for name in ("", ".one", ".folder", ".folder.member"):
        monkeypatch.delitem(sys.modules, f"lazy_members{name}")


def test_entry_points_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: Registry[int] = Registry("kind", group="proxyhash.test")
    (tmp_path / "plug_in.py").write_text("found = 2\n")
    monkeypatch.syspath_prepend(tmp_path)

    def announced(*, group: str) -> list[EntryPoint]:
        assert group == "proxyhash.test"
        kinds.add("two", 2)
        return [EntryPoint("two", "plug_in:found", group)]

    monkeypatch.setattr(module, "entry_points", announced)
    assert kinds["two"] == 2
    monkeypatch.delitem(sys.modules, "plug_in", raising=False)


def test_the_order_of_registration_can_be_kept() -> None:
    kinds: Registry[int] = Registry("kind", group="proxyhash.test", ordered=True)
    for number, name in enumerate(["zebra", "ant"]):
        kinds.add(name, number)
    assert list(kinds) == ["zebra", "ant"]
    assert kinds.items() == [("zebra", 0), ("ant", 1)]


@pytest.mark.parametrize("adopts", [True, False])
def test_an_entry_point_may_name_the_member_itself(
    adopts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: Registry[object] = Registry("kind", group="proxyhash.test", adopts=adopts)
    (tmp_path / "adopted.py").write_text("found = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("two", "adopted:found", "proxyhash.test")
    monkeypatch.setattr(module, "entry_points", lambda *, group: [entry])
    assert kinds.items() == ([("two", 2)] if adopts else [])
    monkeypatch.delitem(sys.modules, "adopted", raising=False)


def install(folder: Path, group: str, module: str, source: str) -> dict[str, str]:
    """Make a package with an entry point; return the environment in which it is installed."""
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\nmine = {module}\n")
    (folder / f"{module}.py").write_text(source)
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(code: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout


def test_an_installed_modality_is_there_from_the_start(tmp_path: Path) -> None:
    source = "import proxyhash as ph\nph.register_modality('sound', is_file=True)\n"
    environment = install(tmp_path, "proxyhash.modalities", "sounds", source)
    for first in ("proxyhash.data", "proxyhash.encoders", "proxyhash.search"):
        code = f"import {first}; from proxyhash.data import MODALITIES; print(*MODALITIES)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert done.stdout.split() == ["image", "text", "sound"]


def test_a_broken_package_is_named_and_costs_the_others_nothing(tmp_path: Path) -> None:
    environment = install(tmp_path, "proxyhash.methods", "broken", "import no_such_module\n")
    code = (
        "from proxyhash.methods import METHODS, get_method\n"
        "from proxyhash.errors import ProxyhashError\n"
        "print(get_method('csq').__name__, 'dchml' in METHODS, list(METHODS.broken))\n"
        "for name in ('mine', 'unknown'):\n"
        "    try: get_method(name)\n"
        "    except ProxyhashError as error: print(type(error).__name__, error)\n"
    )
    works, mine, unknown = run(code, environment).splitlines()
    assert works.endswith("True ['mine']")
    assert mine.startswith("ProxyhashError method 'mine': broken, which the package broken names")
    assert "No module named 'no_such_module'" in mine
    assert unknown.startswith("UsageError method is 'unknown'; it must be one of")


def test_a_plug_in_file_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my own.py"
    path.write_text(
        "import builtins\nbuiltins.runs_of_my_own = 1 + getattr(builtins, 'runs_of_my_own', 0)\n"
    )
    monkeypatch.setenv(PLUGIN_FILES, f"{path}{os.pathsep}{path}")
    for _ in range(2):
        load_plugin_files()
        assert list(Registry[int]("kind", group="proxyhash.test")) == []
    assert builtins.runs_of_my_own == 1  # type: ignore[attr-defined]
    del builtins.runs_of_my_own  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no such Python file"),
        ("\nx = (\n", "line 2: SyntaxError"),
        (
            "def f():\n    1 / 0\nf()\n",
            "line 2: ZeroDivisionError: division by zero; mend",
        ),
        ("import no_such_module\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_a_plug_in_file_that_fails_is_named_with_its_line(
    source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "failing.py"
    if source is not None:
        path.write_text(source)
    monkeypatch.setenv(PLUGIN_FILES, str(path))
    for _ in range(2):  # not taken for one that was run
        with pytest.raises(UsageError, match=r"failing\.py") as caught:
            load_plugin_files()
        assert message in str(caught.value)
