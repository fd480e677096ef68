"""docs/cli.md says what the command line declares."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from typer.main import get_command

from proxyhash.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    generate_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_cli)
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == generate_cli.render(), "docs/cli.md is stale: run `make docs`"


def every_command(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from every_command(child)


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    texts = [
        text or ""
        for command in every_command(get_command(app))
        for text in (command.help, *(getattr(each, "help", "") for each in command.params))
    ]
    assert len(texts) > 200
    for text in texts:
        assert Text.from_markup(text).plain == text
