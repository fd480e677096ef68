"""The demo: generate an image set, check, train, evaluate, search, and show the results."""

from __future__ import annotations

import csv
import shutil
import time
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from proxyhash import __version__
from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.files import read_json, write_json, write_text
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxyhash.data import Collection
    from proxyhash.search import Answer, RunSearcher
    from proxyhash.training.history import EpochRecord
    from proxyhash.training.run import RunResult

__all__ = [
    "DEMO_TEXT",
    "LEAST_ITEMS",
    "DemoFolder",
    "DemoResult",
    "index_demo",
    "run_demo",
]

DEMO_TEXT = "two ducks and a boat by the sea"
"""Search text of the demo, in words that captions use."""

LEAST_ITEMS = 200
"""Fewer images do not hold all classes in every part of the split."""

_BITS = 64

_TRAINING = {
    "hidden": [256],
    "batch_size": 32,
    "epochs": 30,
    "optimizer": "adamw",
    "weight_decay": 0.3,
    "dropout": 0.2,
    "standardize": True,
    "text_network": {"standardize": False},
    "threads": 1,
}
"""A few thousand items make few steps per epoch, so the steps are small and many; networks for them
are so small that a second thread gains little, and on a busy machine loses much."""


_TUNED: dict[str, Any] = {
    "tune": ["image"],
    "image_size": 96,
    "epochs": 6,
    "head_epochs": 1,
    "final_epochs": _TRAINING["epochs"],
    "ema": 0.98,
    "weight_decay": 0.01,
    "standardize": False,
    "threads": None,
}
"""Generated images are simple and small, so that few epochs of small images do."""


