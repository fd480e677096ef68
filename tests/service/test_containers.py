"""Dockerfile and compose file, as far as they can be checked where no engine runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from proxyhash.cli.app import app

ROOT = Path(__file__).parents[2]


def serve_options(arguments: list[str]) -> dict[str, Any]:
    """What the command line reads from arguments of `proxyhash serve`; wrong ones raise."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    command = group.commands["serve"]
    return dict(command.make_context("serve", list(arguments), resilient_parsing=False).params)


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in lines.splitlines() if line]  # type: ignore[misc]


def test_the_image_runs_the_service_as_nobody_special(instructions: Any) -> None:
    values = {name: value for name, value in instructions if name not in ("RUN", "FROM", "COPY")}
    assert json.loads(values["ENTRYPOINT"]) == ["proxyhash", "serve"]
    options = serve_options(json.loads(values["CMD"]))
    assert (options["host"], options["port"]) == ("0.0.0.0", int(values["EXPOSE"]))
    assert options["keys"] == Path("/run/secrets/keys.json")
    assert values["USER"] == "proxyhash"
    assert f":{values['EXPOSE']}/readyz" in values["HEALTHCHECK"]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}
    assert {name for name, _ in instructions} <= known | {"CMD"}


def test_everything_that_is_copied_into_the_image_is_there(instructions: Any) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for name, value in instructions:
        if name == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored


def test_every_image_has_a_version(compose: Any, instructions: Any) -> None:
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    images += [value.split()[0] for name, value in instructions if name == "FROM"]
    for image in images:
        assert ":" in image
        assert not image.endswith(":latest")


def test_compose_holds_together(compose: Any) -> None:
    services = compose["services"]
    for service in services.values():
        for name, each in service.get("depends_on", {}).items():
            assert each["condition"] == "service_healthy"
            assert "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or source.startswith("${")
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]


def test_compose_serves_what_the_command_line_takes(compose: Any) -> None:
    arguments = [
        re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", one)
        for one in compose["services"]["proxyhash"]["command"]
    ]
    options = serve_options(arguments)
    assert options["index"] == "http://milvus:19530#photos"
    assert options["model"] == Path("/data/model")
    assert options["keys"] == Path("/run/secrets/keys.json")
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert "minioadmin" not in text
