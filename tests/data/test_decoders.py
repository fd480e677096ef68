"""What may keep a decoder busy is decoded in a process that is stopped; nothing else changes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from proxyhash.data import open_image
from proxyhash.data.decoders import Decoders
from proxyhash.data.decoding import ImageLimits
from proxyhash.data.image_kinds import kind_of
from proxyhash.data.image_scan import is_ordinary
from proxyhash.data.images import image_limits, open_squashed, open_untrusted
from proxyhash.errors import ImageError
from tests.data.hostile_images import HOSTILE, encoded, jpeg_of_few_scans, jpeg_of_scans

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(2) as own:
        yield own


def processor_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_a_process_gives_the_same_pixels(kind: str, decoders: Decoders) -> None:
    content = encoded(NOISE, kind)
    here, there = open_image(content), decoders.decode(content, ImageLimits())
    assert there.mode == "RGB"
    assert there.tobytes() == here.tobytes()


def test_a_large_image_comes_in_bands(decoders: Decoders) -> None:
    image = NOISE.resize((2500, 1700))
    content = encoded(image, "BMP")
    assert decoders.decode(content, ImageLimits()).tobytes() == image.tobytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_no_more_than_it_may(name: str, tmp_path: Path) -> None:
    """Some give an image in time; the limit is lower than by default, for a quick test."""
    path = tmp_path / name
    path.write_bytes(HOSTILE[name]())
    limits = ImageLimits(max_seconds=0.4)
    with Decoders(1) as own, pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxyhash.data.images.shared_decoders", lambda: own)
        before, here = processor_seconds(), time.process_time()
        with suppress(ImageError):
            assert open_image(path, limits=limits).mode == "RGB"
        assert time.process_time() - here < 1
    assert processor_seconds() - before < 2  # with the start of the process


@pytest.mark.parametrize("name", ["few scans.jpg", "fill.jpg", "comments.pgm", "strips.tif"])
def test_the_worst_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name]())
    with pytest.raises(ImageError, match=f"{name}: decoding it takes more processor time"):
        open_image(path, limits=ImageLimits(max_seconds=0.2))


def test_a_jpeg_of_more_scans_than_anyone_writes_is_not_decoded() -> None:
    with pytest.raises(ImageError, match=r"a JPEG with 8\d\d scans"):
        open_image(jpeg_of_scans(64))


def test_the_files_of_cameras_are_ordinary(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, options in (
        ("JPEG", {"exif": exif, "icc_profile": b"p" * 200_000, "comment": b"c" * 999}),
        ("JPEG", {"progressive": True}),
        ("PNG", {"exif": exif, "icc_profile": b"p" * 200_000}),
        ("WEBP", {"exif": exif, "icc_profile": b"p" * 200_000}),
        ("GIF", {"comment": b"c" * 999}),
    ):
        content = encoded(Image.radial_gradient("L").resize((2000, 1500)), kind, **options)
        found = kind_of(content)
        assert found is not None
        assert is_ordinary(found.name, content), (kind, options)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "directory.jpg"])
def test_hostile_files_are_not_ordinary(name: str) -> None:
    content = HOSTILE[name]()
    kind = kind_of(content)
    assert kind is not None
    before = time.process_time()
    assert not is_ordinary(kind.name, content)
    assert time.process_time() - before < 0.2


def test_a_process_that_takes_too_long_is_replaced(decoders: Decoders) -> None:
    limits = ImageLimits(max_seconds=0.3)
    with pytest.raises(ImageError, match="decoding it takes more processor time"):
        decoders.decode(jpeg_of_few_scans(), limits)
    assert decoders.decode(encoded(NOISE, "PNG"), ImageLimits()).size == (80, 60)


def test_a_process_that_takes_too_much_memory_is_replaced(decoders: Decoders) -> None:
    content = encoded(Image.new("1", (7900, 7900)), "PNG")
    with pytest.raises(ImageError, match=r"decoding it takes more than 2\d\d MB of memory"):
        decoders.decode(content, ImageLimits(max_memory=20_000_000))
    assert decoders.decode(encoded(NOISE, "PNG"), ImageLimits()).size == (80, 60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_an_error_of_the_image(
    decoders: Decoders, number: signal.Signals
) -> None:
    content = jpeg_of_few_scans()
    decoders.start()
    process = decoders._idle[-1]._process
    busy = threading.Timer(0.5, process.send_signal, [number])
    busy.start()
    with pytest.raises(ImageError, match=f"its decoder ended \\({number.name}\\)"):
        decoders.decode(content, ImageLimits())
    busy.join()
    assert decoders.decode(encoded(NOISE, "PNG"), ImageLimits()).size == (80, 60)


def test_processes_that_died_while_idle_are_not_noticed(decoders: Decoders) -> None:
    decoders.start()
    for process in decoders._idle:
        process._process.kill()
        process._process.wait()
    assert decoders.decode(encoded(NOISE, "PNG"), ImageLimits()).size == (80, 60)


@pytest.mark.parametrize("how", ["unwanted", "closed"])
def test_work_is_ended_when_nobody_waits_for_it(decoders: Decoders, how: str) -> None:
    content, start = jpeg_of_few_scans(), time.monotonic()
    threading.Timer(0.5, decoders.close if how == "closed" else lambda: None).start()
    with pytest.raises(ImageError, match="not decoded, as the work is being stopped"):
        decoders.decode(
            content,
            ImageLimits(),
            wanted=lambda: how == "closed" or time.monotonic() < start + 0.5,
        )
    assert time.monotonic() - start < 5


def test_processes_end_with_their_owner(tmp_path: Path) -> None:
    code = (
        "import os, signal; from proxyhash.data.decoders import Decoders;"
        "own = Decoders(2).start();"
        "print(*(each._process.pid for each in own._idle), flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    limit = time.monotonic() + 20
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_decoding_process_does_not_load_torch() -> None:
    code = (
        "import sys; import proxyhash.data.decoder_process, proxyhash.data.images;"
        "assert not {'torch', 'transformers', 'scipy', 'sklearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_many_threads_share_few_processes() -> None:
    contents = [encoded(NOISE.resize((20 + n, 30)), "BMP") for n in range(40)]
    sizes: dict[int, tuple[int, int]] = {}
    with Decoders(2) as own:

        def work(number: int) -> None:
            image = open_untrusted(contents[number], own, limits=ImageLimits())
            sizes[number] = image.size

        threads = [threading.Thread(target=work, args=[number]) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(own._idle) <= 2
    assert sizes == {number: (20 + number, 30) for number in range(40)}


class TestLimits:
    def test_a_large_jpeg_is_read_at_a_smaller_size(self) -> None:
        image = Image.radial_gradient("L").resize((1600, 1200)).convert("RGB")
        limits = ImageLimits(max_pixels=2_000_000, max_bytes=1_000_000)  # 250,000 pixels
        opened = open_image(encoded(image, "JPEG", quality=95), limits=limits)
        assert opened.size == (400, 300)
        wanted = np.asarray(image.resize((400, 300), Image.Resampling.BOX), np.int16)
        assert np.abs(np.asarray(opened, np.int16) - wanted).mean() < 1
        with pytest.raises(
            ImageError, match=r"1600x1200 has more than 250,000 pixels.*megapixels 2"
        ):
            open_image(encoded(image, "PNG"), limits=limits)
        with pytest.raises(ImageError, match="1600x1200 has more than 1,000,000 pixels"):
            open_image(encoded(image, "JPEG"), max_pixels=1_000_000)

    def test_limits_reach_every_thread(self) -> None:
        content = encoded(NOISE, "PNG")
        found: list[str] = []

        def work() -> None:
            try:
                open_image(content)
            except ImageError as error:
                found.append(str(error))

        with image_limits(ImageLimits.of_pixels(4000)):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert "80x60 has more than 4,000 pixels" in found[0]
        assert open_image(content).size == (80, 60)

    def test_a_file_may_not_be_endless(self, tmp_path: Path) -> None:
        path = tmp_path / "hole.jpg"
        with path.open("wb") as file:
            file.truncate(50_000_000_000)
        with pytest.raises(ImageError, match="the file has 50,000 MB; at most 1,000 MB are read"):
            open_image(path)

    def test_a_decoded_image_is_not_measured_again(self) -> None:
        image = Image.new("RGB", (100, 100))
        with image_limits(ImageLimits.of_pixels(10)):
            assert open_image(image).size == (100, 100)


@pytest.mark.slow
def test_a_photo_of_200_megapixels_is_read_by_default(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (16_320, 12_240), (120, 140, 90)).save(path, quality=30)
    image = open_image(path)
    assert image.size == (8160, 6120)
    color = image.getpixel((4000, 3000))
    assert isinstance(color, tuple)
    assert np.abs(np.subtract(color, (120, 140, 90))).max() < 4


@pytest.mark.parametrize(("slow", "stays"), [(1.0, False), (math.inf, True)])
def test_a_process_that_was_slow_is_replaced_unless_time_does_not_matter(
    slow: float, stays: bool
) -> None:
    """As on a busy machine: the process is stopped for a while, and does its work afterwards."""
    with Decoders(1, slow=slow) as own:
        own.start().decode(encoded(NOISE, "BMP"), ImageLimits())
        process = own._idle[0]._process
        os.kill(process.pid, signal.SIGSTOP)
        threading.Timer(1.4, lambda: os.kill(process.pid, signal.SIGCONT)).start()
        image = own.decode(encoded(NOISE, "BMP"), ImageLimits())
        assert image.tobytes() == NOISE.tobytes()
        assert (own._idle[0]._process is process) == stays
        if stays:
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(
                os.PRIO_PROCESS, os.getpid()
            )


class TestSquashed:
    """`open_squashed`, in this process and in one of its own."""

    def both(self, path: Path, side: int, decoders: Decoders) -> Image.Image:
        here = open_squashed(path, side)
        there = open_squashed(path, side, decoders=decoders)
        assert here.mode == there.mode == "RGB"
        assert here.tobytes() == there.tobytes()
        assert here.info["size"] == there.info["size"]
        return here

    def test_it_is_the_whole_image_resized(self, tmp_path: Path, decoders: Decoders) -> None:
        for kind in ("PNG", "JPEG", "BMP"):
            (path := tmp_path / f"a.{kind.lower()}").write_bytes(encoded(NOISE, kind))
            small = self.both(path, 30, decoders)
            wanted = open_image(path).resize((30, 30), Image.Resampling.BICUBIC)
            assert small.tobytes() == wanted.tobytes()
            assert small.info["size"] == (80, 60)

    def test_it_is_upright(self, tmp_path: Path, decoders: Decoders) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        NOISE.save(tmp_path / "a.jpg", exif=exif)
        small = self.both(tmp_path / "a.jpg", 30, decoders)
        assert small.info["size"] == (60, 80)
        wanted = open_image(tmp_path / "a.jpg").resize((30, 30), Image.Resampling.BICUBIC)
        assert small.tobytes() == wanted.tobytes()

    def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(
        self, tmp_path: Path, decoders: Decoders
    ) -> None:
        photo = NOISE.resize((2400, 1800), Image.Resampling.BICUBIC)
        photo.save(tmp_path / "a.jpg", quality=95)
        small = self.both(tmp_path / "a.jpg", 100, decoders)
        assert small.info["size"] == (300, 225)  # an eighth, which is still more than twice 100
        wanted = photo.resize((100, 100), Image.Resampling.BICUBIC)
        difference = np.abs(np.asarray(small, np.float64) - np.asarray(wanted, np.float64))
        assert difference.mean() < 2
        assert open_image(tmp_path / "a.jpg").size == (2400, 1800)

    def test_errors_name_the_file(self, tmp_path: Path, decoders: Decoders) -> None:
        (path := tmp_path / "a.png").write_bytes(encoded(NOISE, "PNG")[:500])
        for own in (None, decoders):
            with pytest.raises(ImageError, match=r"a\.png: .*the file ends before the image does"):
                open_squashed(path, 30, decoders=own)
            with pytest.raises(ImageError, match=r"b\.png: no such file"):
                open_squashed(tmp_path / "b.png", 30, decoders=own)
            limits = ImageLimits(max_pixels=1000)
            (whole := tmp_path / "c.png").write_bytes(encoded(NOISE, "PNG"))
            with pytest.raises(ImageError, match=r"c\.png: 80x60 has more than 1,000 pixels"):
                open_squashed(whole, 30, decoders=own, limits=limits)
