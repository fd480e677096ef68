"""Places of the images of a table, and the sentence about what was recognized."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from proxyhash.data.contained import exists_in
from proxyhash.data.packed import PackedItems, as_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxyhash.data.item import Item
    from proxyhash.data.readers.base import Layout

__all__ = ["Nearby", "exists", "looks_like_text", "place_images", "recognized_sentence"]

_FOLDERS = frozenset(
    {"images", "image", "imgs", "img", "photos", "pictures", "pics", "jpg", "jpegs", "files"}
)
_MAX_NAME = 255  # bytes of a file's name, in every usual file system
_SAMPLE = 64
_SHOWN = 4


def exists(path: Path) -> bool:
    """Return whether there is something at a path, or inside a file on it; False where not."""
    try:
        return path.exists() or exists_in(path)
    except (OSError, ValueError):  # too long, not permitted, with a null character
        return False


def looks_like_text(name: str) -> str:
    """Return the end of a sentence about a missing file, where its name is rather a caption."""
    name = name.strip()
    words = len(name.split())
    suffix = re.search(r"\.\w{1,5}$", name)
    if (
        "\n" in name
        or len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME
        or (words > 2 and suffix is None)
    ):
        return "; it looks like a text, not a path: are the columns of image and text swapped?"
    return ""


class Nearby:
    """Finds the file that was meant by a path where there is none; reads each folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, dict[str, list[str]]] = {}  # of a folder, by what is compared

    def hint(self, name: str) -> str:
        """Return the end of a sentence about a missing file, "" where no other is like it.

        A link says that it is one. Files are alike that differ in upper and lower case, in blanks
        around the name, in percent signs as in addresses, in the suffix or in nothing to be seen.

        Args:
            name: the path as the manifest has it, relative to the root or absolute.
        """
        if (self._root / name).is_symlink():
            return "; it is a link, and what it points to is not there"
        plain = unquote(name.strip().removeprefix("file://")).replace("\\", "/")
        path = PurePosixPath(plain)
        folder = str(path.parent)
        if folder not in self._names:
            self._names[folder] = self._read(folder)
        found = self._names[folder].get(_compared(path.name)) or self._names[folder].get(
            _compared(path.stem), []
        )
        return f"; did you mean {path.parent / found[0]}?" if len(found) == 1 else ""

    def _read(self, folder: str) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        try:
            with os.scandir(self._root / folder) as entries:
                for entry in entries:
                    for key in {_compared(entry.name), _compared(PurePosixPath(entry.name).stem)}:
                        names.setdefault(key, []).append(entry.name)
        except (OSError, ValueError):
            return {}
        return names


def _compared(name: str) -> str:
    return unicodedata.normalize("NFKC", name.strip()).casefold()


def place_images(items: Sequence[Item], root: Path, given: Path) -> tuple[Sequence[Item], str]:
    """Return the items with images relative to `root`, and where they are below it, "" for there.

    When none of the first images exists below the manifest's folder, they may be below a folder in
    it with a usual name such as `images`, or below the folder that was given; then all paths get
    that folder in front. Paths of Windows are tried with slashes, and letters with accents in the
    other normal form, composed or decomposed: macOS and some archives change it.

    Args:
        items: of the manifest.
        root: its folder.
        given: the path that the user gave.
    """
    if isinstance(items, PackedItems) and "image" not in items.modalities:
        return items, ""
    if not (isinstance(items, PackedItems) and items.plain):
        items = as_items(_respelled(item, root) for item in items)
    named = (item.sources["image"] for item in items if "image" in item.sources)
    sample = [name for name in islice(named, _SAMPLE) if not name.startswith("/")]
    if not sample or any(exists(root / name) for name in sample):
        return items, ""
    for change in (str, *_SPELLINGS):
        changed = [change(name) for name in sample]
        for prefix in ("", *_places(root, given)):
            if any(exists(root / prefix / name) for name in changed):
                moved = (_respelled(_moved(item, prefix, change), root) for item in items)
                return as_items(moved), prefix or "."
    return items, ""


def _places(root: Path, given: Path) -> Iterator[str]:
    if given.is_dir() and given.resolve() != root.resolve():
        yield Path(os.path.relpath(given.resolve(), root.resolve())).as_posix()
    try:
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        return
    yield from (name for name in names if name.lower() in _FOLDERS)


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", _with_slashes(name))


def _decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", _with_slashes(name))


_SPELLINGS = (_with_slashes, _composed, _decomposed)


def _respelled(item: Item, root: Path) -> Item:
    """Return the item with its image's path as the disk spells it, where that is another way."""
    name = item.sources.get("image")
    if name is None or (name.isascii() and "\\" not in name) or exists(root / name):
        return item
    for change in _SPELLINGS:
        if exists(root / change(name)):
            return replace(item, sources={**item.sources, "image": change(name)})
    return item


def _moved(item: Item, prefix: str, change: Callable[[str], str]) -> Item:
    name = item.sources.get("image")
    if name is None or name.startswith("/"):
        return item
    path = f"{prefix}/{change(name)}" if prefix else change(name)
    return replace(item, sources={**item.sources, "image": path})


def recognized_sentence(
    path: Path,
    items: Sequence[Item],
    layout: Layout,
    *,
    prefix: str,
    joined: int,
    numbered: int,
) -> str:
    """Return a sentence about what was found out about a table or folder, "" for nothing.

    Args:
        path: the manifest or folder.
        items: its items.
        layout: of the table.
        prefix: where the images are, of `place_images`.
        joined: number of rows that were joined to an earlier one.
        numbered: number of rows whose class numbers became names.
    """
    facts = [f"{key} from column {name}" for key, name in layout.columns.items() if name]
    facts += layout.notes
    if layout.ids_from_images:
        facts.append("ids from file names")
    if prefix:
        facts.append(f"images in {prefix}/")
    if joined:
        facts.append(f"{joined:,} further rows about the same images joined to their items")
    if numbered:
        facts.append(f"names for the class numbers of {numbered:,} items")
    facts += _types(layout.types)
    if not facts:
        return ""
    found = Counter(
        what for item in items for what in (*item.sources, *(("labels",) if item.labels else ()))
    )
    images, texts, labeled = found["image"], found["text"], found["labels"]
    counts = [
        f"{images:,} images" if images else "no images",
        f"{texts:,} texts" if texts else "no texts",
    ]
    if labeled or path.is_file():
        counts.append(f"{labeled:,} items with labels" if labeled else "no labels")
    return f"{path}: {', '.join(counts)}; {'; '.join(facts)}"


def _types(types: Mapping[str, str]) -> Iterator[str]:
    for what in dict.fromkeys(types.values()):
        names = [name for name, each in types.items() if each == what]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"{what} in {', '.join(names[:_SHOWN])}{more}"
