"""Items, collections and splits: the data, before any model sees it."""

from proxyhash.data.collection import Collection
from proxyhash.data.draw import draw_split, manifest_split, split_sizes
from proxyhash.data.images import open_image
from proxyhash.data.item import Item
from proxyhash.data.manifest import read_collection, scan_manifest
from proxyhash.data.modalities import MODALITIES, Modality, ModalityKind, register_modality
from proxyhash.data.readers import Problem, Record, register_reader
from proxyhash.data.split import Split

__all__ = [
    "MODALITIES",
    "Collection",
    "Item",
    "Modality",
    "ModalityKind",
    "Problem",
    "Record",
    "Split",
    "draw_split",
    "manifest_split",
    "open_image",
    "read_collection",
    "register_modality",
    "register_reader",
    "scan_manifest",
    "split_sizes",
]
