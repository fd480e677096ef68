"""Vectors kept beside the codes: random changes against a loop, forms, kills, damage, copies."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import time
import zlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from proxyhash.codes import unpack
from proxyhash.codes.asymmetric import ONE
from proxyhash.codes.vectors import STEPS, VectorKind, weights_of_vectors
from proxyhash.errors import DataError, UsageError
from proxyhash.index import MemoryIndex
from proxyhash.index.copy import copy_between
from proxyhash.index.filters import Range
from proxyhash.index.second_look import SecondLook
from proxyhash.index.store import Store
from proxyhash.index.store.row_log import BLOCK_ROWS

if TYPE_CHECKING:
    from pathlib import Path

BITS = 12
KINDS: tuple[VectorKind, ...] = ("int8", "float")
Item = tuple[dict[str, tuple[Any, Any]], dict[str, object]]


def drawn(dice: random.Random, count: int) -> tuple[Any, Any]:
    """Return random codes, and weights that are often equal."""
    rng = np.random.default_rng(dice.randrange(2**32))
    codes = rng.integers(0, 256, (count, 2), dtype=np.uint8)
    codes[:, 1] &= 0xF0
    sizes = rng.integers(0, 4, (count, BITS)) * 21_845 - rng.integers(0, 2, (count, BITS))
    return codes, np.clip(sizes, 0, ONE).astype(np.uint16)


def steps_of(weights: Any, kind: str) -> list[Fraction]:
    unit = STEPS if kind == "int8" else ONE
    return [Fraction(round(Fraction(int(each) * unit, ONE)), unit) for each in weights]


def by_loop(
    items: dict[str, Item], code: Any, weights: Any, *, kind: str, modality: str, low: int
) -> list[tuple[Fraction, str, int]]:
    """Return (vector distance, id, Hamming distance) of all items, in exact fractions."""
    found = []
    for id_, (parts, payload) in items.items():
        if modality not in parts or payload["n"] < low:
            continue
        own, sizes = parts[modality]
        bits = unpack(np.stack([code, own]), bits=BITS)
        total, distance = Fraction(0), 0
        for place, (step, sure) in enumerate(zip(steps_of(sizes, kind), weights, strict=True)):
            same = bits[0, place] == bits[1, place]
            total += Fraction(int(sure), ONE) * (1 - step if same else 1 + step) / 2
            distance += not same
        found.append((total, id_, distance))
    return sorted(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_random_changes_are_answered_as_a_loop_does(
    tmp_path: Path, kind: VectorKind, seed: int
) -> None:
    dice, items = random.Random(seed), dict[str, Item]()
    folder = tmp_path / "index"
    store = Store.create(folder, bits=BITS, modalities=("image", "text"), keep_vectors=kind)
    ids = [f"i{number}" for number in range(30)]
    for turn in range(12):
        some, what = dice.sample(ids, 6), dice.choice(("put", "put", "put", "delete", "compact"))
        if what == "delete":
            store.delete(some)
            items = {id_: each for id_, each in items.items() if id_ not in some}
        elif what == "compact":
            store.compact()
        else:
            names = dice.choice((["image"], ["text"], ["image", "text"]))
            parts = {name: drawn(dice, 6) for name in names}
            weights = {name: part[1] for name, part in parts.items()}
            if dice.random() < 0.3:  # of this one nothing is known: as sure of each bit
                weights.pop(names[-1])
                parts[names[-1]][1][:] = ONE
            store.upsert(
                some,
                {name: part[0] for name, part in parts.items()},
                payloads=[{"n": turn}] * 6,
                weights=weights or None,
            )
            for row, id_ in enumerate(some):
                own = {name: (part[0][row], part[1][row]) for name, part in parts.items()}
                items[id_] = own, {"n": turn}
        if turn % 5 == 4:
            store.close()
            store = Store.open(folder, write=True)
    assert store.verify() == []
    check(store, items, dice, kind)
    store.compact()
    assert store.verify() == []
    check(store, items, dice, kind)
    store.close()


def check(store: Store, items: dict[str, Item], dice: random.Random, kind: VectorKind) -> None:
    assert store.vectors == kind
    for id_, item in store.get_many(list(items)).items():
        for name, (code, weights) in items[id_][0].items():
            assert (item.codes[name] == code).all()
            kept = [Fraction(int(each), ONE) for each in item.weights[name]]
            wanted = steps_of(weights, kind)
            assert all(abs(a - b) <= Fraction(1, ONE) for a, b in zip(kept, wanted, strict=True))
    query, weights = drawn(dice, 3)
    for modality in ("image", "text"):
        for k, shortlist, low in ((3, None, 0), (50, None, 4), (4, 9, 0), (4, 6, 4), (1, 1, 0)):
            answers = store.search(
                query,
                k=k,
                modality=modality,
                filter=Range("n", ge=low) if low else None,
                look=SecondLook(weights, shortlist, "vectors"),
            )
            for row, hits in enumerate(answers):
                every = by_loop(
                    items, query[row], weights[row], kind=kind, modality=modality, low=low
                )
                if shortlist is not None:
                    near = sorted(every, key=lambda each: (each[2], each[1]))
                    every = sorted(near[: max(k, shortlist)])
                assert [(hit.id, hit.distance) for hit in hits] == [
                    (id_, distance) for _, id_, distance in every[:k]
                ]
                for hit, (far, *_) in zip(hits, every, strict=False):
                    assert hit.vector_distance == pytest.approx(float(far), abs=1e-12)
                    assert hit.asymmetric is None


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, list[str], Any, Any]:
    """An index folder of two blocks and a bit of 64 bits, with its ids, codes and weights."""
    rng = np.random.default_rng(0)
    count = 2 * BLOCK_ROWS + 10
    codes = rng.integers(0, 256, (count, 8), dtype=np.uint8)
    weights = rng.integers(0, ONE + 1, (count, 64)).astype(np.uint16)
    ids = [f"{row:06d}" for row in range(count)]
    folder = tmp_path / "index"
    with Store.create(folder, bits=64, modalities=("image",), keep_vectors="int8") as store:
        store.add(ids, codes, weights=weights)
    return folder, ids, codes, weights


def nearest(store: Store, codes: Any, weights: Any, **options: Any) -> list[Any]:
    return store.search(codes[:3], k=20, look=SecondLook(weights[:3], by="vectors", **options))


def test_forms_change_and_readers_follow(filled: Any) -> None:
    folder, ids, codes, weights = filled
    places = {id_: row for row, id_ in enumerate(ids)}
    with Store.open(folder, write=True) as store, Store.open(folder) as reader:
        before = nearest(store, codes, weights)
        header = json.loads((folder / "header.json").read_text())
        assert (header["version"], header["vectors"]) == (2, "int8")
        assert store.info()["bytes_per_item"] == {"codes": 8, "vectors": 64}
        store.keep_vectors(None)
        header = json.loads((folder / "header.json").read_text())
        assert header["version"] == 1
        assert "vectors" not in header  # as ever, so that earlier versions read it
        assert not list(folder.rglob("*.vectors"))
        with pytest.raises(UsageError, match="keeps no vectors"):
            nearest(reader, codes, weights)
        with pytest.raises(UsageError, match="give `weigh`"):
            store.keep_vectors("int8")
        store.keep_vectors(
            "float",
            lambda items: {"image": np.stack([weights[places[item.id]] for item in items])},
        )
        assert store.info()["bytes_per_item"] == {"codes": 8, "vectors": 256}
        finer = nearest(reader, codes, weights)
        assert [len(hits) for hits in finer] == [20, 20, 20]
        assert finer != before
        store.keep_vectors("int8")
        assert nearest(reader, codes, weights) == before
        assert store.verify() == []


def test_the_same_code_keeps_its_vector(filled: Any) -> None:
    folder, ids, codes, _ = filled
    with Store.open(folder, write=True) as store:
        store.delete(ids[2:3])
        known = store.get(ids[0]).weights["image"]
        other = codes[1:2] ^ 1
        given = np.concatenate([codes[:1], other, codes[2:4]])
        store.upsert([*ids[:3], "new"], given, payloads=[{"n": 1}] * 4)
        assert store.verify() == []
        found = store.get_many([*ids[:3], "new"])
        assert (found[ids[0]].weights["image"] == known).all()
        for id_ in (ids[1], ids[2], "new"):  # another code, a deleted one, a new one
            assert (found[id_].weights["image"] == ONE).all()
        assert found[ids[0]].payload == {"n": 1}


def test_indexes_elsewhere_keep_none() -> None:
    index = MemoryIndex(bits=16)
    codes, weights = np.zeros((1, 2), np.uint8), np.zeros((1, 16), np.uint16)
    with pytest.raises(UsageError, match="this memory index keeps no vectors"):
        index.add(["a"], codes, weights=weights)
    index.add(["a"], codes)
    with pytest.raises(UsageError, match="this memory index keeps no vectors"):
        index.search(codes, k=1, look=SecondLook(weights, by="vectors"))
    with pytest.raises(UsageError, match="by is 'size'; it must be one of asymmetric, vectors"):
        SecondLook(weights, by="size")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    codes, weights = np.zeros((1, 2), np.uint8), np.zeros((1, 16), np.uint16)
    with Store.create(tmp_path / "index", bits=16, keep_vectors="int8") as store:
        with pytest.raises(DataError, match="weights are given of 'text', but no codes"):
            store.add(["a"], {"image": codes}, weights={"text": weights})
        with pytest.raises(DataError, match=r"weights must be uint16 of shape \(1, 16\)"):
            store.add(["a"], {"image": codes}, weights={"image": weights[:, :5]})
        with pytest.raises(DataError, match="give a mapping from modality to weights"):
            store.add(["a"], {"image": codes, "text": codes}, weights=weights)
        assert len(store) == 0
    with pytest.raises(UsageError, match="vectors is 'int4'"):
        Store.create(tmp_path / "other", bits=16, keep_vectors="int4")  # type: ignore[arg-type]


@pytest.mark.slow
def test_killed_at_any_moment_it_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    folder, dice = tmp_path / "index", random.Random(1)
    Store.create(folder, bits=BITS, modalities=("image",), keep_vectors="int8").close()
    state = dict[str, int]()

    def weigh(items: Any) -> dict[str, npt.NDArray[np.uint16]]:
        return {"image": np.stack([made(item.payload["n"])[1] for item in items])}

    def made(number: object) -> tuple[Any, Any]:
        codes, weights = drawn(random.Random(int(str(number))), 1)
        return codes[0], weights[0]

    def write(output: int, seed: int) -> None:
        own = random.Random(seed)
        with Store.open(folder, write=True) as store:
            os.write(output, b"open\n")
            for number in range(10**6):
                some = own.sample(range(40), 5)
                match own.randrange(8):
                    case 0:
                        kind = "float" if store.vectors == "int8" else "int8"
                        store.keep_vectors(kind, weigh)
                    case 1:
                        store.delete([f"i{each}" for each in some])
                    case _:
                        numbers = [seed * 10**5 + number * 10 + at for at in range(5)]
                        codes, weights = zip(*map(made, numbers), strict=True)
                        store.upsert(
                            [f"i{each}" for each in some],
                            np.stack(codes),
                            weights=np.stack(weights),
                            payloads=[{"n": each} for each in numbers],
                        )
                os.write(output, b".\n")

    def replay(seed: int, count: int) -> None:
        own = random.Random(seed)
        for number in range(count):
            some = own.sample(range(40), 5)
            match own.randrange(8):
                case 0:
                    pass
                case 1:
                    for each in some:
                        state.pop(f"i{each}", None)
                case _:
                    for at, each in enumerate(some):
                        state[f"i{each}"] = seed * 10**5 + number * 10 + at

    done = 0
    for seed in range(12):
        reading, output = os.pipe()
        child = os.fork()
        if not child:
            try:
                write(output, seed)
            finally:
                os._exit(1)
        os.close(output)
        with os.fdopen(reading) as acknowledged:
            assert acknowledged.readline() == "open\n"
            few = dice.randrange(10)
            for _ in range(few):
                assert acknowledged.readline() == ".\n"
            time.sleep(dice.random() / 20)
            os.kill(child, signal.SIGKILL)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
            count = few + acknowledged.read().count("\n")
        before = dict(state)
        replay(seed, count)
        with Store.open(folder) as store:
            assert store.verify() == []
            found = {item.id: item for some in store.items() for item in some}
            if {id_: item.payload["n"] for id_, item in found.items()} != state:
                state = before  # the one under way was committed, but not acknowledged any more
                replay(seed, count + 1)
            assert {id_: item.payload["n"] for id_, item in found.items()} == state
            for item in found.values():
                code, weights = made(item.payload["n"])
                assert (item.codes["image"] == code).all()
                off = item.weights["image"].astype(int) - weights
                assert np.abs(off).max() <= (0 if store.vectors == "float" else ONE / STEPS / 2 + 1)
        done += count
    assert done > 12


def test_another_form_is_there_as_a_whole_or_not_at_all(filled: Any) -> None:
    folder, _, codes, weights = filled
    with Store.open(folder, write=True) as store:
        before = nearest(store, codes, weights)
    reading, output = os.pipe()
    child = os.fork()
    if not child:  # is killed while it writes the other generation

        def weigh(items: Any) -> dict[str, Any]:
            os.write(output, b"writing\n")
            time.sleep(60)
            return {}

        try:
            with Store.open(folder, write=True) as store:
                store.keep_vectors("float", weigh)
        finally:
            os._exit(1)
    os.close(output)
    with os.fdopen(reading) as told:
        assert told.readline() == "writing\n"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (folder / "generation-000002").exists()
    with Store.open(folder, write=True) as store:
        assert store.vectors == "int8"
        assert store.verify() == []
        assert nearest(store, codes, weights) == before
    assert not (folder / "generation-000002").exists()


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_damage_is_found_and_the_rest_is_salvaged(filled: Any, tmp_path: Path) -> None:
    folder, ids, codes, weights = filled
    path = folder / "generation-000001" / "image.vectors"
    flip(path, (BLOCK_ROWS + 7) * 64 + 3)
    with Store.open(folder, write=True) as store:
        problem = f"{path}, rows {BLOCK_ROWS} to {2 * BLOCK_ROWS - 1}: the checksum does not match"
        assert store.verify()[0].startswith(problem)
        with pytest.raises(DataError, match="checksum does not match"):
            store.compact()
        with pytest.raises(DataError, match="checksum does not match"):
            store.keep_vectors("float", lambda _: {})
    with Store.open(folder, salvage=True) as store:
        assert store.snapshot(tmp_path / "copy") == len(ids)
    with Store.open(tmp_path / "copy") as copy:
        assert copy.verify() == []
        assert copy.vectors == "int8"
        assert (copy.get(ids[BLOCK_ROWS + 7]).weights["image"] == ONE).all()
        for row in (0, 2 * BLOCK_ROWS + 3):
            off = copy.get(ids[row]).weights["image"].astype(int) - weights[row]
            assert np.abs(off).max() <= ONE / STEPS / 2 + 1
            assert (copy.get(ids[row]).codes["image"] == codes[row]).all()


def test_vectors_of_other_codes_are_found_though_checksums_fit(filled: Any) -> None:
    folder, *_ = filled
    path = folder / "generation-000001" / "image.vectors"
    rows = np.fromfile(path, np.int8).reshape(-1, 64)
    rows[5, 0] = -np.sign(rows[5, 0]) * 100
    rows[6, 1] = -128
    rows.tofile(path)
    with sqlite3.connect(folder / "generation-000001" / "items.sqlite") as database:
        checksum = zlib.crc32(rows[:BLOCK_ROWS].tobytes())
        database.execute(
            "UPDATE blocks SET crc32 = ? WHERE log = 'image.vectors' AND block = 0", (checksum,)
        )
    database.close()
    with Store.open(folder) as store:
        assert store.verify() == [
            f"{path}, row {row}: the vector does not fit the code" for row in (5, 6)
        ]


def test_a_missing_or_short_file_is_refused(filled: Any) -> None:
    folder, _, codes, weights = filled
    path = folder / "generation-000001" / "image.vectors"
    with Store.open(folder) as store:
        os.truncate(path, 64 * 100)
        with pytest.raises(DataError, match=r"image\.vectors ends after row 100 of"):
            nearest(store, codes, weights)
    with pytest.raises(DataError, match=r"image\.vectors ends after row 100 of"):
        Store.open(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"image\.vectors is missing"):
        Store.open(folder)


@pytest.mark.parametrize("kind", ["int4", None, 3, ["int8"]])
def test_a_header_of_another_form_is_refused(filled: Any, kind: object) -> None:
    path = filled[0] / "header.json"
    header = {**json.loads(path.read_text()), "vectors": kind}
    del header["crc32"]
    checksum = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    path.write_text(json.dumps({**header, "crc32": f"{checksum:08x}"}))
    with pytest.raises(DataError, match=r"header\.json is damaged: vectors is"):
        Store.open(filled[0])


def test_copies_and_adoption_keep_vectors(filled: Any, tmp_path: Path) -> None:
    folder, ids, codes, weights = filled
    with Store.open(folder) as store:
        before = nearest(store, codes, weights)
        store.snapshot(tmp_path / "snapshot")
    with Store.open(tmp_path / "snapshot") as store:
        assert nearest(store, codes, weights) == before
    report = copy_between(str(folder), str(tmp_path / "copy"))
    assert report.items == len(ids)
    with Store.open(tmp_path / "copy") as store:
        assert nearest(store, codes, weights) == before
        assert store.verify() == []
    with Store.create(tmp_path / "bare", bits=64, modalities=("image",)) as bare:
        bare.add(ids[:2], codes[:2])
        bare.adopt(tmp_path / "copy")
        assert bare.vectors == "int8"
        assert nearest(bare, codes, weights) == before
    shutil.rmtree(tmp_path / "bare")
    with Store.create(tmp_path / "bare", bits=64, modalities=("image",)):
        pass
    assert copy_between(str(folder), str(tmp_path / "bare")).items == len(ids)  # its codes alone
    with Store.open(tmp_path / "bare") as store:
        assert store.vectors is None


def test_what_is_read_is_what_was_stored(filled: Any) -> None:
    folder, ids, _, weights = filled
    rows = np.fromfile(folder / "generation-000001" / "image.vectors", np.int8).reshape(-1, 64)
    with Store.open(folder) as store:
        items = store.get_many(ids[:50])
    for row, id_ in enumerate(ids[:50]):
        assert (items[id_].weights["image"] == weights_of_vectors(rows[[row]])[0]).all()
        assert np.abs(np.abs(rows[row]) - weights[row] * (STEPS / ONE)).max() <= 0.5
