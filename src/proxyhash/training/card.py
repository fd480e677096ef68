"""The model card: what was trained on what, how good it is, and how to use it; made offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash import __version__
from proxyhash.evaluation.report import direction_words, figure, markdown_table
from proxyhash.methods.registry import get_method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Collection, Split
    from proxyhash.training.config import TrainConfig

__all__ = ["model_card"]

_LIMITS = {
    True: """\
- The codes know the classes above and little else: what no label tells apart lies at about the
  same distance.""",
    False: """\
- No label taught the codes: near codes have alike features, which need not share a class.""",
}
"""The first limit of methods that read labels, and of those that do not."""


def model_card(
    config: TrainConfig, collection: Collection, split: Split, metrics: Mapping[str, Any]
) -> str:
    """Return the Markdown of a run's README.

    Names of files appear without their folders, for cards travel further than machines do.
    """
    name = Path(config.out).name
    training = metrics["training"]
    fingerprint = split.fingerprint(collection)
    classes = ", ".join(collection.classes[:40])
    method = get_method(config.method)
    meaning = "the labels" if method.supervised else "the features; no label was read"
    more = f" and {len(collection.classes) - 40} more" if len(collection.classes) > 40 else ""
    return f"""# {name}: {config.bits}-bit codes for images and texts, by {config.method}

Trained with proxyhash {__version__}. Images and texts become binary codes of {config.bits} bits
whose Hamming distance follows {meaning}.

## How good

{results_table(metrics)}

Expected (tie-aware) mean average precision, {_protocol_words(metrics["protocol"])}, over
{len(split.query):,} queries. *Literature* searches everything that is no query, training items
included; *strict* leaves training and validation items out.

## Made from

| | |
|---|---|
| data | `{_name(config.data)}`: {len(collection):,} items, {len(collection.classes)} classes |
| data fingerprint | `{collection.fingerprint}` |
| split | {len(split.query):,} query, {len(split.gallery):,} gallery, of them {len(split.train):,} \
train and {len(split.validation):,} validation ({split.source}, seed {split.seed}) |
| query fingerprint | `{fingerprint["query"]["sha256"]}` |
| model fingerprint | `{metrics["fingerprint"]["model"]}` |
| image encoder | `{_name(config.image_encoder)}`, frozen |
| text encoder | `{_name(config.text_encoder)}`, frozen |
| method | `{config.method}`: {_settings(config.settings)} |
| training | {_training(config, training) if method.passes else "in closed form"}, \
seed {config.seed} |

Classes: {classes}{more}.

## Use it

    proxyhash search {name} --text "words of your own" -k 12 --html hits.html
    proxyhash encode {name} YOUR_MANIFEST --out codes.npz
    proxyhash evaluate {name}

```python
from proxyhash.hashing import HashModel

model = HashModel.load("{name}/model")
codes = model.encode_texts(["words of your own"])  # uint8, (1, {-(-config.bits // 8)})
```

`config.json` has every setting, `split.json` the ids of each part, `metrics.json` all figures,
`history.jsonl` one line per epoch.

## Limits

{_LIMITS[method.supervised]}
- The figures hold for this data, split and protocol; compare them with none measured otherwise.
- The encoders were not trained here: their licenses and their biases come along.
"""


def results_table(metrics: Mapping[str, Any]) -> str:
    """Return the mAP of each direction and gallery as a Markdown table."""
    strict = (metrics.get("strict") or {}).get("map", {})
    rows = [
        (direction_words(key), figure(value, digits=3), figure(strict.get(key), digits=3))
        for key, value in metrics["map"].items()
    ]
    return markdown_table(("mAP", "literature", "strict"), rows)


def _training(config: TrainConfig, training: Mapping[str, Any]) -> str:
    return (
        f"{config.optimizer}, learning rate {config.learning_rate:g}, {training['epochs']} epochs "
        f"of batches of {training['batch_size']}; epoch {training['best_epoch']} kept"
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
