"""Model folders and headers of index folders, damaged: the same codes and hits, or a sentence."""

from __future__ import annotations

import json
import shutil
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import ProxyhashError
from proxyhash.index.store import Store
from tests.fuzz.damage import damage_bytes, damage_file
from tests.fuzz.forked import expect

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["IndexHeaders", "ModelFolders"]

_TEXTS = ["a red circle", "a large blue square and a small star"]


class ModelFolders:
    """A model of texts, with checksums in half of the cases."""

    def __init__(self, folder: Path) -> None:
        import torch

        from proxyhash.encoders import BagOfWords
        from proxyhash.hashing import HashModel
        from proxyhash.networks import HashingNetwork
        from proxyhash.proxies import Proxies

        torch.set_num_threads(1)  # a forked process has none of the others
        words = BagOfWords.fit(_TEXTS * 3, words=20)
        network = HashingNetwork(words.dim, 20, hidden=(8,), output_batch_norm=True, seed=0)
        codes = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (3, 20))
        model = HashModel(
            bits=20,
            classes=("circle", "square", "star"),
            method="dchml",
            networks={"text": network},
            encoders={"text": words},
            proxies=Proxies(codes=codes, origin="test"),
        )
        self.original, self.folder = folder / "original", folder / "damaged"
        model.save(self.original)
        self.expected = HashModel.load(self.original).encode_texts(_TEXTS)

    def damage(self, rng: np.random.Generator) -> str:
        """Damage a copy of the folder and return how."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder)
        self.has_checksums = rng.random() < 0.5
        if not self.has_checksums:  # as in folders of earlier versions
            (self.folder / "checksums.json").unlink()
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        path = files[int(rng.integers(0, len(files)))]
        if path.suffix == ".safetensors" and rng.random() < 0.6:
            return _damage_safetensors(path, rng)
        return damage_file(path, rng, chosen=[20, 21, 3, 8])

    def open(self) -> str:
        """Return how opening the damaged copy went."""
        from proxyhash.hashing import HashModel
        from proxyhash.hashing.checksums import find_damage

        problems = bool(find_damage(self.folder))
        try:
            model = HashModel.load(self.folder)
            codes = model.encode_texts(_TEXTS)
        except ProxyhashError as error:
            expect(str(self.folder) in str(error), str(error))
            expect(problems or not self.has_checksums, f"silence of verify after: {error}")
            return "refused"
        same = np.array_equal(codes, self.expected)
        assert same, "codes differ"
        return "used; verify names it" if problems else "as before"


class IndexHeaders:
    """Header of an index; its checksum is made to fit, as is the database's copy."""

    def __init__(self, folder: Path) -> None:
        self.original, self.folder = folder / "original", folder / "damaged"
        codes = np.random.default_rng(0).integers(0, 256, (50, 8), np.uint8)
        with Store.create(self.original, bits=64, modalities=("text",), engine="scan") as store:
            store.add([f"{number:03d}" for number in range(50)], codes)
        self.query = codes[:3]
        with Store.open(self.original, engine="scan") as store:
            self.expected = store.search(self.query, k=9)

    def damage(self, rng: np.random.Generator) -> str:
        """Damage a copy of the header and return how."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder)
        path = self.folder / "header.json"
        how = damage_file(path, rng, chosen=[64, 63, 50])
        try:
            content = json.loads(path.read_bytes())
            content.pop("crc32")
            stated = json.dumps(content, sort_keys=True, ensure_ascii=True)
            content["crc32"] = f"{zlib.crc32(stated.encode()):08x}"
            path.write_text(json.dumps(content))
        except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
            return how
        return f"{how}, checksum fits"

    def open(self) -> str:
        """Return how opening the damaged copy went."""
        try:
            with Store.open(self.folder, engine="scan") as store:
                found = store.search(self.query, k=9)
                store.info()
                store.verify()
        except ProxyhashError as error:
            expect(str(self.folder) in str(error) or "codes" in str(error), str(error))
            return "refused"
        hits: list[Any] = [[(hit.id, hit.distance) for hit in one] for one in found]
        assert hits == [[(hit.id, hit.distance) for hit in one] for one in self.expected]
        return "as before"


def _damage_safetensors(path: Path, rng: np.random.Generator) -> str:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size]
    match rng.integers(0, 4):
        case 0:
            lengths = [0, 1, size + 1, len(content), 2**31, 2**63, 2**64 - 1]
            length = lengths[int(rng.integers(0, len(lengths)))]
            path.write_bytes(length.to_bytes(8, "little") + content[8:])
        case 1:
            changed = damage_bytes(header, rng)
            path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + size :])
        case _:
            value = json.loads(header)
            name = str(rng.choice(list(value)))
            odd: list[Any] = [
                {"dtype": "F64"}, {"dtype": "I8"}, {"shape": [2**40, 2**40]}, {"shape": []},
                {"shape": [-1]}, {"data_offsets": [0, 2**62]}, {"data_offsets": [8, 4]},
                {"data_offsets": [0, 0]}, {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            ]  # fmt: skip
            value[name] = {**value[name], **odd[int(rng.integers(0, len(odd)))]}
            changed = json.dumps(value).encode()
            path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + size :])
    return f"{path.name} header"
