"""Models on the Hugging Face hub: fetch one, and publish one.

A repository holds the files of a model folder at its root, beside a model card. Only files with
names that such a folder has are fetched, of bounded size and number, and their checksums and the
model's fingerprint must be right. Nothing is pickled.

Tokens are those of huggingface_hub (`HF_TOKEN`, `hf auth login`), unless one is passed from Python.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.errors import DataError, ModelError, ProxyhashError, UsageError
from proxyhash.files import check_folder, holds, replace_folder
from proxyhash.hashing.checksums import MAX_JSON, find_damage
from proxyhash.hashing.model import HashModel

__all__ = ["CARD", "Fetched", "fetch_model", "publish_model", "pull_model"]

CARD = "README.md"

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_KNOWN = re.compile(
    rf"README\.md|(?:model|checksums)\.json|(?:networks|proxies)\.safetensors"
    rf"|[a-z][a-z0-9_]*_encoder/(?:{_PART}/)?{_PART}\.(?:json|safetensors|txt|model)"
)
"""Names of files that a model folder has; a part never begins with a dot."""

_PATTERNS = (
    CARD, "model.json", "checksums.json", "networks.safetensors", "proxies.safetensors",
    "*_encoder/*.json", "*_encoder/*.safetensors", "*_encoder/*.txt", "*_encoder/*.model",
)  # fmt: skip
"""The same for the hub's cache, which is asked for them where the hub cannot be reached."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_MOST_FILES = 200
_MOST_BYTES = 64 << 30
_MOST_CARD = 4 << 20


@dataclass(frozen=True)
class Fetched:
    """A model of the hub in a folder.

    Attributes:
        folder: where its files are.
        repository: "user/name".
        commit: hash of the revision.
        ignored: names of files of the repository that no model folder has, which were not fetched.
    """

    folder: Path
    repository: str
    commit: str
    ignored: tuple[str, ...]


