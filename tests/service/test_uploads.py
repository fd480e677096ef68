"""Uploaded images are decoded in processes that end when nobody waits for them."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from proxyhash.errors import ImageError
from proxyhash.service import Limits
from proxyhash.service.errors import ApiError
from proxyhash.service.uploads import Uploads
from tests.data.hostile_images import jpeg_fill, jpeg_of_few_scans, tiff_of_strips
from tests.service.conftest import running

if TYPE_CHECKING:
    from tests.service.conftest import Built


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 30, 40)).save(file, "PNG")
    return file.getvalue()


def test_an_image_is_decoded_and_a_bad_one_named() -> None:
    async def work() -> None:
        uploads = Uploads(Limits(pixels=600))
        try:
            assert (await uploads.decode(png())).getpixel((29, 19)) == (200, 30, 40)
            with pytest.raises(ImageError, match="the image: this is a web page"):
                await uploads.decode(b"<html>")
        finally:
            await uploads.close()
        small = Uploads(Limits(pixels=599))
        try:
            with pytest.raises(ImageError, match="the image: 30x20 has more than 599 pixels"):
                await small.decode(png())
        finally:
            await small.close()

    asyncio.run(work())


def test_decoding_ends_with_its_request() -> None:
    async def work() -> None:
        uploads = Uploads(Limits())
        task = asyncio.create_task(uploads.decode(jpeg_of_few_scans()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        start = time.monotonic()
        await uploads.close()  # waits for the thread that waits for the process
        assert time.monotonic() - start < 3

    jpeg_of_few_scans()
    asyncio.run(work())


def test_stopping_answers_what_is_being_decoded_and_too_many_are_refused() -> None:
    async def work() -> None:
        uploads = Uploads(Limits(waiting=1))
        task = asyncio.create_task(uploads.decode(jpeg_of_few_scans()))
        await asyncio.sleep(0.5)
        with pytest.raises(ApiError, match="too many images are waiting"):
            await uploads.decode(png())
        uploads.stop()
        with pytest.raises(ApiError, match="shutting down"):
            await task
        await uploads.close()

    jpeg_of_few_scans()
    asyncio.run(work())


@pytest.mark.slow
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_hostile_uploads_hold_up_neither_others_nor_the_end(built: Built) -> None:
    """Before, the event loop read headers: 9 MB of 0xFF were 12 seconds without any answer."""
    hostile = [jpeg_fill(), tiff_of_strips(), jpeg_of_few_scans()]
    with running(built.index, "--upload-mb", 20) as server, ThreadPoolExecutor(6) as senders:

        def send(content: bytes) -> int:
            try:
                files = {"image": content}
                return httpx.post(
                    f"{server.url}/v1/search/image", files=files, timeout=60
                ).status_code
            except httpx.HTTPError:  # the server has ended
                return 0

        done = [senders.submit(send, content) for content in hostile]
        longest = 0.0
        while not all(each.done() for each in done):
            start = time.perf_counter()
            assert httpx.get(f"{server.url}/healthz", timeout=20).status_code == 200
            longest = max(longest, time.perf_counter() - start)
            time.sleep(0.02)
        assert longest < 4
        assert {each.result() for each in done} <= {200, 422, 503}
        last = senders.submit(send, jpeg_of_few_scans())
        time.sleep(0.5)
        start = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert time.monotonic() - start < 15
        assert last.result() in {0, 200, 422, 503}


@pytest.mark.enable_socket
@pytest.mark.parametrize("path", ["/v1/search/image", "/v1/search", "/v1/encode/image"])
def test_a_client_that_leaves_while_it_sends_is_no_fault(built: Built, path: str) -> None:
    kind = "multipart/form-data; boundary=x" if path.endswith("image") else "application/json"
    body = '--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc'
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with running(built.index) as server:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(f"{head}Content-Length: 5000\r\n\r\n{body}".encode())
                time.sleep(0.05)
        assert httpx.get(f"{server.url}/healthz").status_code == 200
    told = [line for line in server.lines if line.get("route") == path]
    assert len(told) == 5
    assert {line["status"] for line in told} <= {400, 499}
    assert not [line for line in server.lines if line["level"] == "error"]
