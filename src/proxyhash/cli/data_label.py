"""`proxyhash data label`: find classes for a collection without labels."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.data_check import FormatOption, PathArgument
from proxyhash.cli.shared import (
    BadItemOption,
    DeviceOption,
    JsonOption,
    LabelSeparatorOption,
    examples,
)
from proxyhash.errors import UsageError

__all__ = ["LABEL_EXAMPLES", "label"]

SHOWN = 20
"""Classes that are printed; the page has all of them."""

LABEL_EXAMPLES = examples(
    "proxyhash data label photos/ --out found/",
    "proxyhash data label photos/ --out found/ --from images --classes 30",
    'proxyhash data label photos/ --out found/ --name "dog: puppy, hound" --name beach',
    "proxyhash data label photos/ --out found/ --names names.txt \\",
    "    --image-encoder google/siglip-base-patch16-224 \\",
    "    --text-encoder google/siglip-base-patch16-224",
)


def label(
    path: PathArgument,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    way: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="What classes are made of: texts (their words), images (clusters, named by "
            "typical words) or names (those given). Default: names where any are given, else "
            "texts where half of the items have one, else images.",
            metavar="texts|images|names",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help='A class, "dog" or with synonyms "dog: puppy, hound". Can be given several times.',
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="File of such names, one per line.", metavar="FILE", show_default=False),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            help="Number of classes. Default: 100 from texts and 50 from images, at most one for "
            "every ten items.",
            min=2,
            max=2000,
            show_default=False,
        ),
    ] = None,
    edits: Annotated[
        Path | None,
        typer.Option(
            help="File of renames, merges and drops. Default: edits.txt in --out, if it is there.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(
            help="Image encoder, as of train. Default: a known model of this machine, else "
            "descriptor.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            help="Text encoder. Default: a known model of this machine, else bow. With one model "
            "of images and texts (CLIP, SigLIP) for both, names are matched with images.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="Prompt around a name that is matched with images. Can be given several times. "
            'Default: "a photo of {}." and "{}".',
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    neighbors: Annotated[
        int, typer.Option(help="Neighbors of an item that are asked.", min=1, max=1000)
    ] = 20,
    split_file: Annotated[
        Path | None,
        typer.Option(
            help="Split of `data split`: classes are then learned from its training and validation "
            "items alone, for measurements.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
    on_bad_item: BadItemOption = "fail",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a manifest in --out that this did not write."),
    ] = False,
    format: FormatOption = None,
    label_separator: LabelSeparatorOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Find classes for a collection without labels, with a probability per item and class.

    Writes a manifest (items.jsonl) to train on and a page to look at (classes.html) into --out,
    and edits.txt, in which classes are renamed, merged and dropped: change it and run the same
    command again, which is quick, as features are cached. Labels that the collection has are not
    read. docs/found-classes.md says when learning from found classes helps, and when pairs are
    better.
    """
    from proxyhash.data import Split, read_collection
    from proxyhash.encoders import FeatureCache
    from proxyhash.labeling import find_classes, read_edits, write_labels
    from proxyhash.labeling.edits import apply_edits
    from proxyhash.labeling.find import read_inputs
    from proxyhash.labeling.names import TEMPLATES, parse_names, read_names
    from proxyhash.labeling.write import EDITS, check_folder

    if name and names:
        raise UsageError("--name and --names are two ways to give names; use one of them")
    given = read_names(names) if names else []
    given = parse_names((f"--name {each!r}", each) for each in name) if name else given
    collection = read_collection(
        path, format=format, on_bad_item=on_bad_item, label_separator=label_separator
    )
    check_folder(out, collection, overwrite=overwrite)
    if edits is not None and not edits.is_file():
        raise UsageError(f"{edits} does not exist; leave out --edits, and edits.txt is written")
    changes_file = edits or out / EDITS
    changes = read_edits(changes_file) if changes_file.is_file() else []
    encoders = {"image": image_encoder, "text": text_encoder}
    inputs = read_inputs(
        collection,
        encoders={modality: spec for modality, spec in encoders.items() if spec is not None},
        split=Split.load(split_file, collection) if split_file else None,
        seed=seed,
        device=device,
        cache=FeatureCache(),
        on_bad_item=on_bad_item,
        track=console.track,
    )
    for each in inputs.notes:
        console.note(each)
    found = find_classes(
        inputs,
        way=way,
        names=given,
        classes=classes,
        templates=template or TEMPLATES,
        neighbors=neighbors,
        seed=seed,
        track=console.track,
    )
    found = apply_edits(found, changes)
    options: dict[str, Any] = {"seed": seed, "neighbors": neighbors}
    options |= {f"{modality} encoder": spec for modality, spec in inputs.encoders.items()}
    write_labels(out, collection, found, options=options, edits=len(changes))
    _report(out, collection, found, edits=len(changes), as_json=as_json)
    if not as_json:
        asked = [f"--{kind}-encoder {shlex.quote(spec)}" for kind, spec in encoders.items() if spec]
        parts = (*asked, "--method dchml-plus --out runs/found")
        console.next_steps(f"proxyhash train {shlex.quote(str(out))} {' '.join(parts)}")


def _report(out: Path, collection: Any, found: Any, *, edits: int, as_json: bool) -> None:
    labeled = int(found.labels.any(axis=1).sum())
    given = sum(bool(item.labels) for item in collection.items)
    if as_json:
        console.emit_json(
            {
                "manifest": str(out / "items.jsonl"),
                "page": str(out / "classes.html"),
                "from": found.way,
                "items": len(collection),
                "labeled": labeled,
                "edits": edits,
                "notes": list(found.notes),
                "classes": [
                    {"name": name, "items": count, "confidence": round(sure, 4)}
                    for name, count, sure in zip(
                        found.names, found.counts.tolist(), found.confidence.tolist(), strict=True
                    )
                ],
            }
        )
        return
    rows = [
        (console.printable(name), f"{count:,}", f"{sure:.2f}")
        for name, count, sure in zip(
            found.names, found.counts.tolist(), found.confidence.tolist(), strict=True
        )
    ]
    unit = "class" if len(rows) == 1 else "classes"
    console.table(
        ("class", "items", "confidence"),
        rows[:SHOWN],
        title=f"{len(rows)} {unit} from {found.way}; {labeled:,} of {len(collection):,} items",
        right=("items", "confidence"),
    )
    if len(rows) > SHOWN:
        console.out(f"and {len(rows) - SHOWN:,} more")
    for note in found.notes:
        console.note(note)
    if given:
        console.note(
            f"{given:,} items have labels already, which were not read; judge a run by them with "
            f"proxyhash evaluate RUN --labels {collection.path}"
        )
    console.note(f"look at {out / 'classes.html'}; edit {out / 'edits.txt'} and run this again")
