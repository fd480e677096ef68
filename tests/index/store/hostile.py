"""Damages an index in many ways, uses it, and prints what was neither an answer nor a sentence.

    python -m tests.index.store.hostile FOLDER FIRST LAST

FOLDER gets an index; every number from FIRST up to LAST is one damage, of the database's content,
its schema, or bytes of any file. A process of its own: a damage may end it, or hang.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import ProxyhashError
from proxyhash.index.filters import Contains, Equals, Range
from proxyhash.index.second_look import SecondLook
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = 400
SECONDS = 10
WEIGHTS = np.random.default_rng(6).integers(0, 65_536, (ITEMS + 3, 16)).astype(np.uint16)
CODES = np.random.default_rng(5).integers(0, 256, (2, ITEMS + 40, 2), np.uint8)
VALUES = """
NULL
''
'x'
-1
0
1
2
255
400
1e300
-9e18
9223372036854775807
zeroblob(8)
zeroblob(16)
x'ff'
'[1]'
'{"n":1e999}'
'{"n":NaN}'
'{"n":null,"n":[[[]]],"labels":{"l":1}}'
'{'
char(0)
'text'
CAST(x'ff' AS TEXT)
x'ffffffffffffffff'
x'10000000000000000000000000000001'
'{"a":' || replace(hex(zeroblob(20000)), '00', '[') || '1'
'{"n":' || replace(hex(zeroblob(5000)), '00', '9') || '}'
""".strip().splitlines()
COLUMNS = [
    *("items.row", "items.id", "items.payload", "items.crc32", "header.json"),
    *("state.change", "state.rows", "state.items", "runs.first", "runs.modalities"),
    *("changes.change", "changes.kind", "changes.rows"),
    *("blocks.log", "blocks.block", "blocks.crc32"),
]
SCHEMAS = (
    "DROP TABLE {t}",
    "ALTER TABLE {t} RENAME TO other; CREATE VIEW {t} AS SELECT * FROM other",
    "ALTER TABLE {t} RENAME TO other; CREATE VIEW {t} AS WITH RECURSIVE c(row) AS (SELECT 0 UNION "
    "ALL SELECT row + 1 FROM c) SELECT row, row AS id, '{{}}' AS payload, 0 AS crc32, 0 AS change, "
    "row AS rows, 0 AS items, 0 AS first, 1 AS modalities, '' AS kind, '' AS log, 0 AS block, '' "
    "AS json FROM c",
    "DROP TABLE {t}; CREATE TABLE {t} (row, id, payload, crc32, change, rows, items, first, "
    "modalities, kind, log, block, json AS (randomblob(999999999)))",
    "CREATE TRIGGER t AFTER UPDATE ON {t} BEGIN DELETE FROM items; END",
    "CREATE INDEX more ON {t} (zeroblob(9000))",
    "DELETE FROM {t}",
    "CREATE TABLE more (x)",
    "ALTER TABLE {t} ADD COLUMN more",
    "INSERT INTO {t} SELECT * FROM {t} LIMIT 1",
    "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'runs') "
    "WHERE name = '{t}'",
    "UPDATE sqlite_master SET sql = 'CREATE TABLE {t} (x' WHERE name = '{t}'",
    "PRAGMA user_version = 9; PRAGMA application_id = 7",
)


def make(folder: Path) -> Path:
    """Return the generation of an index that has been changed, compacted, and changed again."""
    options: Any = {"bits": 16, "modalities": ("image", "text"), "keep_vectors": "int8"}
    with Store.create(folder, **options) as store:
        ids = [f"i{number:03d}" for number in range(ITEMS)]
        both = {"image": CODES[0, :ITEMS], "text": CODES[1, :ITEMS]}
        payloads = [{"n": number, "labels": [f"l{number % 5}"]} for number in range(ITEMS)]
        weights = dict.fromkeys(both, WEIGHTS[:ITEMS])
        store.add(ids, both, payloads=payloads, weights=weights)
        store.compact()
        store.delete(ids[::7])
        store.upsert(ids[3:20], {"text": CODES[1, 3:20]}, payloads=payloads[3:20])
        store.add(["i0005", "j"], {"text": CODES[1, :2]})
    return next(folder.glob("generation-*"))


def damage(generation: Path, dice: random.Random) -> str:
    """Damage a generation, and return how."""
    kind = dice.choice(("value", "schema", "bytes", "bytes", "cycle"))
    database = generation / "items.sqlite"
    if kind in ("value", "schema"):
        column = dice.choice(COLUMNS)
        table, _, name = column.partition(".")
        if kind == "value":
            where = dice.choice(("", f" WHERE rowid % {dice.randint(2, 90)} = 0"))
            where = "" if table == "blocks" else where
            text = f"UPDATE OR IGNORE {table} SET {name} = {dice.choice(VALUES)}{where}"
        else:
            text = dice.choice(SCHEMAS).format(t=table)
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.set_progress_handler(lambda: 1, 50_000_000)
            connection.execute("PRAGMA writable_schema = 1")
            if kind == "value":  # NOT NULL, too
                connection.execute(
                    "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '/*null*/')"
                )
                connection.execute("PRAGMA schema_version = 9999")
            try:
                connection.executescript(text)
            except sqlite3.Error as error:
                text += f" ({error})"
            if kind == "value":
                connection.execute("PRAGMA writable_schema = 1")
                connection.execute(
                    "UPDATE sqlite_master SET sql = replace(sql, '/*null*/', 'NOT NULL')"
                )
                connection.execute("PRAGMA schema_version = 10000")
        return text
    if kind == "cycle":  # pages of the database that are others'
        content = bytearray(database.read_bytes())
        size, pages = 8192, len(content) // 8192
        for _ in range(dice.randint(1, 4)):
            one, two = (dice.randrange(1, pages) * size for _ in range(2))
            content[one : one + size] = content[two : two + size]
        database.write_bytes(content)
        return "pages exchanged"
    names = sorted(path for path in generation.rglob("*") if path.is_file() and path.stat().st_size)
    path = dice.choice([*names, database, database, generation / "order.rows"])
    content = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 1, 5, 50))):
        if dice.random() < 0.1:
            del content[dice.randrange(len(content) + 1) :]
        elif content:
            edge = dice.choice((len(content), min(len(content), 200)))
            content[dice.randrange(edge)] = dice.choice((0, 1, 255, dice.randrange(256)))
    path.write_bytes(content)
    return f"bytes of {path.name}"


def questions(store: Store) -> list[object]:
    """Return the answers that are compared where `verify` finds no problem."""
    found: list[object] = [len(store), store.info()["items"], dict(store.fields())]
    for modality in ("image", "text"):
        query = CODES[0, ITEMS : ITEMS + 3]
        found.append(store.search(query, k=30, modality=modality))
        for shortlist in (40, None):
            look = SecondLook(WEIGHTS[ITEMS:], shortlist, "vectors")
            found.append(store.search(query, k=20, modality=modality, look=look))
        found += [
            store.search(CODES[1, :1], k=9, modality=modality, filter=one)
            for one in (
                Equals("n", 33),
                Range("n", ge=390),
                Contains("labels", "l2"),
                Range("s", lt="a"),
            )
        ]
        found.append(store.count_distances(CODES[0, :1], modality=modality).tolist())
    found.append(sorted(store.count_values("labels"), key=str))
    found.append([(one.id, one.payload) for batch in store.items(batch=100) for one in batch])
    found.append(sorted(store.get_many(["i001", "i0005", "none"])))
    return found


def uses(folder: Path, other: Path) -> list[tuple[str, Callable[[], object]]]:
    def read() -> object:
        with Store.open(folder) as store:
            return store.verify(), questions(store)

    def ask() -> object:
        with Store.open(folder) as store:
            return questions(store)

    def check() -> object:
        with Store.open(folder) as store:
            return store.verify()

    def write() -> object:
        with Store.open(folder, write=True) as store:
            store.upsert(["i002", "new"], {"text": CODES[1, ITEMS : ITEMS + 2]})
            store.delete(["i004", "i005"])
            return store.compact()

    def salvage() -> object:
        with Store.open(folder, salvage=True) as store:
            return store.snapshot(other)

    return [("check", check), ("ask", ask), ("read", read), ("salvage", salvage), ("write", write)]


def late(*_: Any) -> None:
    raise SystemExit("HANGS\n" + "".join(traceback.format_stack(limit=12)))


def main(folder: Path, first: int, last: int) -> None:
    """Print one line per fault, and how many damages there were."""
    original = folder / "original"
    make(original)
    with Store.open(original) as store:
        expected = questions(store)
    signal.signal(signal.SIGALRM, late)
    kinds: dict[str, int] = {}
    for number in range(first, last):
        dice = random.Random(number)
        copy, other = folder / f"copy{number}", folder / f"other{number}"
        shutil.copytree(original, copy)
        how = damage(next(copy.glob("generation-*")), dice)
        for name, use in uses(copy, other):
            started = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 3 * SECONDS)
            kind = "answer"
            try:
                answer = use()
                if name == "read" and isinstance(answer, tuple) and not answer[0]:
                    kind = "sound" if answer[1] == expected else "WRONG"
            except ProxyhashError as error:
                kind = type(error).__name__
                if kind == "ProxyhashError":
                    print("UNSURE", number, name, how, error, file=sys.stderr, flush=True)
            except Exception as error:
                kind = "RAW"
                print("RAW", number, name, how, repr(error)[:200], flush=True)
                print("".join(traceback.format_exc(limit=-4)), flush=True)
            if kind == "WRONG":
                print("WRONG", number, name, how, flush=True)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if time.monotonic() - started > SECONDS:
                print("SLOW", number, name, how, f"{time.monotonic() - started:.1f} s", flush=True)
            kinds[kind] = kinds.get(kind, 0) + 1
        shutil.rmtree(copy)
        shutil.rmtree(other, ignore_errors=True)
    print("done", last - first, kinds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
