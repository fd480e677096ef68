"""docs/architecture.md shows the rooms that there are, on the floors that are checked."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import DOCS, ROOT

SOURCE = ROOT / "src" / "proxyhash"
TEXT = (DOCS / "architecture.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+) \| (`[^|]+) \|", flags=re.MULTILINE)


def floors() -> list[set[str]]:
    """The rooms of the page by floor, the lowest first."""
    found: dict[int, set[str]] = {}
    for number, names in ROW.findall(TEXT):
        found.setdefault(int(number), set()).update(re.findall(r"`(\w+)`", names))
    assert sorted(found) == list(range(1, len(found) + 1))
    return [found[number] for number in sorted(found)]


def test_every_room_is_on_the_page():
    rooms = {
        path.stem
        for path in SOURCE.iterdir()
        if (path.is_dir() and (path / "__init__.py").is_file()) or path.suffix == ".py"
    }
    assert set().union(*floors()) == rooms - {"__init__", "__main__"}


def test_the_floors_are_those_that_import_linter_checks():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    checked = [
        {name.strip().removeprefix("proxyhash.") for name in layer.split("|")}
        for layer in reversed(layers)
    ]
    assert floors() == checked


def test_the_places_it_names_are_there():
    places = re.findall(r"`([a-z_]+/[\w/.]*|[a-z_]+\.py)`", TEXT)
    assert len(places) > 25
    of_a_run = {"model/", "checkpoints/", "inputs/"}
    missing = [
        place
        for place in places
        if place not in of_a_run and not (SOURCE / place).exists() and not (ROOT / place).exists()
    ]
    assert missing == []
