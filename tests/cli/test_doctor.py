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


def test_models_on_this_machine_are_listed(proxyhash_command, monkeypatch, tmp_path) -> None:
    def model() -> dict[str, str]:
        checks = proxyhash_command("doctor", "--json").json["checks"]
        return next(check for check in checks if check["name"] == "pretrained models")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PROXYHASH_MODELS", str(tmp_path / "mine"))
    assert model()["status"] == "warning"
    assert "google/mobilenet_v2_1.0_224 (14 MB, Apache-2.0" in model()["hint"]
    whole = tmp_path / "hub" / "models--google--vit" / "snapshots" / "abc"
    part = tmp_path / "hub" / "models--google--part" / "snapshots" / "abc"
    for folder in (whole, part, tmp_path / "mine" / "own"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        if folder != part:
            (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    assert model() == {
        "name": "pretrained models",
        "status": "ok",
        "detail": f"{tmp_path / 'mine' / 'own'} (2.0 MB), google/vit (2.0 MB)",
        "hint": "",
    }


def test_a_plug_in_that_cannot_be_loaded_is_a_warning(proxyhash_process, tmp_path) -> None:
    about = tmp_path / "broken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[proxyhash.methods]\nmine = broken\n")
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    done = proxyhash_process("doctor", "--json", PYTHONPATH=str(tmp_path))
    assert done.code == 0
    (check,) = [each for each in done.json["checks"] if each["name"] == "plug-in mine"]
    assert check["status"] == "warning"
    assert "the package broken names" in check["detail"]