def fetch_model(
    repository: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Fetched:
    """Fetch a model into the hub's cache, or find it there, and check it.

    What an interrupted call has fetched is not fetched again. Where the hub cannot be reached, the
    model of the cache is taken.

    Args:
        repository: "user/name".
        revision: branch, tag or commit; default the main branch.
        token: of the hub; default the one that huggingface_hub finds.
        cache_dir: the cache's folder; default that of huggingface_hub.

    Raises:
        UsageError: `repository` is not of the form "user/name".
        ModelError: it is not there, is private, or does not hold a model that is complete and safe.
        ProxyhashError: the hub cannot be reached, and the cache does not have the model.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    _check_name(repository)
    sizes: dict[str, int] | None = None
    with _named(repository, revision):
        wanted: list[str] = list(_PATTERNS)
        try:
            info = HfApi(token=token).model_info(repository, revision=revision, files_metadata=True)
        except Exception as error:
            if not _is_connection(error):
                raise
        else:
            sizes = {each.rfilename: int(each.size or 0) for each in info.siblings or []}
            wanted = _wanted(repository, sizes)
            for name in wanted:  # not by `snapshot_download`, whose threads Ctrl-C waits for
                hf_hub_download(
                    repository, name, revision=info.sha, token=token, cache_dir=cache_dir
                )
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                allow_patterns=wanted,
                local_files_only=sizes is None,
            )
        )
    _check_files(folder, repository)
    ignored = tuple(sorted(name for name in sizes or () if not _KNOWN.fullmatch(name)))
    return Fetched(folder, repository, folder.name, ignored)


def pull_model(
    repository: str,
    folder: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Fetched:
    """Write a model of the hub into a folder, completely or not at all.

    Args:
        repository: as in `fetch_model`, and so are the others.
        folder: a model in it is replaced.
        revision: branch, tag or commit.
        token: of the hub.
        cache_dir: the cache's folder.

    Raises:
        UsageError: the folder holds something other than a model.
        ModelError: as `fetch_model`, or the model cannot be loaded.
        ProxyhashError: as `fetch_model`.
    """
    folder = Path(folder)
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not holds(folder, "model.json", keys=("format", "fingerprint")):
        raise UsageError(
            f"{folder} exists and holds something other than a model; give another folder"
        )
    found = fetch_model(repository, revision=revision, token=token, cache_dir=cache_dir)
    with replace_folder(folder) as new:
        for source in _files(found.folder):
            target = new / source.relative_to(found.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # of the cache's links, what they lead to
        HashModel.load(new)
    return Fetched(folder, repository, found.commit, found.ignored)


def publish_model(
    folder: str | os.PathLike[str],
    repository: str,
    *,
    card: str,
    private: bool = False,
    revision: str | None = None,
    message: str = "Add a model of proxyhash",
    token: str | None = None,
) -> str:
    """Write a model folder and its card to the hub in one commit, and return its address.

    The repository is made where it is missing. Files of an earlier model are removed in the same
    commit; other files stay. Of files with features only the name is published, not where they lie.

    Args:
        folder: a model folder, such as the `model` folder of a run.
        repository: "user/name".
        card: content of README.md, with front matter.
        private: whether a repository that is made is private.
        revision: branch to write to, made where it is missing; default the main one.
        message: of the commit.
        token: of the hub; default the one that huggingface_hub finds.

    Raises:
        UsageError: `repository` is not of the form "user/name".
        ModelError: the model folder is damaged, or holds what is not of a model.
        ProxyhashError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    folder = Path(folder)
    _check_name(repository)
    try:
        check_folder(folder)  # a link could lead anywhere
    except DataError as error:
        raise ModelError(str(error)) from error
    model = HashModel.load(folder)
    if damage := find_damage(folder):
        raise ModelError(damage[0])
    if places := _local_places(model):
        with tempfile.TemporaryDirectory(prefix="proxyhash-") as made:
            for encoder in places:
                encoder.path = Path(encoder.path.name)
            model.save(Path(made) / "model")
            return publish_model(
                Path(made) / "model", repository, card=card, private=private, revision=revision,
                message=message, token=token,
            )  # fmt: skip
    names = {path.relative_to(folder).as_posix(): path for path in _files(folder)} | {CARD: None}
    odd = sorted(name for name in names if not _KNOWN.fullmatch(name))
    if odd:
        raise ModelError(
            f"{folder / odd[0]} is not a file of a model, so it would not be fetched again; "
            "remove it, or save the model into another folder"
        )
    with _named(repository, revision, writing=True):
        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None and revision != "main":
            api.create_branch(repository, branch=revision, exist_ok=True)
        there = api.list_repo_files(repository, revision=revision)
        operations: list[Any] = [
            CommitOperationAdd(name, card.encode() if path is None else str(path))
            for name, path in sorted(names.items())
        ]
        operations += [
            CommitOperationDelete(name)
            for name in sorted(set(there) - set(names))
            if _KNOWN.fullmatch(name)
        ]
        api.create_commit(
            repository, operations=operations, commit_message=message, revision=revision
        )
        return f"{api.endpoint}/{repository}"


def _local_places(model: HashModel) -> list[PrecomputedFeatures]:
    """Return the encoders that say in which folder of this machine their features are."""
    encoders = [model.encoder(modality) for modality in model.modalities]
    return [
        each
        for each in encoders
        if isinstance(each, PrecomputedFeatures) and each.path != Path(each.path.name)
    ]


def _check_name(repository: str) -> None:
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UsageError(
            f"{repository!r} is not the name of a model on the hub; it has the form user/name, "
            "such as ada/birds-64"
        )


def _wanted(repository: str, sizes: Mapping[str, int]) -> list[str]:
    """Return the names to fetch, none of which has a sign that patterns give a meaning.

    Raises:
        ModelError: there is no model, or it is too large to be one.
    """
    wanted = sorted(name for name in sizes if _KNOWN.fullmatch(name))
    if "model.json" not in wanted:
        raise ModelError(
            f"{repository} holds no model of proxyhash (it has no model.json); check the name, or "
            "give it to --image-encoder or --text-encoder if it is a transformers model"
        )
    if len(wanted) > _MOST_FILES or sum(sizes[name] for name in wanted) > _MOST_BYTES:
        raise ModelError(
            f"{repository} has {len(wanted):,} files of {sum(sizes[n] for n in wanted):,} bytes, "
            f"more than any model of ours ({_MOST_FILES} files, {_MOST_BYTES >> 30} GiB); it is "
            "not fetched"
        )
    for name in wanted:
        most = {CARD: _MOST_CARD, "model.json": MAX_JSON, "checksums.json": MAX_JSON}
        if sizes[name] > most.get(name, _MOST_BYTES):
            raise ModelError(
                f"{repository}: {name} has {sizes[name]:,} bytes, more than any of ours; it is not "
                "fetched"
            )
    return wanted


def _check_files(folder: Path, repository: str) -> None:
    """Check what is in the cache: links that stay in it, and the checksums of all of them.

    Raises:
        ModelError: names the file.
    """
    if not (folder / "model.json").is_file():
        raise ModelError(
            f"{repository} is in the cache only in part ({folder} has no model.json); connect to "
            "the hub and run the same command again"
        )
    root = folder.resolve().parents[1]
    for path in _files(folder):
        if not path.resolve().is_relative_to(root):
            raise ModelError(
                f"{path} leads out of the hub's cache; remove {root} and fetch the model again"
            )
    if damage := find_damage(folder, opened=_open_resolved):
        raise ModelError(
            f"{repository}: {damage[0].partition(';')[0]}; remove {root} and fetch the model "
            "again, or tell its author"
        )


def _open_resolved(path: Path) -> Any:
    """Open a file of the cache, whose names are links to its content."""
    return path.resolve(strict=True).open("rb")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_connection(error: BaseException) -> bool:
    """Whether the hub could not be reached, in any of the ways that its client and httpx say so."""
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & {"ConnectionError", "TransportError", "TimeoutException", "TimeoutError"})


