"""`proxyhash doctor`: table, JSON and exit code."""

from __future__ import annotations

from proxyhash import doctor


def test_says_that_all_is_well(proxyhash_command) -> None:
    result = proxyhash_command("doctor")
    assert result.code == 0
    assert "No problems found." in result.out
    for name in ("torch", "numba", "devices", "feature cache", "self-test: codes and search"):
        assert name in result.out


def test_json_has_every_check(proxyhash_command) -> None:
    result = proxyhash_command("doctor", "--json")
    assert result.code == 0
    assert result.json["ok"] is True
    assert {"name", "status", "detail", "hint"} == set(result.json["checks"][0])


def test_a_failure_is_exit_code_1_with_what_to_do(proxyhash_command, monkeypatch) -> None:
    check = doctor.Check("feature cache", "failed", "/x: read-only", "set PROXYHASH_CACHE")
    monkeypatch.setattr(doctor, "_CHECKS", {"feature cache": lambda: [check]})
    result = proxyhash_command("doctor")
    assert result.code == 1
    assert "feature cache: set PROXYHASH_CACHE" in result.out
    assert "Problems found: feature cache" in result.out
    assert proxyhash_command("doctor", "--json").json["ok"] is False
