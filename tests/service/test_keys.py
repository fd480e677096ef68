"""Keys: what the file holds, and what it never holds."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.service.keys import KeyFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandResult


def test_a_key_is_found_by_its_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    file, secret = KeyFile(path).add("page")
    assert secret not in path.read_text(encoding="utf-8")
    assert hashlib.sha256(secret.encode()).hexdigest() in path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(secret) > 40
    found = KeyFile.read(path).find(secret)
    assert found is not None
    assert (found.name, found.scope) == ("page", "read")
    assert found.allows("read")
    assert not found.allows("write")
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), "\ud800", found.sha256):
        assert file.find(wrong) is None


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    file, first = KeyFile(tmp_path / "keys.json").add("a")
    file, second = file.add("b", scope="write")
    assert first != second
    found = file.find(second)
    assert found is not None
    assert found.allows("read")
    assert found.allows("write")
    left = KeyFile.read(file.remove("a").path)
    assert left.find(first) is None
    assert left.find(second) == found


def test_names_and_scopes_are_checked(tmp_path: Path) -> None:
    file, _ = KeyFile(tmp_path / "keys.json").add("page")
    with pytest.raises(UsageError, match="has a key 'page' already"):
        file.add("page")
    with pytest.raises(UsageError, match="is not a valid key name"):
        file.add("../page")
    with pytest.raises(UsageError, match="scope is 'admin'"):
        file.add("b", scope="admin")
    with pytest.raises(UsageError, match="has no key 'b'; it has page"):
        file.remove("b")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"keys": [1]}',
        '{"keys": [{"name": "a"}]}',
        '{"keys": [{"name": "a", "scope": "all", "sha256": "%s", "created": ""}]}' % ("0" * 64),
        '{"keys": [{"name": "a", "scope": "read", "sha256": "0", "created": ""}]}',
        '{"keys": [{"name": 1, "scope": "read", "sha256": "%s", "created": ""}]}' % ("0" * 64),
        "not JSON",
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"keys\.json"):
        KeyFile.read(path)


def test_the_command_makes_lists_and_removes(
    proxyhash_command: Callable[..., CommandResult], tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    secret = proxyhash_command("keys", "add", path, "page").out.strip()
    made = proxyhash_command("keys", "add", path, "loader", "--write", "--json").json
    file = KeyFile.read(path)
    assert [key.name for key in file.keys] == ["page", "loader"]
    assert file.find(secret) == file.keys[0]
    assert file.find(made["key"]) == file.keys[1]
    listed = proxyhash_command("keys", "list", path, "--json")
    assert [(row["name"], row["scope"]) for row in listed.json] == [
        ("page", "read"),
        ("loader", "write"),
    ]
    shown = proxyhash_command("keys", "list", path).out
    assert "loader" in shown
    assert secret not in shown + listed.out
    assert proxyhash_command("keys", "remove", path, "page").code == 0
    assert KeyFile.read(path).find(secret) is None
    assert proxyhash_command("keys", "remove", path, "page").code == 2
    assert json.loads(path.read_text(encoding="utf-8"))["keys"][0]["name"] == "loader"
