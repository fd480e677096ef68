"""What the variables of published arrays are called, and what each of them is.

A name is a role and a part in either order, in any case, with anything in between: `IAll`,
`ImgQuery`, `I_te`, `train_L`, `databaseL` and `train/labels` all say both. The names were gathered
from the loaders that authors released.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

__all__ = ["PARTS", "ROLES", "Part", "Role", "meaning"]

Role: TypeAlias = Literal["image", "text", "labels", "index"]
Part: TypeAlias = Literal["all", "query", "train", "database", "validation"]

ROLES: dict[Role, tuple[str, ...]] = {
    "image": ("i", "v", "x", "img", "imgs", "image", "images", "f", "fname", "data", "visual"),
    "text": ("t", "y", "txt", "txts", "text", "texts", "tag", "tags", "caption", "captions"),
    "labels": ("l", "lab", "labs", "label", "labels", "category", "categories"),
    "index": ("index", "indices", "idx", "ind"),
}
"""What a variable holds; `index` numbers the items of a part, or, as strings, names images."""

PARTS: dict[Part, tuple[str, ...]] = {
    "all": ("all",),
    "query": ("query", "queries", "test", "te"),
    "train": ("train", "training", "tr", "tra"),
    "database": ("database", "db", "dataset", "retrieval", "ret", "gallery"),
    "validation": ("validation", "valid", "val", "verify"),
}
"""Which items it is about; a role alone stands for all of them."""

_ALONE = {"img", "imgs", "image", "images", "text", "texts", "txt", "tags", "caption", "captions"}
_ALONE |= {"labels", "label", "category", "categories", "index"}
_IN_BETWEEN = re.compile(r"[^a-z0-9]")


def meaning(name: str) -> tuple[Role, Part] | None:
    """Return what a variable is, None where its name does not say."""
    return _MEANINGS.get(_IN_BETWEEN.sub("", name.lower().removeprefix("param/")))


def _meanings() -> dict[str, tuple[Role, Part]]:
    found: dict[str, tuple[Role, Part]] = {}
    for role, words in ROLES.items():
        for word in words:
            if word in _ALONE:
                found[word] = (role, "all")
            for part, names in PARTS.items():
                for each in names:  # the first reading stays: VAll is all of V, not val of L
                    found.setdefault(word + each, (role, part))
                    found.setdefault(each + word, (role, part))
    return found


_MEANINGS = _meanings()