@dataclass(frozen=True)
class DemoFolder:
    """Folder of the demo: its layout, and whether the demo may write there."""

    path: Path

    @property
    def marker(self) -> Path:
        """Says that the demo made this folder, and which images are in it."""
        return self.path / "demo.json"

    @property
    def images(self) -> Path:
        """The generated collection."""
        return self.path / "images"

    @property
    def captions(self) -> Path:
        """The same images with their captions alone, as a CSV file without labels."""
        return self.path / "captions.csv"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.path / "run"

    @property
    def frozen(self) -> Path:
        """The run folder of the frozen encoder, beside that of the tuned one."""
        return self.path / "frozen"

    @property
    def page(self) -> Path:
        """The results page."""
        return self.path / "results.html"

    @property
    def index(self) -> Path:
        """The index that a service searches."""
        return self.path / "index"

    def claim(self) -> None:
        """Make the folder, or take one that an earlier demo made.

        Raises:
            UsageError: "X was not made by the demo ...": nothing of someone else is touched.
        """
        if self.marker.is_file():
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(
                f"{self.path} was not made by the demo, so it is not changed; choose another "
                "folder with --out"
            )
        write_json(self.marker, {"made_by": "proxyhash demo", "images": None})

    def holds(self, recipe: dict[str, Any]) -> bool:
        """Return whether the images of this recipe are there already."""
        try:
            marker = read_json(self.marker)
        except DataError:
            return False
        complete = isinstance(marker, dict) and marker.get("images") == recipe
        return complete and (self.images / "items.jsonl").is_file()


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo.

    Attributes:
        folder: where everything lies.
        collection: the generated items.
        reused: whether the images were there from an earlier demo.
        run: the training's result, with the figures.
        frozen: that of the same encoder without tuning, where it was tuned.
        answers: a search with a text and one with an image.
        seconds: time of the whole demo.
    """

    folder: DemoFolder
    collection: Collection
    reused: bool
    run: RunResult
    answers: tuple[Answer, ...]
    seconds: float
    frozen: RunResult | None = None


def run_demo(
    folder: str | Path,
    *,
    items: int = 3000,
    seed: int = 0,
    tune: str = "none",
    labels: str = "given",
    note: Callable[[str], None] = lambda _text: None,
    report: Callable[[EpochRecord], None] = lambda _record: None,
    track: Track = silent,
) -> DemoResult:
    """Generate images, check them, train and evaluate codes, search, and write the results page.

    Args:
        folder: created if missing; one of an earlier demo is reused, and so are its images if
            they are the same.
        items: how many images, at least 200.
        seed: of the images, the split and the training.
        tune: "image" trains on a known pretrained model twice, frozen and learning; "none" on
            features that need no weights.
        labels: "given" trains on classes; "none" on images and captions alone, from a CSV file.
        note: called with a sentence about each step.
        report: called with every epoch's record.
        track: progress callback.

    Raises:
        UsageError: `items` is too small, the folder is someone else's, or this machine has no
            pretrained model to tune.
    """
    if items < LEAST_ITEMS:
        raise UsageError(f"items is {items}; the demo needs at least {LEAST_ITEMS}")
    if check_option("labels", labels, ("given", "none")) == "none" and tune != "none":
        raise UsageError("the demo tunes with labels; leave out --tune, or --labels none")
    encoder = _encoder(check_option("tune", tune, ("none", "image")))
    start = time.perf_counter()
    demo = DemoFolder(Path(folder))
    demo.claim()
    collection, reused = _images(demo, items=items, seed=seed, note=note, track=track)
    train = partial(_train, demo, seed=seed, encoder=encoder, report=report, track=track)
    frozen = None
    if labels == "none":
        result, collection = _train_on_pairs(
            demo, collection, seed=seed, note=note, report=report, track=track
        )
    elif tune == "none":
        note(f"training dchml, {_BITS} bits, and measuring it")
        result = train(demo.run)
    else:
        note(f"training dchml, {_BITS} bits, on {Path(encoder).name}, frozen")
        frozen = train(demo.frozen)
        note(f"training dchml, {_BITS} bits, and {Path(encoder).name} with it")
        result = train(demo.run, **_TUNED)
    note("searching with a text and with an image")
    from proxyhash.search import RunSearcher

    searcher = RunSearcher.open(demo.run)
    answers = (
        searcher.search_text(DEMO_TEXT, k=12),
        searcher.search_image(_query_image(searcher), k=6),
    )
    seconds = time.perf_counter() - start
    done = DemoResult(demo, collection, reused, result, answers, seconds, frozen)
    _write_page(done)
    return done


def index_demo(
    demo: DemoFolder, *, note: Callable[[str], None] = lambda _text: None, track: Track = silent
) -> Path:
    """Build the index of a demo's images, with its model and thumbnails, and return its folder.

    Args:
        demo: what `run_demo` wrote.
        note: called with a sentence about each step.
        track: progress callback.
    """
    from proxyhash.catalog.build import build_index

    note("building an index with thumbnails")
    if demo.index.is_dir():  # an earlier demo's; its model may have been another
        shutil.rmtree(demo.index)
    data = read_json(demo.run / "config.json")["data"]
    build_index(demo.run, data, demo.index, thumbnails=True, track=track)
    return demo.index


def _images(
    demo: DemoFolder, *, items: int, seed: int, note: Callable[[str], None], track: Track
) -> tuple[Collection, bool]:
    """Generate and check the images, unless the same ones are there."""
    from proxyhash.data import read_collection
    from proxyhash.data.check import check_collection
    from proxyhash.datasets.scenes import generate_scenes

    recipe = {"items": items, "seed": seed, "version": __version__}
    if demo.holds(recipe):
        note(f"using the {items:,} images of an earlier demo")
        return read_collection(demo.images), True
    note(f"generating {items:,} images with captions and labels")
    collection = generate_scenes(demo.images, items=items, seed=seed, track=track)
    report = check_collection(demo.images, track=track)
    if report.errors:
        raise DataError(
            f"the images in {demo.images} are incomplete; is the disk full? "
            f"`proxyhash data check {demo.images}` lists the problems"
        )
    write_json(demo.marker, {"made_by": "proxyhash demo", "images": recipe})
    return collection, False


def _encoder(tune: str) -> str:
    """Return the image encoder of the demo.

    Raises:
        UsageError: it should be tuned, and this machine has no known pretrained model.
    """
    if tune == "none":
        return "patches"
    from proxyhash.encoders.known import KNOWN_MODELS, find_known_model

    found = find_known_model("image")
    if found is None:
        raise UsageError(
            "tune is 'image', but an encoder that learns starts from pretrained weights, and this "
            "machine has none of "
            + ", ".join(model.hub_id for model in KNOWN_MODELS["image"])
            + "; the demo downloads nothing. Put one into a folder and name that in "
            "PROXYHASH_MODELS, or leave --tune out"
        )
    return found[1]


def _train(
    demo: DemoFolder,
    out: Path,
    *,
    seed: int,
    encoder: str,
    report: Callable[[EpochRecord], None],
    track: Track,
    **options: Any,
) -> RunResult:
    from proxyhash.training.config import read_config
    from proxyhash.training.run import train

    config = read_config(
        {
            "data": str(demo.images),
            "out": str(out),
            "method": "dchml",
            "bits": _BITS,
            "seed": seed,
            **_TRAINING,
            "image_encoder": encoder,
            **options,
        }
    )
    return train(config, overwrite=True, report=report, track=track)


def _train_on_pairs(
    demo: DemoFolder,
    collection: Collection,
    *,
    seed: int,
    note: Callable[[str], None],
    report: Callable[[EpochRecord], None],
    track: Track,
) -> tuple[RunResult, Collection]:
    """Write images and captions without labels, and train on them with what `choose` finds."""
    from proxyhash.training.choose import choose
    from proxyhash.training.config import read_config
    from proxyhash.training.run import train

    text = StringIO()
    rows = csv.writer(text)
    rows.writerow(["image", "caption"])
    for item in collection.items:
        source = PurePath(demo.images.name, str(item.sources["image"]))
        rows.writerow([source.as_posix(), item.sources["text"]])
    write_text(demo.captions, text.getvalue())
    chosen = choose(
        {
            "data": str(demo.captions),
            "out": str(demo.run),
            "bits": _BITS,
            "seed": seed,
            "encoders": {"image": "patches", "text": "bow"},
        }
    )
    for sentence in chosen.notes:
        note(sentence)
    config = read_config(chosen.values)
    result = train(config, overwrite=True, report=report, track=track, collection=chosen.collection)
    return result, chosen.collection


def _query_image(searcher: RunSearcher) -> Path:
    """The image of the first query item that shows several things."""
    items = searcher.run.collection.items
    queries = searcher.run.split.query.tolist()
    row = max(queries, key=lambda each: (min(len(items[each].labels), 3), -each))
    path = searcher.run.collection.sources("image")[row]
    assert isinstance(path, Path)  # every generated item has an image
    return path


def _write_page(done: DemoResult) -> None:
    from proxyhash.search.page import write_page

    write_page(
        done.folder.page,
        done.answers,
        title="Demo: generated images, found by their codes",
        figures={
            **_figures(done.run.metrics),
            "bits per item": str(_BITS),
            "images": f"{len(done.collection):,}",
            "training": f"{done.run.seconds:.0f} s",
        },
        footer=f"Written by the demo of proxyhash {__version__}. Everything here was made on the "
        "machine that it ran on.",
    )


def _figures(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the mAP of both directions, or without labels how many find their other halves."""
    found = metrics["map"]
    if found["image_to_text"] is not None:
        return {
            "mAP image → text": f"{found['image_to_text']:.3f}",
            "mAP text → image": f"{found['text_to_image']:.3f}",
        }
    pairs = metrics["pairs"]["directions"]
    return {
        "own text among the first 10": f"{pairs['image_to_text']['recall_at']['10']:.0%}",
        "own image among the first 10": f"{pairs['text_to_image']['recall_at']['10']:.0%}",
    }
