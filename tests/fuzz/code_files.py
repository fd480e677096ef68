"""Code files, damaged: the codes that were saved, codes that can be saved again, or a sentence."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import CodeFile
from proxyhash.errors import DataError
from tests.fuzz.damage import damage_bytes, damage_file
from tests.fuzz.forked import expect

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CodeFiles"]

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_BOMB = 1 << 33


class CodeFiles:
    """A code file of 40 items of 20 bits: its members or the archive around them are damaged."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 256, (2, 40, 3), np.uint8) & np.array([255, 255, 240], np.uint8)
        self.path = folder / "codes.npz"
        self._scratch = folder / "member.npy"
        CodeFile(
            ids=tuple(f"{number}é" for number in range(40)),
            codes={"image": codes[0], "text": codes[1]},
            present={"image": np.ones(40, bool), "text": np.ones(40, bool)},
            bits=20,
            model="f00d",
        ).save(self.path)
        with zipfile.ZipFile(self.path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}

    def damage(self, rng: np.random.Generator) -> str:
        """Damage the file and return how."""
        members = list(self.members.items())
        place = int(rng.integers(0, len(members)))
        name, content = members[place]
        way = int(rng.integers(0, 8))
        how = "archive"
        if way < 4:
            self._scratch.write_bytes(content)
            how = f"{name} {damage_file(self._scratch, rng, chosen=[20, 21, 40, 41])}"
            members[place] = (name, self._scratch.read_bytes())
        elif way == 4:
            names = [f"../{name}", f"/{name}", name.upper(), "x_codes.npy", "has_é.npy", name]
            members.append((names[int(rng.integers(0, len(names)))], content))
            how = "one more member"
        elif way == 5:
            del members[place]
            how = "a member less"
        elif way == 6:
            head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({_BOMB}, 3), }}".encode()
            start = b"\x93NUMPY\x01\x00\x76\x00" + head.ljust(117) + b"\n"
            members[place] = (name, start + bytes(1 << 24))
            how = "much of nothing"
        archive = _archive(members, _METHODS[int(rng.integers(0, 4))])
        self.path.write_bytes(archive if way < 7 else damage_bytes(archive, rng))
        return how

    def open(self) -> str:
        """Return how opening the damaged file went."""
        warnings.simplefilter("ignore")
        try:
            found = CodeFile.load(self.path)
        except DataError as error:
            expect(self.path.name in str(error), str(error))
            return "refused"
        again = self.path.with_name("again.npz")
        found.save(again)
        assert CodeFile.load(again).ids == found.ids
        return "read"


def _archive(members: list[tuple[str, bytes]], method: int) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, member in members:
            archive.writestr(name, member)
    return content.getvalue()
