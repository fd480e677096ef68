"""`proxyhash push` and `proxyhash pull`: models on the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, ModelArgument, examples
from proxyhash.errors import ModelError

__all__ = ["register"]

RepositoryArgument = Annotated[
    str, typer.Argument(help="Name on the hub, user/name.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        epilog=examples(
            "proxyhash push runs/f64 ada/birds-64 --license apache-2.0 --language en",
            "proxyhash push runs/f64 ada/birds-64 --private",
        )
    )(push)
    app.command(
        epilog=examples(
            "proxyhash pull ada/birds-64 birds-64",
            "proxyhash pull ada/birds-64 birds-64 --revision v2",
        )
    )(pull)


def push(
    model: ModelArgument,
    repository: RepositoryArgument,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private, if it is new.")
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(
            help="License of the model, such as apache-2.0; without one, nobody may use it.",
            show_default=False,
            metavar="ID",
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="Language of the texts, such as en. Can be given several times.",
            show_default=False,
            metavar="CODE",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="Data set on the hub that it was trained on, user/name. Can be given several "
            "times.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            help="Branch to write to, made where it is missing. Default: the main branch.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a trained model on the Hugging Face hub, with its model card.

    Only the model and its card are written, in one commit: neither data, split nor codes. Classes
    are part of a model. The card of a run has YAML in front, with its figures in the hub's
    evaluation form.

    Log in with `hf auth login`, or set HF_TOKEN.
    """
    from proxyhash.hashing import model_folder
    from proxyhash.hashing.hub import publish_model
    from proxyhash.training.card import published_card

    folder = model_folder(model)
    card = published_card(
        _card(model, folder), license=license, language=language or (), datasets=dataset or ()
    )
    console.note(f"publishing {repository} on the hub")
    address = publish_model(folder, repository, card=card, private=private, revision=revision)
    if as_json:
        console.emit_json({"repository": repository, "url": address})
        return
    console.out(address)
    if license is None and "\nlicense:" not in card.partition("\n---")[0]:
        console.note("the card has no license, so others may not use the model: give --license")
    console.next_steps(f"proxyhash pull {repository} {repository.partition('/')[2]}")


def _card(model: Path, folder: Path) -> str:
    """Return the card of a run or of a model that was pulled, or a short one."""
    from proxyhash.evaluation.run import read_metrics
    from proxyhash.files import read_json
    from proxyhash.training.card import front_matter, plain_card
    from proxyhash.training.config import current_keys

    found = next((p for p in (model / "README.md", folder / "README.md") if p.is_file()), None)
    if found is None:
        return plain_card(model.resolve().name, read_json(folder / "model.json"))
    try:
        card = found.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{found} cannot be read: {error}") from error
    if card.startswith("---\n") or not (model / "config.json").is_file():
        return card
    # A run of an earlier version.
    config = current_keys(read_json(model / "config.json"))
    return f"{front_matter(model.resolve().name, config, read_metrics(model))}\n{card}"


def pull(
    repository: RepositoryArgument,
    folder: Annotated[Path, typer.Argument(help="Model folder to write.", show_default=False)],
    revision: Annotated[
        str | None,
        typer.Option(
            help="Branch, tag or commit. Default: the main branch.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a model from the Hugging Face hub into a folder, which `encode` and `index build` take.

    Only files that a model has are fetched, and their checksums are checked. The folder is written
    completely or not at all; run the command again to go on with what an interrupted one fetched.

    For a private model, log in with `hf auth login`, or set HF_TOKEN.
    """
    from proxyhash.hashing.hub import pull_model

    console.note(f"fetching {repository} from the hub")
    found = pull_model(repository, folder, revision=revision)
    if as_json:
        console.emit_json(
            {
                "folder": str(folder),
                "repository": repository,
                "commit": found.commit,
                "ignored": list(found.ignored),
            }
        )
        return
    console.out(f"{folder}: {repository} at {found.commit[:12]}")
    if found.ignored:
        some = ", ".join(map(console.printable, found.ignored[:5]))
        console.note(f"not fetched, since a model has no such files: {some}")
    console.next_steps(
        f"proxyhash index build {folder} YOUR_MANIFEST --out items.index",
        f"proxyhash encode {folder} YOUR_MANIFEST --out codes.npz",
    )
