"""`index sync`: the index becomes what the manifest says, and nothing more is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.catalog.build import build_index
from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.sync import sync_index
from proxyhash.errors import ImageError, InterruptedRunError, ProxyhashError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.index.store import Store
from tests.catalog.conftest import contents, write

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the items that go through a model, in order."""
    seen: list[str] = []
    real = HashModel.encode_collection

    def spy(self: HashModel, collection: Collection, **options: Any) -> Any:
        seen.extend(collection.ids)
        return real(self, collection, **options)

    monkeypatch.setattr(HashModel, "encode_collection", spy)
    return seen


@pytest.fixture
def index(small_run: Path, items: list[dict[str, Any]], tmp_path: Path) -> Path:
    build_index(small_run, write(tmp_path, items), tmp_path / "x.index")
    return tmp_path / "x.index"


def sync(index: Path, manifest: Path, **options: Any) -> tuple[int, ...]:
    report = sync_index(str(index), manifest, **options)
    items = report.items
    return items.added, items.replaced, items.unchanged, report.removed, report.away


def test_only_what_changed_is_encoded(
    index: Path, items: list[dict[str, Any]], tmp_path: Path, encoded: list[str]
) -> None:
    manifest = write(tmp_path, items)
    assert sync(index, manifest) == (0, 0, 6, 0, 0)
    assert encoded == []
    images = tmp_path / "data" / "images"
    shutil.copy(images / "0.png", images / "1.png")  # another image under the same name
    os.utime(images / "2.png", ns=(5, 5))  # the same image, another time
    changed = [items[0] | {"text": "a red car"}, *items[1:3], items[3] | {"price": 5}, items[4]]
    manifest = write(tmp_path, [*changed, {"id": "new", "text": "a boat"}])
    before = contents(index)
    assert sync(index, manifest, dry_run=True) == (1, 4, 1, 1, 0)
    assert (contents(index), encoded) == (before, [])
    assert sync(index, manifest) == (1, 3, 2, 1, 0)
    assert encoded == ["i0", "i1", "i2", "i3", "new"]
    fresh = tmp_path / "fresh.index"
    build_index(index / "model", manifest, fresh)
    assert contents(index) == contents(fresh)
    del encoded[:]
    assert sync(index, manifest) == (0, 0, 6, 0, 0)
    assert encoded == []