@contextmanager
def _named(repository: str, revision: str | None, *, writing: bool = False) -> Iterator[None]:
    """Turn errors of the hub's client into ours, with the repository and the next step."""
    try:
        yield
    except (ProxyhashError, KeyboardInterrupt):
        raise
    except Exception as error:  # its client raises OSError, ValueError and others of its own
        raise _translated(error, repository, revision, writing=writing) from error


def _translated(
    error: Exception, repository: str, revision: str | None, *, writing: bool
) -> ProxyhashError:
    from huggingface_hub import constants, get_token
    from huggingface_hub import errors as hub

    known = get_token() is not None
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, hub.GatedRepoError):
        return ModelError(
            f"{repository} is gated: accept its terms at {constants.ENDPOINT}/{repository}, then "
            "log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return ModelError(
            f"{repository} has no branch, tag or commit {revision!r}; leave the revision out for "
            f"its main branch, or see {constants.ENDPOINT}/{repository}/tree/main"
        )
    if status in (401, 403) and (writing or status == 403):
        who = "with this token" if known else "without a token"
        return ProxyhashError(
            f"the hub does not let you {'write to' if writing else 'read'} {repository} {who}; log "
            "in with `hf auth login` as somebody who may, or set HF_TOKEN"
        )
    if isinstance(error, hub.RepositoryNotFoundError) or status == 401:
        step = (
            "check the name, and whether your token may read it"
            if known
            else "check the name; if it is private, log in with `hf auth login` or set HF_TOKEN"
        )
        return ModelError(f"{repository} is not on {constants.ENDPOINT}, or is private: {step}")
    if isinstance(error, hub.LocalEntryNotFoundError) or _is_connection(error):
        offline = constants.HF_HUB_OFFLINE
        # The other error says what the cache lacks, at length and not why.
        why = f" ({reason:.200})" if _is_connection(error) else ""
        unreached = f"{constants.ENDPOINT} cannot be reached{why}"
        why = "HF_HUB_OFFLINE is set" if offline else unreached
        step = "unset it" if offline else "check the connection"
        cached = "" if writing else f", and the cache does not have all of {repository}"
        return ProxyhashError(f"{why}{cached}; {step} and run the same command again")
    return ProxyhashError(
        f"{'writing' if writing else 'fetching'} {repository} failed ({reason:.300}); run the same "
        "command again: what was transferred is kept"
    )
