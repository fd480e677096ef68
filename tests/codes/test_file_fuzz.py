"""Code files damaged at random: codes come out, or an error that names the file."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.codes import CodeFile
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

often = settings(max_examples=200, deadline=None, derandomize=True)

pytestmark = pytest.mark.filterwarnings("ignore")  # numpy warns of headers it has to mend

CODES = CodeFile(
    ids=("a", "é"),
    codes={
        "image": np.array([[1, 2], [0, 0]], np.uint8),
        "text": np.array([[255, 0], [3, 4]], np.uint8),
    },
    present={"image": np.array([True, False]), "text": np.ones(2, bool)},
    bits=16,
    model="f00d",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codes") / "codes.npz"


@pytest.fixture(scope="module")
def members(path: Path) -> dict[str, bytes]:
    CODES.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def codes_or_error(path: Path, content: bytes) -> CodeFile | None:
    path.write_bytes(content)
    try:
        codes = CodeFile.load(path)
    except DataError as error:
        if path.name not in str(error):
            raise
        return None
    codes.save(path)
    again = CodeFile.load(path)
    assert (again.ids, again.bits, again.model) == (codes.ids, codes.bits, codes.model)
    assert again.modalities == codes.modalities
    for name in codes.modalities:
        np.testing.assert_array_equal(again.of(name), codes.of(name))
        np.testing.assert_array_equal(again.has(name), codes.has(name))
    return codes


def archived(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def array(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    content = whole
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        cut = draw(st.sampled_from([0, 1, 1, 1, 4, len(whole)]))
        content = content[:place] + draw(st.binary(max_size=4)) + content[place + cut :]
    return content


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
@often
@given(data=st.data())
def test_a_damaged_archive(
    path: Path, members: dict[str, bytes], method: int, data: st.DataObject
) -> None:
    codes_or_error(path, data.draw(damaged(archived(members, method))))


@often
@given(data=st.data())
def test_a_damaged_array_in_a_sound_archive(
    path: Path, members: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    codes_or_error(path, archived(members | {name: data.draw(damaged(members[name]))}))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<U0', 'fortran_order': False, 'shape': (10000000,)}",
        "{'descr': '<U1', 'fortran_order': False, 'shape': (1L",
        "{'descr': '<U1,,', 'fortran_order': False, 'shape': (2,)}",
        "{{}}",
        "{[]: 1}",
        "{1: 2, 'a': 3}",
        "if 1:\n    a\n  b",
    ],
)
def test_a_header_that_numpy_stumbles_over(
    path: Path, members: dict[str, bytes], header: str
) -> None:
    assert codes_or_error(path, archived(members | {"ids.npy": array(header)})) is None


def test_numbers_beyond_what_numpy_counts(path: Path, members: dict[str, bytes]) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70}, 0)}}"
    assert codes_or_error(path, archived(members | {"image_codes.npy": array(header)})) is None


@pytest.mark.parametrize("character", [0xD800, 0x110000, 0xFFFFFFFF])
def test_ids_that_are_no_text(path: Path, members: dict[str, bytes], character: int) -> None:
    ids = array(
        "{'descr': '<U1', 'fortran_order': False, 'shape': (2,)}", struct.pack("<II", 97, character)
    )
    assert codes_or_error(path, archived(members | {"ids.npy": ids})) is None


def test_nothing_is_unpickled(path: Path, members: dict[str, bytes]) -> None:
    pickle = b"cos\n_exit\n(I1\ntR."
    for header in (
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (2,)}",
    ):
        assert codes_or_error(path, archived(members | {"ids.npy": array(header, pickle)})) is None
    assert codes_or_error(path, archived(members | {"ids.npy": pickle})) is None
    assert codes_or_error(path, pickle) is None
