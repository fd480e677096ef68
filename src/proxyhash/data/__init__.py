"""Items, collections and splits: what comes in, before any model sees it."""

from proxyhash.data.collection import Collection
from proxyhash.data.draw import draw_split, manifest_split
from proxyhash.data.images import open_image
from proxyhash.data.item import Item, Modality
from proxyhash.data.manifest import read_collection, scan_manifest
from proxyhash.data.registry import Problem, Record, register_reader
from proxyhash.data.split import Split

__all__ = [
    "Collection",
    "Item",
    "Modality",
    "Problem",
    "Record",
    "Split",
    "draw_split",
    "manifest_split",
    "open_image",
    "read_collection",
    "register_reader",
    "scan_manifest",
]
