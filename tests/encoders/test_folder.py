from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proxyhash.encoders.folder import fingerprint_of, read_arrays, read_settings, write_arrays
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@given(values=hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_arrays_come_back_bit_for_bit(
    values: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.safetensors"
    write_arrays(path, {"a": values})
    found = read_arrays(path)["a"]
    assert found.dtype == np.float32
    assert np.array_equal(found, values, equal_nan=True)


def test_halves_are_stored_as_halves(tmp_path: Path) -> None:
    exact = np.arange(2000, dtype=np.float32) / 2
    write_arrays(tmp_path / "small.safetensors", {"a": exact})
    write_arrays(tmp_path / "large.safetensors", {"a": exact + np.float32(1e-4)})
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("small", "large")]
    assert sizes[0] < 0.55 * sizes[1]


def test_shapes_and_other_types_stay(tmp_path: Path) -> None:
    arrays = {"count": np.array(3), "row": np.arange(6).reshape(2, 3)[:, ::2], "none": np.zeros(0)}
    write_arrays(tmp_path / "a.safetensors", arrays)
    for name, array in read_arrays(tmp_path / "a.safetensors").items():
        assert (array.dtype, array.shape) == (arrays[name].dtype, arrays[name].shape)
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0notjson!", b"\xff" * 64])
def test_damaged_arrays_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{path} is damaged \(.*; copy .*--overwrite"):
        read_arrays(path)
    with pytest.raises(ModelError, match=r"missing.safetensors is missing; copy .*--overwrite"):
        read_arrays(tmp_path / "missing.safetensors")


def test_the_fingerprint_sees_everything_but_order_and_layout() -> None:
    a, b = np.arange(6, dtype=np.float32), np.ones(2, dtype=np.float32)
    base = fingerprint_of({"x": 1, "y": 2}, {"a": a, "b": b})
    assert base == fingerprint_of({"y": 2, "x": 1}, {"b": b, "a": a[::-1][::-1]})
    others = [
        fingerprint_of({"x": 1, "y": 3}, {"a": a, "b": b}),
        fingerprint_of({"x": 1, "y": 2}, {"a": a.reshape(2, 3), "b": b}),
        fingerprint_of({"x": 1, "y": 2}, {"a": a.astype(np.float64), "b": b}),
        fingerprint_of({"x": 1, "y": 2}, {"a": b, "b": a}),
        fingerprint_of({"x": 1, "y": 2}, {"a": np.nextafter(a, 9), "b": b}),
    ]
    assert len({base, *others}) == 6


@pytest.mark.parametrize("content", ["[]", "{}", '{"kind": 3}'])
def test_settings_must_say_the_kind(tmp_path: Path, content: str) -> None:
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(ModelError, match="does not say which kind"):
        read_settings(tmp_path)
