"""CONTRIBUTING's touch points are true: its places exist, and nothing else is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src" / "proxyhash"
ROW = re.compile(r"^\| ([^|…]+) \| ([^|]+) \| ([^|]+) \|$", flags=re.MULTILINE)
ROWS = {
    kind: f"{write} {then}"
    for kind, write, then in ROW.findall(TEXT)
    if not kind.startswith(("-", " "))
}
PLACE = re.compile(r"`((?:[\w<>]+/)+[\w<>.-]*|[\w<>]+\.py)`")


def resolved(place: str) -> Path:
    """Where a place of the table is; `<name>.py` stands for any file of its folder."""
    root = ROOT if place.startswith(("tests/", "docs/", "src/", "benchmarks/")) else SOURCE
    return root / re.sub(r"<name>.*", "", place)


def test_the_table_has_every_kind():
    wanted = {
        "loss", "loss in a method", "method", "encoder", "modality", "reader of manifests",
        "data set", "protocol", "search engine", "engine that an index in a folder may choose",
        "index backend", "verb", "option of training",
        "option of encoders that learn", "HTTP route", "metric",
        "figure beside the mAP, where only that is shown", "key of the manifest with a meaning",
        "key of the manifest that hits keep", "key of the manifest that is reported",
        "button on the page",
    }  # fmt: skip
    assert set(ROWS) == wanted


@pytest.mark.parametrize("kind", ROWS)
def test_the_places_of_the_table_are_there(kind: str):
    places = PLACE.findall(ROWS[kind])
    assert places or kind == "modality"
    assert [place for place in places if not resolved(place).exists()] == []


EXAMPLES = {
    "loss": "bit_cross_entropy",
    "loss in a method": "quantization",
    "protocol": "dcmh-nuswide-tc10",
    "search engine": "multi_index",
    "engine that an index in a folder may choose": "clustered",
    "verb": "keys",
    "option of training": "patience",
    "option of encoders that learn": "crop[-_]?min",
    "HTTP route": "search",
    "metric": "ndcg",
    "figure beside the mAP, where only that is shown": "strict",
    "key of the manifest with a meaning": "labels",
    "key of the manifest that hits keep": "labels",
    "key of the manifest that is reported": "labels",
}
"""What stands in every file that a row names, of a member that is there already."""


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_existing_member_is_in_every_place_of_its_row(kind: str):
    for place in PLACE.findall(ROWS[kind]):
        path = resolved(place)
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        assert any(
            re.search(EXAMPLES[kind], each.read_text("utf-8"), re.IGNORECASE) for each in files
        ), place


SEVERAL = {"hub": ("push", "pull")}
"""Files of verbs that add several of other names."""


def test_a_member_of_the_table_is_in_the_page_of_every_verb_and_engine():
    from proxyhash.cli.app import VERBS
    from proxyhash.index.engines import ENGINES

    help_text = (DOCS / "cli.md").read_text(encoding="utf-8")
    verbs = {each for verb in VERBS for each in SEVERAL.get(verb, (verb,))}
    assert [verb for verb in verbs if f"\n## proxyhash {verb}" not in help_text] == []
    engines = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert [name for name in ENGINES if f"`{name}`" not in engines and "faiss" not in name] == []


NEW = {
    "methods/own_method.py": """
        from proxyhash.methods.shared.objective import Objective
        from proxyhash.methods.shared.registry import register_method

        @register_method("own-method")
        class Own(Objective):
            def loss(self, batch):
                return {}
    """,
    "encoders/own_encoder.py": """
        from proxyhash.data import register_modality
        from proxyhash.encoders.base import BatchEncoder, register_encoder

        register_modality("sound", is_file=True)

        @register_encoder
        class Own(BatchEncoder):
            kind = "own-encoder"
            modalities = ("sound",)
    """,
    "data/readers/own_reader.py": """
        from proxyhash.data.readers.base import register_reader

        @register_reader("own-reader", suffixes=(".own",))
        def read(path):
            yield from ()
    """,
    "datasets/converters/own_converter.py": """
        from proxyhash.datasets.converter import Converter, register_converter

        register_converter(
            Converter("own-converter", lambda path: False, None, "nothing", {}, ())
        )
    """,
    "index/engines/own_engine.py": """
        from proxyhash.index.engines.base import register_engine

        @register_engine
        class Own:
            name = "own-engine"
            exact = True
    """,
    "index/own_backend.py": """
        from proxyhash.index.open import register_index

        @register_index("own")
        class Own:
            pass
    """,
}
"""One file for each kind that is registered, in the folder that the table names."""

LOOK = """
import json
from proxyhash.data import MODALITIES
from proxyhash.data.readers import READERS
from proxyhash.datasets import CONVERTERS
from proxyhash.encoders import ENCODERS
from proxyhash.index import INDEXES
from proxyhash.index.engines import ENGINES
from proxyhash.methods import METHODS
print(json.dumps({
    "methods/own_method.py": "own-method" in METHODS,
    "encoders/own_encoder.py": "own-encoder" in ENCODERS and "sound" in MODALITIES,
    "data/readers/own_reader.py": "own-reader" in READERS,
    "datasets/converters/own_converter.py": "own-converter" in CONVERTERS,
    "index/engines/own_engine.py": "own-engine" in ENGINES,
    "index/own_backend.py": "own" in INDEXES,
}))
"""


def test_one_new_file_is_all_that_a_registry_needs(tmp_path: Path):
    package = tmp_path / "proxyhash"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__", "web"))
    for name, code in NEW.items():
        folder, _, _ = name.rpartition("/")
        assert f"`{folder}/<name>.py`" in TEXT
        lines = [line.removeprefix(" " * 8) for line in code.splitlines()]
        (package / name).write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(NEW, True)


def test_every_registry_is_named_with_its_group():
    groups = set()
    for path in SOURCE.rglob("*.py"):
        groups |= set(re.findall(r'group="(proxyhash\.\w+)"', path.read_text(encoding="utf-8")))
    assert len(groups) >= 7
    assert [group for group in sorted(groups) if f"`{group}`" not in TEXT] == []
