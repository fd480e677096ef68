"""`proxyhash demo`: every step on generated images, without a download."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.evaluate import print_pairs
from proxyhash.cli.search import show_answer
from proxyhash.cli.shared import JsonOption, examples

if TYPE_CHECKING:
    from proxyhash.demo import DemoResult

__all__ = ["register"]

_OUT, _ITEMS = Path("proxyhash-demo"), 3000


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash demo",
            "proxyhash demo --serve",
            "proxyhash demo --labels none --serve",
            "proxyhash demo --tune none",
            "proxyhash demo --tune image",
            "proxyhash demo --out /tmp/demo --items 1000 --seed 7",
        )
    )(demo)


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder to work in; created if missing.", metavar="FOLDER")
    ] = _OUT,
    items: Annotated[
        int, typer.Option(help="Number of images to generate, at least 200.")
    ] = _ITEMS,
    seed: Annotated[
        int, typer.Option(help="Seed of images, split and training.", min=0, max=2**31 - 1)
    ] = 0,
    tune: Annotated[
        str,
        typer.Option(
            help="Whether a pretrained image encoder learns, too, and is compared with itself "
            "frozen; it has to be on this machine.",
            metavar="none|image",
        ),
    ] = "none",
    labels: Annotated[
        str,
        typer.Option(
            help="Whether training gets the classes of the images, or, as most collections have "
            "none, a CSV file of images and captions alone.",
            metavar="given|none",
        ),
    ] = "given",
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Then serve the images and open the search page in a browser."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate images, then check, train, evaluate and search them, all offline.

    Takes a minute or two on two cores, and several with --tune image. A second run reuses the
    images in its folder.
    """
    from proxyhash.demo import run_demo

    result = run_demo(
        out,
        items=items,
        seed=seed,
        tune=tune,
        labels=labels,
        note=console.note,
        track=console.track,
    )
    if as_json:
        console.emit_json(_to_dict(result))
    else:
        given = {
            "--out": (out, _OUT),
            "--items": (items, _ITEMS),
            "--seed": (seed, 0),
            "--tune": (tune, "none"),
            "--labels": (labels, "given"),
        }
        changed = [
            f" {name} {shlex.quote(str(value))}"
            for name, (value, usual) in given.items()
            if value != usual
        ]
        _show(result, again="proxyhash demo" + "".join(changed))
    if serve:
        _serve(result)


def _serve(result: "DemoResult") -> None:
    from proxyhash.cli.serve import run_service
    from proxyhash.demo import index_demo
    from proxyhash.service import Settings

    index = index_demo(result.folder, note=console.note, track=console.track)
    run_service(Settings(index=str(index)), port=0, open_page=True)


def _show(result: "DemoResult", *, again: str) -> None:
    from proxyhash.evaluation.report import direction_words, figure

    for answer in result.answers:
        show_answer(answer)
        console.out("")
    metrics = result.run.metrics
    galleries = {"literature": metrics, "strict": metrics["strict"] or {}}
    if result.frozen is not None:
        before = result.frozen.metrics
        galleries = {
            "literature: frozen": before,
            "literature: tuned": metrics,
            "strict: frozen": before["strict"] or {},
            "strict: tuned": metrics["strict"] or {},
        }
    title = (
        f"{metrics['training']['method']}, {metrics['bits']} bits, "
        f"{len(result.collection):,} generated images"
    )
    if all(value is None for value in metrics["map"].values()):
        console.out(title)
        pairs = result.run.evaluations.pairs
        assert pairs is not None  # every generated image has a caption
        print_pairs(pairs)
    else:
        console.table(
            ["mAP@all", *galleries],
            [
                [
                    direction_words(name),
                    *(figure(each.get("map", {}).get(name)) for each in galleries.values()),
                ]
                for name in metrics["map"]
            ],
            title=title,
            right=list(galleries),
        )
    run = shlex.quote(str(result.folder.run))
    console.out(
        f"\nThe whole demo took {result.seconds:.0f} s. Look at the results in a browser:\n\n"
        f"    {result.folder.page.resolve()}\n\n"
        "Try next:\n\n"
        f'    proxyhash search {run} --text "a cat under a lamp" --html found.html\n'
        f"    {again} --serve    # the search page: texts find by meaning and by words\n"
        f"    proxyhash evaluate {run} --plots\n"
        f"{_without_labels(result)}"
        f"{_tuning(result)}"
        "    proxyhash up YOUR_FOLDER    # the same with images of your own\n"
    )


def _without_labels(result: "DemoResult") -> str:
    """Return the line of the demo without labels; after it, the commands that it did."""
    folder = result.folder
    if result.collection.classes:
        return "    proxyhash demo --labels none    # codes from images and captions alone\n"
    data, index = shlex.quote(str(folder.captions)), shlex.quote(str(folder.index))
    run = shlex.quote(str(folder.run))
    return (
        f"    proxyhash train {data} --out runs/pairs    # three commands to a page,\n"
        f"    proxyhash index build {run} {data} --out {index}    # without labels\n"
        f"    proxyhash serve {index} --open\n"
    )


def _tuning(result: "DemoResult") -> str:
    """Return the line of the command that tunes; none after a demo that did.

    It is the demo's own where this machine has weights for it.
    """
    from proxyhash.encoders.known import KNOWN_MODELS, find_known_model

    if result.frozen is not None:
        return ""
    if find_known_model("image") is not None:
        command = "proxyhash demo --tune image"
    else:
        smallest = KNOWN_MODELS["image"][-1].hub_id
        images = shlex.quote(str(result.folder.images))
        command = f"proxyhash train {images} --image-encoder {smallest} --tune image --out tuned"
    return f"    {command}    # an image encoder that learns, too\n"


def _to_dict(result: "DemoResult") -> dict[str, Any]:
    return {
        "folder": str(result.folder.path),
        "page": str(result.folder.page),
        "run": str(result.folder.run),
        "items": len(result.collection),
        "metrics": result.run.metrics,
        "frozen": result.frozen and result.frozen.metrics,
        "searches": [answer.to_dict() for answer in result.answers],
        "seconds": round(result.seconds, 3),
    }
