"""Settings of a service: limits, keys, host names."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from proxyhash.data.images import MAX_PIXELS, ImageLimits
from proxyhash.errors import UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

__all__ = ["Limits", "Settings", "is_loopback"]


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of what all together hold; beyond them, it is refused.

    Attributes:
        k: hits of one search.
        shortlist: items of one search that `rerank` orders, unless all are.
        text: characters of a text to search for or encode.
        batch: queries, texts or items of one request.
        json_bytes: size of a JSON body.
        json_depth: how deep its lists and objects nest.
        json_values: values in it.
        upload_bytes: size of an uploaded image.
        pixels: width times height of one. The default stands for the limits that indexing has by
            default, with which a larger JPEG is decoded at a smaller size.
        original_bytes: size of an original image that is shown.
        seconds: from the first byte of a request to its answer.
        waiting: requests of one kind that wait for a worker; more are answered 503.
        encode_batch: texts or images that are encoded together.
        search_batch: searches that are done together.
        head_bytes: size of a request line and its header fields.
        head_fields: number of its header fields.
        head_seconds: in which they arrive.
        idle_seconds: that a connection stays open without a request.
        connections: of all clients; one more takes the place of the one that is idle longest.
        connections_per_address: of one address, or one IPv6 network of 64 bits; those of this
            machine itself, where a proxy may be, count only together.
        body_bytes: that the bodies of all requests under way have together.
        answer_bytes: of all answers that wait to be taken by their clients.
    """

    k: int = 1000
    shortlist: int = 100_000
    text: int = 2000
    batch: int = 256
    json_bytes: int = 4_000_000
    json_depth: int = 32
    json_values: int = 200_000
    upload_bytes: int = 10_000_000
    pixels: int = MAX_PIXELS
    original_bytes: int = 60_000_000
    seconds: float = 30.0
    waiting: int = 256
    encode_batch: int = 64
    search_batch: int = 64
    head_bytes: int = 32_768
    head_fields: int = 100
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    connections: int = 1000
    connections_per_address: int = 100
    body_bytes: int = 256_000_000
    answer_bytes: int = 256_000_000

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0 < value < math.inf:
                raise UsageError(f"the limit {each.name} is {value}; it must be more than 0")

    @classmethod
    def read(cls, given: Iterable[str], **values: float) -> Self:
        """Return limits of which some are written as NAME=VALUE; these win over `values`.

        Raises:
            UsageError: there is no such limit, or the value is not a number that it takes.

        Example:
            >>> Limits.read(["k=50"], seconds=2.0).k
            50
        """
        changed: dict[str, Any] = dict(values)
        for one in given:
            name, separator, text = one.partition("=")
            if not separator:
                raise UsageError(f"the limit is {one!r:.60}; write NAME=VALUE, such as k=2000")
            check_option("limit", name.strip(), {each.name for each in fields(cls)})
            kind = type(getattr(cls, name.strip()))
            try:
                changed[name.strip()] = kind(text)
            except ValueError:
                whole = "a whole number" if kind is int else "a number"
                raise UsageError(f"the limit {name} is {text!r:.40}; it is {whole}") from None
        return cls(**changed)

    @property
    def images(self) -> ImageLimits:
        """Limits of an uploaded image."""
        return ImageLimits() if self.pixels == MAX_PIXELS else ImageLimits.of_pixels(self.pixels)


@dataclass(frozen=True)
class Settings:
    """Settings that a service is started with.

    Attributes:
        index: folder or address of the index, as `open_index` takes it.
        model: run or model folder; None for the copy in the index.
        device: where the model runs.
        engine: name of the engine that searches an index folder; None for "auto".
        write: whether items can be changed over HTTP, always with a key.
        keys: file of key hashes, see `KeyFile`; None for a service without keys. With it, reading
            needs a key too.
        host: address that the service listens on.
        open_reads: whether reading on loopback needs no key although there are keys.
        allowed_hosts: names that a request may call the service by; empty for any. A service that
            is open to read on loopback answers to loopback names and these only, so that a page
            from elsewhere cannot reach it under a name of its own (DNS rebinding).
        originals: folder that the image paths of the items begin in; the service shows those files.
            None for none: then thumbnails are the largest images shown.
        hidden: payload fields that answers leave out.
        log_queries: whether logs say what was searched for.
        limits: the most that one request may ask for.
    """

    index: str
    model: Path | None = None
    device: str = "cpu"
    engine: str | None = None
    write: bool = False
    keys: Path | None = None
    host: str = "127.0.0.1"
    open_reads: bool = False
    allowed_hosts: tuple[str, ...] = ()
    originals: Path | None = None
    hidden: tuple[str, ...] = ("image",)
    log_queries: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.keys is None and not self.reads_are_open:
            raise UsageError(
                f"{self.host} can be reached from other machines, so searching needs a key: make "
                "one with `proxyhash keys add FILE NAME`, then give --keys FILE (or listen on "
                "127.0.0.1)"
            )
        if self.open_reads and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached from other machines, so reading cannot be open; leave "
                "--open-reads out, or listen on 127.0.0.1 behind a proxy that authenticates people"
            )
        if self.write and self.keys is None:
            raise UsageError(
                "changing items needs a key: make one with `proxyhash keys add FILE NAME --write`, "
                "then give --keys FILE"
            )

    @property
    def reads_are_open(self) -> bool:
        """Whether reading needs no key."""
        return is_loopback(self.host) and (self.keys is None or self.open_reads)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that a request may call the service by; empty for any."""
        if self.reads_are_open:
            return ("localhost", "127.0.0.1", "[::1]", self.host, *self.allowed_hosts)
        return self.allowed_hosts


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
