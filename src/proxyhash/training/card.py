"""The model card: data, training, results and usage, as Markdown; made offline."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash import __version__
from proxyhash.data import MODALITIES
from proxyhash.errors import ModelError
from proxyhash.evaluation.caveats import caveat_lines
from proxyhash.evaluation.report import (
    direction_words,
    figure,
    markdown_code,
    markdown_table,
    markdown_text,
    plain_text,
)
from proxyhash.methods import get_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.data import Collection, Split
    from proxyhash.methods import Objective
    from proxyhash.training.config import TrainConfig

__all__ = ["front_matter", "model_card", "plain_card", "published_card"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*(?:\.[\w-]+)*/[A-Za-z0-9][\w-]*(?:\.[\w-]+)*", re.ASCII)

_LIMITS = {
    "labels": """\
- The codes know the classes above and little else: items that no label tells apart are at about
  the same distance.""",
    "labels and pairs": """\
- The codes were learned from the labels of some items, and from which image and text belong
  together: the classes of the others were predicted, and some of that is wrong.""",
    "pairs": """\
- The codes were learned from which image and text belong together, without labels: near codes are
  of items that could be described by each other's texts, which need not share a class.""",
    "features": """\
- The codes were learned without labels: near codes have similar features, which need not share a
  class.""",
}
"""The first limitation of methods that read labels, pairs as well, pairs alone, and of others."""
_MEANINGS = {
    "labels": "the labels",
    "labels and pairs": "the labels, and which of them belong together",
    "pairs": "which of them belong together; no label was read",
    "features": "the features; no label was read",
}


def model_card(
    config: TrainConfig, collection: Collection, split: Split, metrics: Mapping[str, Any]
) -> str:
    """Return the Markdown of a run's README.

    File names appear without their folders, as cards travel further than machines do.
    """
    name = plain_text(Path(config.out).name)
    shell = plain_text(shlex.quote(name))
    training = metrics["training"]
    fingerprint = split.fingerprint(collection)
    classes = ", ".join(map(markdown_text, collection.classes[:40])) or "none; no item has a label"
    method = get_method(config.method)
    meaning = _MEANINGS[_kind(method)]
    plurals = _and([MODALITIES[modality].plural for modality in config.modalities])
    texts = "text" in config.modalities
    asked = 'text "words of your own"' if texts else f"{config.modalities[0]} YOUR_FILE"
    call = 'encode_texts(["words of your own"])' if texts else 'encode_images(["YOUR_FILE"])'
    more = f" and {len(collection.classes) - 40} more" if len(collection.classes) > 40 else ""
    return f"""{front_matter(name, config.to_dict(), metrics)}
# {markdown_text(name)}: {config.bits}-bit codes for {plurals}, by {config.method}

Trained with proxyhash {__version__}. {plurals[0].upper()}{plurals[1:]} become binary codes of \
{config.bits} bits
whose Hamming distance follows {meaning}.

## Results

{_precisions(metrics, queries=len(split.query))}
{_caveats(metrics)}
{_pairs(metrics)}
## Training

| | |
|---|---|
| data | {markdown_code(_name(config.data))}: {len(collection):,} items, \
{len(collection.classes)} classes |
| data fingerprint | `{collection.fingerprint}` |
| split | {len(split.query):,} query, {len(split.gallery):,} gallery, of them {len(split.train):,} \
train and {len(split.validation):,} validation ({split.source}, seed {split.seed}) |
| query fingerprint | `{fingerprint["query"]["sha256"]}` |
| model fingerprint | `{metrics["fingerprint"]["model"]}` |
{_encoders(config, training)}
| method | `{config.method}`: {_settings(config.settings)} |
| training | {"in closed form" if method.closed_form else _training(config, training)}, \
seed {config.seed} |
{_tuning(training)}
Classes: {classes}{more}.

## Usage

    proxyhash index build {shell} YOUR_MANIFEST --out items.index
    proxyhash search {shell} --{asked} -k 12 --html hits.html
    proxyhash encode {shell} YOUR_MANIFEST --out codes.npz
    proxyhash evaluate {shell}

```python
from proxyhash.hashing import HashModel

model = HashModel.load({json.dumps(f"{name}/model", ensure_ascii=False)})
codes = model.{call}  # uint8, (1, {-(-config.bits // 8)})
```

`config.json` has every setting, `split.json` the ids of each part, `metrics.json` all metrics,
`history.jsonl` one line per epoch.

## Limitations

{_LIMITS[_kind(method)]}
- The metrics hold for this data, split and protocol alone; do not compare them with others.
{_origin(config, training)}
"""


def _kind(method: type[Objective]) -> str:
    if method.reads_labels:
        return "labels" if method.needs_labels else "labels and pairs"
    return "pairs" if method.needs_pairs and not method.closed_form else "features"


