"""Indexes of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.index.milvus.connection import Connection
from tests.index.backends import (
    Backend,
    in_folders,
    in_memory,
    in_milvus,
    on_shuffling_servers,
)
from tests.index.milvus.server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.index.milvus.server import Server

SERVER = [pytest.mark.slow, pytest.mark.milvus_server, pytest.mark.enable_socket]


@pytest.fixture(scope="session")
def lite_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Milvus Lite file whose process runs as long as the tests do."""
    uri = str(tmp_path_factory.mktemp("milvus") / "tests.db")
    connection = Connection(uri)
    yield uri
    connection.close()


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Milvus server on this machine; skips where it is not asked for."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(
    params=[
        "memory",
        "store",
        "shuffled",
        "milvus-lite",
        pytest.param("milvus-server", marks=SERVER),
    ]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each kind of index."""
    match request.param:
        case "memory":
            return in_memory()
        case "store":
            return in_folders(request.getfixturevalue("tmp_path"))
        case "shuffled":
            return on_shuffling_servers()
        case "milvus-lite":
            return in_milvus(request.getfixturevalue("lite_uri"))
        case _:
            return in_milvus(request.getfixturevalue("milvus_server").uri)
