"""What the doctor says about installations that are whole and broken."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType

import numpy as np
import pytest
import torch

from proxyhash import doctor
from proxyhash.doctor import Check, run_checks


def named(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def test_a_whole_installation_has_no_failure() -> None:
    seen: list[int] = []

    def track(steps, description, total=None, /):
        for step in steps:
            seen.append(1)
            yield step

    checks = run_checks(track=track)
    assert [check for check in checks if check.status == "failed"] == []
    assert named(checks, "numpy").detail == np.__version__
    assert "cpu" in named(checks, "devices").detail
    assert len(seen) == 10
    assert {"self-test: codes and search", "self-test: loss and gradient"} <= {
        check.name for check in checks
    }


def test_every_requirement_is_looked_at() -> None:
    names = {check.name for check in run_checks()}
    required = [line for line in metadata.requires("proxyhash") or [] if "extra ==" not in line]
    assert len(required) > 8
    for line in required:
        assert any(line.startswith(name) for name in names), line
    assert {"extra formats", "extra plots", "extra tensorboard", "extra wandb"} <= names
    assert not {"extra dev", "extra all"} & names


def test_all_extras_are_found_where_all_are_installed() -> None:
    # `make` installs them all; packages are often imported under another name, as faiss-cpu is.
    checks = doctor._extras()
    assert {check.name for check in checks} >= {"extra faiss", "extra milvus", "extra serve"}
    assert [check for check in checks if check.status != "ok"] == []
    assert "prometheus-client " in named(checks, "extra serve").detail


def test_a_missing_extra_is_a_warning_with_the_command(monkeypatch) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "pyarrow":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    check = named(doctor._extras(), "extra formats")
    assert check.status == "warning"
    assert check.detail == "not installed: pyarrow"
    assert check.hint == "pip install 'proxyhash[formats]'"


def test_a_missing_requirement_is_a_failure(monkeypatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert doctor._package("numba") == Check(
        "numba", "failed", "not installed", "pip install numba"
    )


@pytest.mark.parametrize(
    ("capabilities", "found"),
    [([(9, 0), (9, 0)], "2 GPUs, all with bfloat16"), ([(7, 5), (8, 6)], "2 GPUs, 1 with bfloat16"),
     ([(7, 5)], "1 GPU, 0 with bfloat16")],
)  # fmt: skip
def test_gpus_are_counted_and_several_get_the_command(monkeypatch, capabilities, found) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    (check,) = doctor._tuning()
    assert check.detail.startswith(found)
    assert ("torchrun --nproc-per-node 2 -m proxyhash train" in check.hint) == (
        len(capabilities) == 2
    )


def test_processes_need_a_torch_that_has_them(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    (check,) = doctor._tuning()
    assert check.detail.endswith("several processes by torchrun (gloo)")
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    (check,) = doctor._tuning()
    assert check.detail.endswith("this torch has no torchrun")


def test_what_the_processor_says_of_bfloat16(monkeypatch, tmp_path) -> None:
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr("proxyhash.training.devices.Path", lambda _name: flags)
    assert "does not say" in doctor._processor_bfloat16()
    flags.write_text("flags\t: fpu avx512_bf16 amx_bf16\n")
    assert doctor._processor_bfloat16() == "bfloat16 (AMX)"
    flags.write_text("flags\t: fpu avx2\n")
    assert doctor._processor_bfloat16() == "no bfloat16"


def test_a_torchvision_that_does_not_import_is_a_warning(monkeypatch) -> None:
    assert doctor._torchvision() == []
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torchvision", None)
    (check,) = doctor._torchvision()
    assert check.status == "warning"
    assert check.hint == "proxyhash does not need it: pip uninstall torchvision"
    module = ModuleType("torchvision")
    module.__version__ = "0.99"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", module)
    assert doctor._torchvision() == [Check("torchvision", "ok", "0.99")]


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROXYHASH_CACHE", str(tmp_path / "file" / "below"))
    (check,) = doctor._cache()
    assert check.status == "failed"
    assert "PROXYHASH_CACHE" in check.hint


def test_the_cache_is_measured_and_left_as_it_was(monkeypatch, tmp_path) -> None:
    (tmp_path / "features").write_bytes(b"x" * 1500)
    monkeypatch.setenv("PROXYHASH_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 0)  # however full this disk is
    (check,) = doctor._cache()
    assert check.status == "ok"
    assert "1.5 KB used" in check.detail
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 2**80)
    assert doctor._cache()[0].status == "warning"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (82e9, "82 GB"), (3e12, "3.0 TB")],
)
def test_sizes(count, text) -> None:
    assert doctor._size(count) == text


def test_wrong_distances_are_noticed(monkeypatch) -> None:
    import proxyhash.codes

    monkeypatch.setattr(proxyhash.codes, "unpack", lambda codes, bits: np.zeros((50, 20), bool))
    (check,) = doctor._search_works()
    assert check.status == "failed"


def test_wrong_losses_are_noticed(monkeypatch) -> None:
    import proxyhash.losses

    monkeypatch.setattr(
        proxyhash.losses, "margin_dynamic_softmax", lambda logits, labels, **_: logits.sum()
    )
    (check,) = doctor._training_works()
    assert check.status == "failed"


def test_a_check_that_breaks_down_is_a_failure(monkeypatch) -> None:
    def broken() -> list[Check]:
        raise OSError("libtorch.so: cannot open")

    monkeypatch.setattr(doctor, "_CHECKS", {"devices": broken})
    (check,) = run_checks()
    assert check.status == "failed"
    assert check.detail == "OSError: libtorch.so: cannot open"
    assert "pip install" in check.hint
