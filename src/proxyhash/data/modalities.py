"""Registry of the modalities that items may have: image, text, and others by registration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from proxyhash.registry import Registry

__all__ = ["MODALITIES", "Modality", "ModalityKind", "register_modality"]

Modality: TypeAlias = str
"""The name of a modality, such as "image": a key of the manifest and of every mapping by it."""


@dataclass(frozen=True, slots=True)
class ModalityKind:
    """Modality: its names, and what a manifest holds for it.

    Attributes:
        name: the singular, "image"; also the manifest's key.
        plural: the plural, "images".
        is_file: whether the manifest holds the path of a file, else the content itself.
    """

    name: Modality
    plural: str
    is_file: bool

    @property
    def one(self) -> str:
        """The name with its article: "an image"."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


MODALITIES: Registry[ModalityKind] = Registry(
    "modality", group="proxyhash.modalities", ordered=True
)
"""Every modality by name: image, text, then others in the order of their registration."""


def register_modality(
    name: Modality, *, plural: str | None = None, is_file: bool = False
) -> ModalityKind:
    """Register a modality, so that manifests may have a key of that name, and return it.

    Args:
        name: lower-case letters, digits and _; it becomes part of keys such as "audio_codes".
        plural: the plural; by default the name with an "s".
        is_file: whether the manifest holds the path of a file, else the content itself.

    Raises:
        ValueError: the name is unsuitable, or another modality has it.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(
            f"{name!r} cannot name a modality; a name has lower-case letters, digits and _, and is "
            f"none of {', '.join(_RESERVED)}"
        )
    return MODALITIES.add(name, ModalityKind(name, plural or f"{name}s", is_file))


_NAME = re.compile("[a-z][a-z0-9_]*")
_RESERVED = ("id", "labels", "split")  # the other keys of a manifest

register_modality("image", is_file=True)
register_modality("text")