def test_what_others_changed_in_the_index_is_put_right(
    index: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    before = contents(index)
    with Store.open(index, write=True) as store:
        item = store.get("i1")
        store.upsert(["i1"], {"text": item.codes["text"][None]}, payloads=[{}])
        store.delete(["i2"])
    thumbnails = Catalog(index).thumbnails
    assert thumbnails is not None
    thumbnails.delete(["i3"])
    assert sync(index, write(tmp_path, items)) == (1, 1, 4, 0, 0)
    assert contents(index) == before


def test_most_of_an_index_is_not_removed_by_mistake(
    index: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    few = write(tmp_path, items[:2])
    with pytest.raises(UsageError, match=r"lacks 4 of the 6 items .*--yes"):
        sync(index, few)
    assert sync(index, few, dry_run=True) == (0, 0, 2, 4, 0)
    others = [{"id": "x", "text": "a"}, {"id": "y", "text": "b"}]
    other = write(tmp_path, others)
    with pytest.raises(UsageError, match="lacks 6 of the 6"):
        sync(index, other)
    assert len(contents(index)) == 6
    assert sync(index, write(tmp_path, items[:3])) == (0, 0, 3, 3, 0)  # half of it is taken
    assert sync(index, write(tmp_path, others), yes=True) == (2, 0, 0, 3, 0)
    thumbnails = Catalog(index).thumbnails
    assert thumbnails is not None
    assert (set(contents(index)), len(thumbnails)) == ({"x", "y"}, 0)


def test_images_that_are_away_are_not_removed(
    index: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    before = contents(index)
    images = tmp_path / "data" / "images"
    images.rename(tmp_path / "away")
    images.mkdir()  # a mount point
    manifest = write(tmp_path, items)
    with pytest.raises(ImageError, match="no such file"):
        sync(index, manifest)
    report = sync_index(str(index), manifest, on_bad_item="skip")
    assert (report.items.kept, report.removed) == (6, 0)
    assert contents(index) == before


def test_rows_that_cannot_be_read_hold_back_what_would_be_removed(
    index: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    manifest = write(tmp_path, [*items[:4], items[4] | {"labels": 5}])
    assert sync(index, manifest, on_bad_item="skip") == (0, 0, 4, 0, 2)
    assert len(contents(index)) == 6
    assert sync(index, manifest, on_bad_item="skip", yes=True) == (0, 0, 4, 2, 0)


def test_an_item_that_lost_image_and_text_is_removed(
    index: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert sync(index, write(tmp_path, [*items[:5], {"id": "i5"}])) == (0, 0, 5, 1, 0)
    assert "i5" not in contents(index)


def test_a_damaged_record_of_sources_only_costs_time(
    index: Path, items: list[dict[str, Any]], tmp_path: Path, encoded: list[str]
) -> None:
    manifest = write(tmp_path, items)
    for content in (b"no database", b""):
        del encoded[:]
        (index / "sources.sqlite3").write_bytes(content)
        assert sync(index, manifest) == (0, 0, 6, 0, 0)
        assert len(encoded) == 6
        assert sync(index, manifest) == (0, 0, 6, 0, 0)
        assert len(encoded) == 6  # it is made again
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep")
    (index / "sources.sqlite3").unlink()
    (index / "sources.sqlite3").symlink_to(precious)
    assert sync(index, manifest) == (0, 0, 6, 0, 0)
    assert precious.read_bytes() == b"keep"


def test_ctrl_c_says_how_to_go_on(
    index: Path, items: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    manifest = write(tmp_path, [items[0] | {"price": 1}, *items[1:5]])
    with monkeypatch.context() as patch:
        patch.setattr("proxyhash.catalog.ingest.put_codes", interrupt)
        with pytest.raises(InterruptedRunError, match="nothing was removed yet: run the same"):
            sync(index, manifest)
    assert len(contents(index)) == 6
    assert sync(index, manifest) == (0, 1, 4, 1, 0)


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from proxyhash.catalog import ingest, sync

    ingest.BATCH = ingest._FIRST = 2
    real, calls = ingest.put_codes, []

    def put(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*arguments, **options)

    ingest.put_codes = put
    sync.sync_index(sys.argv[1], Path(sys.argv[2]))
    """
)


def test_a_sync_that_was_killed_goes_on_where_it_was(
    index: Path, items: list[dict[str, Any]], tmp_path: Path, encoded: list[str]
) -> None:
    changed = [item | {"text": f"{item['text']} again"} for item in items[:5]]
    manifest = write(tmp_path, changed)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(index), str(manifest)], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert set(contents(index)) == {f"i{row}" for row in range(6)}  # removing comes last
    assert sync(index, manifest) == (0, 1, 4, 1, 0)
    assert encoded == ["i4"]


def test_the_command_line_says_how_many_of_each(
    index: Path, items: list[dict[str, Any]], tmp_path: Path, proxyhash_command
) -> None:
    manifest = write(tmp_path, [*items[:4], {"id": "new", "text": "x", "labels": ["drone"]}])
    dry = proxyhash_command("index", "sync", index, manifest, "--dry-run")
    assert dry.out == f"{index}: would add 1, leave 4, remove 2; nothing is changed\n"
    result = proxyhash_command("index", "sync", index, manifest)
    assert result.out.startswith(f"{index}: 1 added, 4 unchanged, 2 removed (")
    assert 'classes; "drone" (1 item' in result.err
    assert "is only a filter until you train again" in result.err
    assert f"proxyhash serve {index}" in result.err
    again = proxyhash_command("index", "sync", index, manifest, "--json").json
    assert (again["unchanged"], again["removed"], again["away"]) == (5, 0, 0)
    refused = proxyhash_command("index", "sync", index, write(tmp_path, items[:1]))
    assert (refused.code, "--yes" in refused.err) == (2, True)


def test_items_are_deleted_by_a_condition(
    index: Path, items: list[dict[str, Any]], tmp_path: Path, proxyhash_command
) -> None:
    priced = [item | {"price": row} for row, item in enumerate(items)]
    sync(index, write(tmp_path, priced))
    where = ["index", "delete", index, "--where", "price >= 4"]
    dry = proxyhash_command(*where, "--dry-run")
    assert dry.out == f"{index}: 2 would be deleted; nothing is changed\n"
    assert len(contents(index)) == 6
    assert proxyhash_command(*where, "--json").json["deleted"] == 2
    assert set(contents(index)) == {"i0", "i1", "i2", "i3"}
    assert proxyhash_command("index", "delete", index, "i0", "no", "--dry-run").out == (
        f"{index}: 1 would be deleted; nothing is changed; 1 not found\n"
    )
    assert proxyhash_command(*where, "i0").code == 2
    mistyped = proxyhash_command("index", "delete", index, "--where", "not prise = 3")
    assert (mistyped.code, "did you mean price?" in mistyped.err) == (2, True)
    assert "nothing is deleted" in mistyped.err
    assert proxyhash_command("index", "delete", index, "--where", "price >").code == 2
    ids = tmp_path / "ids.txt"
    ids.write_bytes(b"\xef\xbb\xbfi0\r\n i1 \r\n\r\n")
    assert proxyhash_command("index", "delete", index, "--ids-from", ids, "--json").json == {
        "index": str(index),
        "ids": 2,
        "deleted": 2,
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_ids_are_read_as_people_write_them(
    index: Path, tmp_path: Path, proxyhash_command, ending: str, encoding: str
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_bytes(ending.join(["i0", "", " i1\t", "no"]).encode(encoding))
    result = proxyhash_command("index", "delete", index, "--ids-from", ids)
    assert result.out == f"{index}: 2 deleted; 1 not found\n"
    ids.write_bytes(b"i2\n" + b"x" * 600 + b"\n")
    refused = proxyhash_command("index", "delete", index, "--ids-from", ids)
    assert (refused.code, "line 2" in refused.err) == (3, True)
    ids.write_bytes(b" \r\n")
    refused = proxyhash_command("index", "delete", index, "--ids-from", ids)
    assert (refused.code, f"{ids} has no ids" in refused.err) == (2, True)
    thumbnails = Catalog(index).thumbnails
    assert thumbnails is not None
    assert set(contents(index)) == {"i2", "i3", "i4", "i5"}
    assert len(thumbnails) == 4


def test_a_folder_of_images_that_is_away_in_part(
    index: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for row, item in enumerate(items):
        place = photos / ("cats" if row < 3 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "data" / item["image"], place)
    assert sync(index, photos, yes=True) == (6, 0, 0, 6, 0)
    assert sync(index, photos) == (0, 0, 6, 0, 0)
    (photos / "cats" / "0.png").unlink()
    shutil.copy(photos / "dogs" / "3.png", photos / "dogs" / "new.png")
    assert sync(index, photos, dry_run=True)[3:] == (1, 0)
    added, _, _, removed, away = sync(index, photos)
    assert (added, removed, away) == (1, 1, 0)
    (photos / "cats").rename(tmp_path / "unmounted")
    (photos / "cats").mkdir()
    assert sync(index, photos)[3:] == (0, 2)
    (photos / "cats").rmdir()
    report = sync_index(str(index), photos)
    assert (report.removed, report.away, report.places) == (0, 2, (str(photos / "cats"),))
    assert len(contents(index)) == 6
    assert sync(index, photos, yes=True)[3:] == (2, 0)
    shutil.rmtree(photos)
    photos.mkdir()
    with pytest.raises(ProxyhashError):
        sync(index, photos)
    assert len(contents(index)) == 4
