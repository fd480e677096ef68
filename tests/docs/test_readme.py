"""The README is short, and leads with use."""

from __future__ import annotations

from tests.docs.pages import ROOT, code_blocks

README = ROOT / "README.md"


def test_it_takes_two_minutes_to_read():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_it_leads_with_use():
    text = README.read_text(encoding="utf-8")
    order = ["docs/images/demo.png", "make demo", "proxyhash train", "```python", "| `dchml` |"]
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_python_takes_ten_lines():
    (code,) = code_blocks(README, "python")
    assert len(code.splitlines()) <= 10


def test_there_is_one_table_of_results():
    assert README.read_text(encoding="utf-8").count("| `dchml` |") == 1
