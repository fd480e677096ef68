"""The engine for GPUs, in Triton's interpreter: guesses, pieces, streams, shards; what is missing.

What every exact engine must do is in test_contract.py, which runs over this one as well. Both run
on a GPU with TRITON_INTERPRET=0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash import parse_filter_text
from proxyhash.errors import DataError, MissingExtraError, UsageError
from proxyhash.index import create_index, open_index
from proxyhash.index.engines import ENGINES
from proxyhash.index.engines.cuda import devices
from proxyhash.index.engines.cuda.engine import CudaEngine
from tests.index.engines.needs_triton import needs_triton
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes

pytestmark = needs_triton

DEVICE = "cpu" if devices.interpreted() else "cuda:0"

if find_spec("triton") is not None:
    import torch
    import triton

    from proxyhash.index.engines.cuda import kernels, search, shard


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every fourth row be a sample, and every search begin with a guess."""
    monkeypatch.setattr(shard, "_LEAST_SAMPLE", 1)
    monkeypatch.setattr(shard, "_SAMPLED_PART", 4)
    monkeypatch.setattr(search, "_FEW_PART", 2**40)


def check(engine: CudaEngine, codes: Codes, query: Codes, order: Any = None, **given: Any) -> None:
    expected = slow_search(query, codes, order=order, **given)
    assert as_answer(engine.search(query, **given)) == expected, given