def front_matter(name: str, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return the YAML block that the Hugging Face hub reads, from `---` to `---`.

    It has the library, tags, task, base models with an id on the hub, and the figures in the hub's
    evaluation form (`model-index`). License, language and data sets are known to the author alone;
    `published_card` takes them.

    Args:
        name: of the model.
        config: a run's configuration as JSON values.
        metrics: content of a run's `metrics.json`.
    """
    from huggingface_hub import ModelCardData

    modalities = sorted(config["encoders"])
    both = {"image", "text"} <= set(modalities)
    specs = (str(config["encoders"][modality]).partition("@")[0] for modality in modalities)
    bases = [spec for spec in specs if _HUB_ID.fullmatch(spec) and not Path(spec).exists()]
    data = plain_text(Path(config["data"]).name)
    results = _eval_results(metrics, data or "data")
    card = ModelCardData(
        library_name="proxyhash",
        tags=[
            "proxyhash",
            "hashing",
            "binary-codes",
            *(["cross-modal-retrieval"] if both else []),
            plain_text(config["method"]),
        ],
        pipeline_tag="image-feature-extraction"
        if modalities == ["image"]
        else "feature-extraction",
        base_model=list(dict.fromkeys(bases)) or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return f"---\n{card.to_yaml()}\n---\n"


def plain_card(name: str, header: Mapping[str, Any]) -> str:
    """Return the card of a model folder whose run is not at hand.

    Args:
        name: of the folder.
        header: content of its `model.json`.
    """
    modalities = sorted(header["networks"])
    kinds = dict.fromkeys(modalities, header["method"])
    front = front_matter(
        name, {"encoders": kinds, "data": "", "method": header["method"]}, metrics={}
    )
    plurals = _and([MODALITIES[m].plural if m in MODALITIES else f"{m}s" for m in modalities])
    classes = ", ".join(map(markdown_text, header["classes"][:40])) or "none"
    more = f" and {len(header['classes']) - 40} more" if len(header["classes"]) > 40 else ""
    return f"""{front}
# {markdown_text(plain_text(name))}: {header["bits"]}-bit codes for {plurals}, by {header["method"]}

A model of proxyhash {__version__}. {plurals[0].upper()}{plurals[1:]} become binary codes of \
{header["bits"]} bits. It was published without its run, so there are no figures.

| | |
|---|---|
| method | `{header["method"]}` |
| model fingerprint | `{header["fingerprint"]}` |

Classes: {classes}{more}.
"""


def published_card(
    card: str,
    *,
    license: str | None = None,  # noqa: A002 - the hub's own word
    language: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> str:
    """Return a card with what its author alone knows in the front matter; the rest stays.

    Args:
        card: Markdown, with front matter or without.
        license: identifier of a license, such as "apache-2.0".
        language: codes of languages, such as "en".
        datasets: names of data sets on the hub.

    Raises:
        ModelError: the front matter is not YAML with keys.
    """
    from huggingface_hub import ModelCard

    try:
        parsed = ModelCard(card, ignore_metadata_errors=True)
    except Exception as error:  # YAML's errors, and whatever its values make of it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the front matter of README.md cannot be read ({reason}); mend it"
        ) from error
    for key, value in (("license", license), ("language", list(language)),
                       ("datasets", list(datasets))):  # fmt: skip
        if value:
            parsed.data[key] = value
    return str(parsed)


def _eval_results(metrics: Mapping[str, Any], data: str) -> list[Any]:
    """Return the mAP of each direction and gallery, and recalls, as the hub's `EvalResult`."""
    from huggingface_hub import EvalResult

    def result(kind: str, value: Any, name: str) -> list[Any]:
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return []
        return [
            EvalResult(
                task_type="retrieval",
                task_name="cross-modal retrieval by binary codes",
                dataset_type="custom",
                dataset_name=data,
                metric_type=kind,
                metric_name=name,
                metric_value=round(float(value), 5),
            )
        ]

    found = []
    strict = (metrics.get("strict") or {}).get("map", {})
    for gallery, values in (("literature", metrics.get("map") or {}), ("strict", strict)):
        for direction, value in values.items():
            words = direction_words(direction).replace("→", "to")
            found += result("map", value, f"mAP, {words}, {gallery} gallery")
    pairs = (metrics.get("pairs") or {}).get("directions", {})
    for direction, each in pairs.items():
        words = direction_words(direction).replace("→", "to")
        for at, value in each["recall_at"].items():
            found += result(f"recall_at_{at}", value, f"recall@{at} of the other half, {words}")
    return found


def results_table(metrics: Mapping[str, Any]) -> str:
    """Return the mAP of each direction and gallery as a Markdown table."""
    strict = (metrics.get("strict") or {}).get("map", {})
    rows = [
        (direction_words(key), figure(value, digits=3), figure(strict.get(key), digits=3))
        for key, value in metrics["map"].items()
    ]
    return markdown_table(("mAP", "literature", "strict"), rows)


def _precisions(metrics: Mapping[str, Any], *, queries: int) -> str:
    """Return the table of mAP and the words on it, or a sentence where there is none."""
    if all(value is None for value in metrics["map"].values()):
        return "mAP needs labels, and none of the queries has one."
    return f"""{results_table(metrics)}

Expected (tie-aware) mean average precision, {_protocol_words(metrics["protocol"])}, over
{queries:,} queries. *Literature* searches everything except the queries, training items
included; *strict* leaves training and validation items out."""


def _pairs(metrics: Mapping[str, Any]) -> str:
    """Return how often queries find their other halves, with lines around it, or nothing."""
    found = (metrics.get("pairs") or {}).get("directions", {})
    if not found:
        return ""
    at = list(dict.fromkeys(n for each in found.values() for n in each["recall_at"]))
    rows = [
        (
            direction_words(name),
            *(figure(each["recall_at"].get(n), digits=3) for n in at),
            f"{each['median_rank']:,.1f} of {each['candidates']:,}",
        )
        for name, each in found.items()
    ]
    table = markdown_table(["own other half", *(f"R@{n}" for n in at), "median rank"], rows)
    return f"""
{table}

How often the other half of a query is among the first N of those of all queries.
"""


def _caveats(metrics: Mapping[str, Any]) -> str:
    """Return what makes the figures mean little, as Markdown with a line above it, or nothing."""
    lines = caveat_lines(metrics)
    if not lines:
        return ""
    told = "\n".join(f"- {markdown_text(line)}" for line in lines)
    return f"\n**These figures need care:**\n\n{told}\n"


def _encoders(config: TrainConfig, training: Mapping[str, Any]) -> str:
    tuned = training.get("tuned", {})
    return "\n".join(
        f"| {modality} encoder | {markdown_code(_name(config.encoders[modality]))}, "
        f"{_learned(tuned[modality]) if modality in tuned else 'frozen'} |"
        for modality in config.modalities
    )


def _learned(facts: Mapping[str, Any]) -> str:
    """Return how an encoder was tuned."""
    layers = "all layers" if facts["layers"] == "all" else f"layers {facts['layers']}"
    images = ""
    if "image_size" in facts:
        augment = ", ".join(facts["augment"]) or "none"
        images = f", images of {facts['image_size']} pixels, augmentation: {augment}"
    return (
        f"tuned: {layers}, {facts['parameters']:,} parameters, learning rate "
        f"{facts['learning_rate']:g}{images}"
    )


def _tuning(training: Mapping[str, Any]) -> str:
    """Return the rows about the stage in which encoders learned, and what it took; else nothing."""
    if not training.get("tuned"):
        return ""
    stage = training.get("tuning")
    where, seconds = training, training["seconds"]
    row = ""
    if stage:
        where, seconds = stage, seconds + stage["seconds"]
        row = (
            f"| tuning | before that, the encoders with networks of their own: "
            f"{stage['optimizer']}, learning rate {stage['learning_rate']:g}, {stage['epochs']} "
            f"epochs of batches of {stage['batch_size']}, encoders from epoch "
            f"{stage['head_epochs'] + 1} on; {markdown_code('tuning')} has these networks |\n"
        )
    count = where["processes"]
    return (
        f"{row}| time | {_time(seconds)} on {where['items']:,} items; device "
        f"{where['device']} ({markdown_text(where['hardware'])}), {count} "
        f"process{'es' if count > 1 else ''}, {where['precision']} |\n"
    )


def _time(seconds: float) -> str:
    """Return "14 s", "1.8 minutes" or "5.2 hours"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def _origin(config: TrainConfig, training: Mapping[str, Any]) -> str:
    """Return the limitations that come with the encoders."""
    tuned = training.get("tuned", {})
    if not tuned:
        return "- The encoders were not trained here: their licenses and biases apply."
    names = _and([f"{modality} encoder" for modality in tuned])
    told = (
        f"- The {names} began with pretrained weights and learned here: licenses and biases of "
        "those weights apply, and so do the biases of this data."
    )
    others = [modality for modality in config.modalities if modality not in tuned]
    if others:
        names = _and([f"{modality} encoder" for modality in others])
        told += f"\n- The {names} was not trained here: its license and biases apply."
    return told


def _and(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _training(config: TrainConfig, training: Mapping[str, Any]) -> str:
    together = training.get("tuned") and not training.get("tuning")
    alone = f", encoders from epoch {config.head_epochs + 1} on" if together else ""
    portion = 0 < config.epoch_items < training.get("items", 0)
    each = f", each epoch over {config.epoch_items:,} items" if portion else ""
    views = (
        f", with {config.views} random views of each image" if config.views and not together else ""
    )
    return (
        f"{config.optimizer}, learning rate {config.learning_rate:g}, {training['epochs']} epochs "
        f"of batches of {training['batch_size']}{each}{alone}{views}; epoch "
        f"{training['best_epoch']} kept"
    )


def _protocol_words(protocol: Mapping[str, Any]) -> str:
    if protocol["cutoff"] is None:
        return "over the whole gallery (mAP@all)"
    return f"mAP@{protocol['cutoff']} divided by {protocol['divisor']}"


def _name(spec: str) -> str:
    """Return a path's last part; encoder names and hub ids stay as they are."""
    start, mark, path = spec.partition(":") if spec.startswith("features:") else ("", "", spec)
    return f"{start}{mark}{Path(path).name}" if Path(path).is_absolute() else spec


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "no settings"
