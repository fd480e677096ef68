"""The description of the service, and that the service keeps to it."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proxyhash.service import Service, Settings, create_app
from proxyhash.service.keys import KeyFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient

    from tests.service.conftest import Built

pytestmark = pytest.mark.slow

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def app_and_key(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app, which does not hear of the start and end that schemathesis gives every request."""
    folder = tmp_path_factory.mktemp("openapi")
    shutil.copytree(built.index, folder / "index")
    _, key = KeyFile(folder / "keys.json").add("tests", scope="write")
    service = Service(Settings(str(folder / "index"), keys=folder / "keys.json", write=True))
    app = create_app(service)

    async def requests_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    yield requests_only, key
    asyncio.run(service.close())


@pytest.fixture(scope="module")
def operations(app_and_key: Any) -> dict[str, Any]:
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", app_and_key[0], headers={"Host": "localhost"}
    )
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{each.method.upper()} {each.path}": each for each in found}


NAMES = [
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "GET /v1/info",
    "GET /v1/items/{id}",
    "GET /v1/originals/{id}",
    "GET /v1/sample",
    "GET /v1/thumbnails/{id}",
    "DELETE /v1/items/{id}",
    "POST /v1/admin/reload",
    "POST /v1/encode",
    "POST /v1/encode/image",
    "POST /v1/items",
    "POST /v1/items/delete",
    "POST /v1/search",
    "POST /v1/search/batch",
    "POST /v1/search/image",
]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_as_described(
    operations: dict[str, Any], app_and_key: Any, name: str, mode: Any
) -> None:
    headers = {"Authorization": f"Bearer {app_and_key[1]}", "Host": "localhost"}

    # A reload takes no body, and loads a model each time.
    count = 4 if name.endswith("/reload") else 15

    @settings(
        max_examples=count, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operations[name].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    check()


def test_every_operation_is_described(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert description["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    operations = [
        (path, method, each)
        for path, methods in description["paths"].items()
        for method, each in methods.items()
    ]
    assert {f"{method.upper()} {path}" for path, method, _ in operations} == set(NAMES)
    for path, method, each in operations:
        assert each["summary"], path
        assert each["description"].endswith("."), path
        assert each["tags"], path
        if path.startswith("/v1"):
            assert {"401", "408", "413", "503", "504"} <= set(each["responses"]), (path, method)