@settings(max_examples=40)
@given(data=st.data())
def test_any_search_in_pieces_streams_and_shards(data: st.DataObject) -> None:
    draw = data.draw
    bits = draw(st.sampled_from([8, 12, 16, 32, 64, 96, 128, 256, 1024]), label="bits")
    count, seed = draw(st.integers(1, 90), label="count"), draw(st.integers(0, 999), label="seed")
    rng = np.random.default_rng(seed)
    kind = draw(st.sampled_from(["random", "equal", "clustered"]), label="kind")
    codes = draw_codes(count, bits, seed, kind=kind)
    query = np.concatenate([codes[:1], draw_codes(draw(st.integers(0, 4)), bits, seed + 1)])
    order = rng.permutation(count).astype(np.uint64) if draw(st.booleans(), label="order") else None
    k = draw(st.none() | st.integers(1, 100), label="k")
    limit = st.integers(0, bits)
    radius = draw(limit if k is None else st.none() | limit, label="radius")
    mask = rng.random(count) < draw(st.floats(0, 1)) if draw(st.booleans(), label="mask") else None
    width = codes.shape[1]
    options = {
        "devices": ",".join([DEVICE] * draw(st.integers(1, 3), label="devices")),
        "room": draw(st.sampled_from([1 if count < 12 else 40, 100, 5000]), label="room"),
        # Everything; the codes without their order; a few codes at a time.
        "memory": draw(st.sampled_from([10**9, width * count, 80 * width]), label="memory"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "_LEAST_SAMPLE", 1)
        patch.setattr(shard, "_SAMPLED_PART", draw(st.sampled_from([1, 4, 50]), label="part"))
        patch.setattr(search, "_FEW_PART", draw(st.sampled_from([1, 2**40]), label="few"))
        if draw(st.booleans(), label="several programs"):
            sizes = search.Layout(rows=16, tile=2, rounds=3, share=3)
            patch.setattr(search.Layout, "of", lambda **_: sizes)
        engine = CudaEngine.build(codes, bits=bits, order=order, **options)
        check(engine, codes, query, order, k=k, radius=radius, mask=mask)


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize(("room", "memory"), [(150, 10**6), (10**4, 10**6), (400, 2000)])
def test_a_sample_that_misleads_costs_time_only(room: int, memory: int) -> None:
    rng = np.random.default_rng(0)
    far, near = draw_codes(300, 64, 0), draw_codes(1, 64, 1)
    crowded, deserted = far.copy(), far.copy()
    crowded[::4] = near  # what is sampled is nearer than the rest
    deserted[np.arange(300) % 4 != 0] = near  # and farther
    order = rng.permutation(300).astype(np.uint64)
    query = np.concatenate([near, far[:1]])
    for codes in (crowded, deserted):
        engine = CudaEngine.build(codes, bits=64, order=order, room=room, memory=memory)
        assert engine.streamed == (memory < codes.nbytes,)
        for given_ in ({"k": 3}, {"k": 230}, {"k": None, "radius": 24}):
            check(engine, codes, query, order, **given_)
        check(engine, codes, query, order, k=60, mask=rng.random(300) < 0.4)


@pytest.mark.usefixtures("small_sample")
def test_the_guess_is_proved_and_counted_where_it_was_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = draw_codes(400, 64, 0)
    codes[::4] = codes[0]
    counted, count = [], search._Search._count

    def spy(self: Any, which: Any, block: Any) -> Any:
        counted.append((which.tolist(), block.size))
        return count(self, which, block)

    monkeypatch.setattr(search._Search, "_count", spy)
    engine = CudaEngine.build(codes, bits=64, room=10**4)
    query = np.concatenate([codes[:1], codes[1:2]])
    check(engine, codes, query, k=5)
    assert counted == [([0, 1], 100)]  # the sample was enough
    counted.clear()
    check(engine, codes, query, k=101)  # 100 rows are equal to the first query
    assert counted == [([0, 1], 100), ([0], 400)]


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("ordered", [False, True])
def test_ties_beyond_the_buffer_are_cut_by_order(
    ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.repeat(draw_codes(1, 64, 0), 3000, axis=0)
    order = np.random.default_rng(0).permutation(3000).astype(np.uint64) if ordered else None
    collected, collect = [], search._Search._collect

    def spy(self: Any, *arguments: Any) -> Any:
        entries = collect(self, *arguments)
        collected.append(-1 if entries is None else len(entries))
        return entries

    monkeypatch.setattr(search._Search, "_collect", spy)
    engine = CudaEngine.build(codes, bits=64, order=order, room=512)
    check(engine, codes, codes[:1], order, k=20)
    assert max(collected) <= 512
    assert sum(collected) < 1500  # ranks behind the 20th are left on the device


def test_an_index_of_it_goes_through_adds_and_deletes() -> None:
    rng = np.random.default_rng(0)
    codes = draw_codes(120, 64, 0, kind="clustered")
    ours, theirs = (
        create_index(None, bits=64, modalities=["image"], engine=name) for name in ("cuda", "scan")
    )
    names = [f"{number:03d}" for number in rng.permutation(120)]
    few = parse_filter_text("n < 12")
    for start in range(0, 120, 40):
        part = slice(start, start + 40)
        for index in (ours, theirs):
            payloads = [{"n": number} for number in range(40)]
            index.add(names[part], {"image": codes[part]}, payloads=payloads)
            index.delete([names[start + 3], names[start + 7]])
        for given_ in ({"k": 9}, {"k": 9, "filter": few}, {"radius": 20}):
            assert ours.search(codes[:3], modality="image", **given_) == theirs.search(
                codes[:3], modality="image", **given_
            )


def test_an_index_in_a_folder_saves_it(tmp_path: Path) -> None:
    codes = draw_codes(60, 64, 0, kind="clustered")
    uri = str(tmp_path / "photos.index")
    names = [f"{number:02d}" for number in np.random.default_rng(0).permutation(60)]
    with create_index(uri, bits=64, modalities=["image"], engine="cuda") as index:
        index.add(names, {"image": codes})
        index.delete(names[:5])
        index.compact()
        assert list(index.verify()) == []
    answers = []
    for engine in ("cuda", "scan"):
        with open_index(uri, engine=engine) as index:
            answers.append(index.search(codes[:4], k=20, modality="image"))
            segments = index.info()["engines"]["image"]["segments"]
            assert segments == ([55] if engine == "cuda" else [])  # the scan has none saved
    assert answers[0] == answers[1]


def test_a_small_index_needs_a_gpu_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "photos.index")
    with create_index(uri, bits=64, modalities=["image"]) as index:
        index.add(["a", "b"], {"image": draw_codes(2, 64, 0)})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with (
        pytest.raises(UsageError, match="engine cuda needs a GPU"),
        open_index(uri, engine="cuda") as index,
    ):
        index.search(draw_codes(1, 64, 0), k=1, modality="image")
    with open_index(uri) as index:
        assert index.search(draw_codes(1, 64, 0), k=1, modality="image")[0]


def test_segments_of_it_grow() -> None:
    codes = draw_codes(300, 64, 0, kind="equal")
    order = np.random.default_rng(0).permutation(300).astype(np.uint64)
    engine = ENGINES["segmented"].build(
        codes[:100], bits=64, order=order[:100], engine="cuda", tail_rows=40, settings={"room": 64}
    )
    for stop in (130, 150, 300):
        engine.extend(codes[:stop], order=order[:stop])
        mask = np.arange(stop) % 3 > 0
        expected = slow_search(codes[:2], codes[:stop], k=30, order=order[:stop], mask=mask)
        assert as_answer(engine.search(codes[:2], k=30, mask=mask)) == expected
    assert engine.segments


@pytest.mark.parametrize("asm", [False] if DEVICE == "cpu" else [False, True])
@pytest.mark.parametrize("word", [np.int8, np.int16, np.int32, np.int64])
def test_bits_are_counted_in_words_of_every_size(word: Any, asm: bool) -> None:
    limits = np.iinfo(word)
    some = np.random.default_rng(0).integers(limits.min, limits.max, 60, word, endpoint=True)
    words = np.concatenate([some, np.array([0, -1, limits.min, limits.max], word)])

    @triton.jit
    def count(words, bits, asm: triton.language.constexpr):
        places = triton.language.arange(0, 64)
        found = kernels._popcount(triton.language.load(words + places), asm)
        triton.language.store(bits + places, found)

    bits = torch.empty(64, dtype=torch.int32, device=DEVICE)
    count[1,](torch.from_numpy(words).to(DEVICE), bits, asm)
    unsigned = words.view(f"u{words.itemsize}").tolist()
    assert bits.tolist() == [number.bit_count() for number in unsigned]


def test_a_gpu_or_triton_that_is_missing_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    codes = draw_codes(5, 64, 0)
    CudaEngine.build(codes, bits=64).save(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    message = "needs a GPU, and torch .* sees none; choose engine auto, or install a CUDA build"
    with pytest.raises(UsageError, match=message):
        CudaEngine.build(codes, bits=64)
    with pytest.raises(DataError, match=f"is for a machine with a GPU: .*{message}"):
        CudaEngine.load(tmp_path, codes)
    with pytest.raises(UsageError, match="devices names cuda:1, and torch sees 0 GPUs"):
        CudaEngine.build(codes, bits=64, devices="cuda:1")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(MissingExtraError, match=r"needs triton: pip install 'proxyhash\[cuda\]'"):
        CudaEngine.build(codes, bits=64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": ""}, "devices names no device"),
        ({"devices": "tpu"}, "devices names 'tpu'; a device is called cuda:0"),
        ({"room": 0}, "room is 0; it must be at least 1"),
        ({"memory": -5}, "memory is -5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CudaEngine.build(draw_codes(5, 64, 0), bits=64, **options)


def test_every_gpu_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert str(devices.choose_devices()[0]) == DEVICE
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert [str(one) for one in devices.choose_devices()] == ["cuda:0", "cuda:1", "cuda:2"]
    assert [str(one) for one in devices.choose_devices("cuda:2,cuda")] == ["cuda:2", "cuda:0"]


SPREAD = """
import sys
import numpy as np
from proxyhash.errors import ProxyhashError, UsageError
from proxyhash.index.engines.cuda.spread import SpreadEngine
from proxyhash.index.engines.scan.engine import ScanEngine
from torch import distributed

folder = sys.argv[1]
codes = np.load(f"{folder}/codes.npy", mmap_mode="r")
order = np.load(f"{folder}/order.npy")
scan = ScanEngine.build(codes, bits=64, order=order)
with SpreadEngine.build(codes, bits=64, order=order, room=200) as engine:
    assert (engine.count, distributed.get_world_size()) == (201, 2)
    assert engine._engine.count in (100, 101)
    try:
        engine.search(codes[:0], k=1)
    except UsageError as error:
        assert "process 1 answers; call follow()" in str(error)
    if engine.rank:
        engine.follow()
        raise SystemExit
    few = np.zeros(201, bool)
    few[:3] = True
    for given in (
        {"k": 1}, {"k": 150}, {"k": 9, "mask": np.arange(201) % 5 > 0}, {"k": 4, "mask": few},
        {"k": None, "radius": 20}, {"k": 300},
    ):
        found, expected = (one.search(codes[:3], **given) for one in (engine, scan))
        for name in ("offsets", "rows", "distances"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), (given, name)
    engine._engine.search = lambda *given, **more: 1 / 0
    try:
        engine.search(codes[:1], k=1)
    except ProxyhashError as error:
        assert str(error) == "process 0 failed: ZeroDivisionError: division by zero"
        print("all is well")
"""


@pytest.mark.slow
def test_rows_are_spread_over_processes(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", draw_codes(201, 64, 0, kind="equal"))
    np.save(tmp_path / "order.npy", np.random.default_rng(0).permutation(201).astype(np.uint64))
    script = tmp_path / "spread.py"
    script.write_text(SPREAD)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *torchrun, str(script), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "all is well\n", done.stderr


def test_without_torchrun_nothing_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxyhash.index.engines.cuda.spread import SpreadEngine

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UsageError, match="start it with: torchrun --nproc-per-node 2"):
        SpreadEngine.build(draw_codes(5, 64, 0), bits=64)


COMPILED = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from proxyhash.index.engines.cuda import kernels

common = {"codes": "*WORD", "queries": "*WORD", "mask": "*u8", "stop": "i64", "asked": "i32"}
collect = {
    "order": "*i64", "radii": "*i32", "limits": "*i64", "entries": "*i64", "size": "*i64",
    "start": "i64", "first": "i64", "rounds": "i32", "share": "i32",
    "room": "i64",
    "row_step": "i64", "word_step": "i64",
}
for word, words, capability in (("i64", 1, 80), ("i64", 2, 90), ("i32", 3, 90), ("i8", 1, 90)):
    fixed = {"WORDS": words, "MASKED": True, "ASM": True}
    for kernel, types, constants in (
        (kernels.collect, collect, {"TIES": 2, "TILE": 4, "BLOCK": 128}),
        (kernels.count_distances, {"counts": "*i64", "row_step": "i64", "word_step": "i64"},
         {"BINS": 128, "TILE": 1, "BLOCK": 1024}),
    ):
        types = {name: kind.replace("WORD", word) for name, kind in {**common, **types}.items()}
        constants = {**fixed, **constants}
        signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        options = {"num_warps": 1 if "TILE" in constants and constants["TILE"] == 4 else 4}
        made = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert f"popc.b{64 if word == 'i64' else 32}" in made.asm["ptx"], kernel
        assert len(made.asm["cubin"]) > 1000
print("compiled")
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """Not in this process, where they are interpreted."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    (tmp_path / "compiled.py").write_text(COMPILED)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "compiled.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "compiled\n", done.stderr
