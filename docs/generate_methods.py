"""Write the table of docs/methods.md from the methods' cards: `python docs/generate_methods.py`.

A test compares the file with `render`.
"""

from __future__ import annotations

from pathlib import Path

from proxyhash.files import write_text
from proxyhash.methods import METHODS

TARGET = Path(__file__).with_name("methods.md")

HEADER = """\
| method | idea | loss in one line | source | differs from the common budget |
|---|---|---|---|---|
"""


def render(text: str) -> str:
    """Return the page with its table replaced by one row per method of this package."""
    before, header, rest = text.partition(HEADER)
    assert header, f"{TARGET} has no table with the header of this file"
    _, gap, after = rest.partition("\n\n")
    return before + HEADER + table() + (gap + after if gap else "\n")


def table() -> str:
    """Return one row per method that comes with this package, sorted by name."""
    rows = []
    for name, method in METHODS.items():
        if not method.__module__.startswith("proxyhash."):
            continue
        card = method.card
        assert card is not None, f"method {name} has no card"
        rows.append(f"| `{name}` | {card.idea} | {card.loss} | {card.source} | {card.differs} |")
    return "\n".join(rows)


if __name__ == "__main__":
    write_text(TARGET, render(TARGET.read_text(encoding="utf-8")))
