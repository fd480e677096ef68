"""Former names of options are accepted, and shown nowhere."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from proxyhash.cli.shared import accept_old_names

app = typer.Typer()


@app.command(cls=accept_old_names({"--only": "--data", "--draw": "--plot"}))
def show(
    names: list[str],
    data: Annotated[str, typer.Option()] = "",
    plot: Annotated[bool, typer.Option("--plot")] = False,
) -> None:
    """Print what was understood."""
    typer.echo(f"{names} {data} {plot}")


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["a", "--data", "x", "--plot"], "['a'] x True"),
        (["a", "--only", "x", "--draw"], "['a'] x True"),
        (["--only=x", "a"], "['a'] x False"),
        (["--only=x=--only", "a"], "['a'] x=--only False"),
        (["--", "--only", "--draw"], "['--only', '--draw']  False"),
    ],
)
def test_both_names_are_accepted(given: list[str], understood: str) -> None:
    assert CliRunner().invoke(app, given).output.strip() == understood


def test_only_the_name_is_shown() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--data" in shown
    assert "--only" not in shown


def test_an_unknown_option_is_refused() -> None:
    assert CliRunner().invoke(app, ["a", "--onl", "x"]).exit_code == 2
