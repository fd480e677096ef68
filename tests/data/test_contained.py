"""Files inside tar, Parquet and Arrow files: their bytes, bounds, and what is never opened."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxyhash.data import contained
from proxyhash.data.contained import (
    content_hash,
    exists_in,
    has_content,
    read_contained,
    stamp_of,
    tar_members,
)
from proxyhash.errors import SourceError


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def read(path, most=1000):
    return read_contained(path, most=most)


def test_members_of_a_tar_file_are_read_in_place(tmp_path):
    long = "deep/" * 40 + "ü.jpg"
    path = write_tar(tmp_path / "x.tar", [("a/1.jpg", b"one"), (long, b"two" * 99), ("none", b"")])
    for name, content in (("a/1.jpg", b"one"), (long, b"two" * 99)):
        assert read(path / name) == content
        assert content_hash(path / name) == hashlib.sha256(content).hexdigest()
        assert has_content(path / name)
        assert exists_in(path / name)
    assert stamp_of(path / "a/1.jpg") == (path.stat().st_size, path.stat().st_mtime_ns)
    for name in ("a", "a/2.jpg", "a/1.jpg/more", "../x.tar"):
        assert not exists_in(path / name)
        with pytest.raises(SourceError, match=r"no such file in x\.tar"):
            read(path / name)
    with pytest.raises(SourceError, match="has 0 MB; at most 0 MB are read"):
        read(path / long, most=100)
    write_tar(path, [("a/1.jpg", b"replaced, and longer")])
    assert read(path / "a/1.jpg") == b"replaced, and longer"


def test_paths_without_a_container(tmp_path):
    (tmp_path / "file.jpg").write_bytes(b"x")
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "folder.tar" / "a.jpg").write_bytes(b"x")
    for name in ("gone.jpg", "file.jpg/below", "folder.tar/b.jpg", "gone.tar/a.jpg"):
        assert read(tmp_path / name) is None
        assert not exists_in(tmp_path / name)
        assert not has_content(tmp_path / name)
    assert has_content(tmp_path / "folder.tar" / "a.jpg")
    with pytest.raises(NotADirectoryError):
        stamp_of(tmp_path / "file.jpg" / "below")


def test_only_regular_files_count(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret)
            tar.addfile(entry)
        for name, kind in (("device.jpg", tarfile.CHRTYPE), ("pipe.jpg", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
    assert [*tar_members(path)] == []
    with pytest.raises(SourceError, match="no such file"):
        read(path / "link.jpg")


def test_damaged_and_hostile_tar_files(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("1.jpg", b"a" * 600), ("2.jpg", b"b" * 600)])
    whole = path.read_bytes()
    path.write_bytes(whole[:2100])  # the content of the second ends too early
    assert read(path / "1.jpg") == b"a" * 600
    with pytest.raises(SourceError, match=r"x.tar ends before the file does"):
        read(path / "2.jpg")
    with pytest.raises(SourceError, match="cannot be read to its end as a tar file"):
        list(tar_members(path))
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(SourceError, match=r"is compressed, .* plain .tar with gunzip"):
        list(tar_members(path))
    for content in (b"\x00" * 64, os.urandom(2048), b"a" * 512):
        path.write_bytes(content)
        with pytest.raises(SourceError):
            list(tar_members(path))
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 3 << 30  # a header of 3 GB
    with path.open("wb") as file:
        file.write(entry.tobuf())
        file.truncate(4 << 30)
    with pytest.raises(SourceError, match="a header has 3,221,225,472 bytes"):
        list(tar_members(path))


def test_sizes_below_zero_lead_nowhere(tmp_path):
    whole = write_tar(tmp_path / "x.tar", [("1.jpg", b"a" * 600)]).read_bytes()
    first = whole[:1536]  # header and content
    for size in (-512, -1536, -(1 << 40)):
        for kind in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            entry = tarfile.TarInfo("2.jpg")
            entry.type, entry.size = kind, size
            (tmp_path / "x.tar").write_bytes(first + entry.tobuf(tarfile.GNU_FORMAT) + whole)
            with pytest.raises(SourceError, match="cannot be read to its end as a tar file"):
                list(tar_members(tmp_path / "x.tar"))
            assert read(tmp_path / "x.tar" / "1.jpg") == b"a" * 600
    (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + whole)
    with pytest.raises(SourceError):
        read(tmp_path / "x.tar" / "2.jpg")
    records = b"".join(_pax(f"{n}") for n in range(3000))
    (tmp_path / "x.tar").write_bytes(first + records + whole)
    with pytest.raises(SourceError):
        list(tar_members(tmp_path / "x.tar"))


def _pax(value: str) -> bytes:
    return tarfile.TarInfo._create_pax_generic_header({"comment": value}, tarfile.XHDTYPE, "utf-8")


CELLS = [b"one", None, b"three", b"", b"five"]


def structs(cells):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([None if c is None else {"bytes": c, "path": "p"} for c in cells], kind)


@pytest.mark.parametrize("column", [pa.array(CELLS, pa.binary()), structs(CELLS)])
@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_cells_of_tables_are_read_by_row(column, kind, tmp_path):
    table = pa.table({"n": range(5), "image": column})
    path = tmp_path / ("t.parquet" if kind == "parquet" else "t.arrow")
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    for row, cell in enumerate(CELLS, start=1):
        if cell is not None:
            assert read(path / f"image/{row}") == cell
        assert exists_in(path / f"image/{row}") == bool(cell)
    for name in ("image/2", "image/6", "image/0", "image/x", "images/1", "1", "n/1"):
        with pytest.raises(SourceError, match=r"no such file in t\."):
            read(path / name)
    with pytest.raises(SourceError, match="at most"):
        read(path / "image/3", most=3)


def test_tables_that_cannot_be_read(tmp_path, monkeypatch):
    for name, reason in (("t.parquet", "cannot be read as Parquet"), ("t.arrow", "not an Arrow")):
        (tmp_path / name).write_bytes(b"nonsense" * 20)
        with pytest.raises(SourceError, match=reason):
            read(tmp_path / name / "image/1")
    pq.write_table(pa.table({"image": CELLS}), tmp_path / "t.parquet")
    monkeypatch.setattr(contained, "MAX_GROUP_BYTES", 10)
    with pytest.raises(SourceError, match="smaller row groups, such as row_group_size=1000"):
        read(tmp_path / "t.parquet/image/1")
