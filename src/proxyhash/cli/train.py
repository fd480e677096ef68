"""`proxyhash train`: learn codes from a labeled collection and write a run folder."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proxyhash.cli import console
from proxyhash.cli import train_options as options
from proxyhash.cli import tune_options as tuning
from proxyhash.cli.evaluate import print_caveats, print_pairs
from proxyhash.cli.shared import JsonOption, examples, together
from proxyhash.cli.train_progress import Progress
from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from proxyhash.data import Collection
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.processes import Processes
    from proxyhash.training.run import RunResult

__all__ = ["register"]

_NOT_IN_CONFIG = ("preset", "config_file", "resume", "overwrite", "as_json")
_ASSIGNED = {
    "settings": "--set",
    "encoders": "--encoder",
    "networks": "--network",
    "text_network": "--text-network",
    "learning_rates": "--network-rate",
    "encoder_rates": "--encoder-rates",
}
"""Options that are given as KEY=VALUE, by their key in the configuration."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash train photos/ --out runs/first",
            "proxyhash train photos/ --method psldh --bits 32 --query 500 --out runs/p",
            "proxyhash train photos/ --set proxies=codebook --set eta=0.2 --out runs/codebook",
            "proxyhash train photos/ --image-encoder MODEL --tune image --out runs/tuned",
            "proxyhash train photos/ --tune image,text --text-encoder MODEL --out runs/both",
            "proxyhash train photos/ --tune none --out runs/frozen",
            "proxyhash train photos/ --preset reference --out runs/as-published",
            "proxyhash train --resume --out runs/first",
        )
    )(train)


def train(
    data: options.DataArgument = None,
    out: options.Out = None,
    method: options.Method = None,
    bits: options.Bits = None,
    seed: options.Seed = None,
    settings: options.Assignments = None,
    preset: options.Preset = None,
    config_file: options.ConfigFile = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: JsonOption = False,
    query: options.Query = None,
    train: options.Train = None,
    validation: options.Validation = None,
    split_file: options.SplitFile = None,
    protocol: options.ProtocolName = None,
    on_bad_item: options.OnBadItem = None,
    max_megapixels: options.MaxMegapixels = None,
    label_separator: options.LabelSeparator = None,
    image_encoder: options.ImageEncoder = None,
    text_encoder: options.TextEncoder = None,
    encoders: options.Encoders = None,
    query_prompt: options.QueryPrompt = None,
    document_prompt: options.DocumentPrompt = None,
    bow_words: options.BowWords = None,
    hidden: options.Hidden = None,
    activation: options.Activation = None,
    dropout: options.Dropout = None,
    dropout_at: options.DropoutAt = None,
    initial_weights: options.InitialWeights = None,
    input_dropout: options.InputDropout = None,
    batch_norm: options.BatchNorm = None,
    output_batch_norm: options.OutputBatchNorm = None,
    standardize: options.Standardize = None,
    center: options.Center = None,
    network_kind: options.NetworkKind = None,
    posterior: options.Posterior = None,
    networks: options.Networks = None,
    text_network: options.TextNetwork = None,
    tune: tuning.Tune = None,
    tune_layers: tuning.TuneLayers = None,
    encoder_rate: tuning.EncoderRate = None,
    encoder_rates: tuning.EncoderRates = None,
    layer_decay: tuning.LayerDecay = None,
    head_epochs: tuning.HeadEpochs = None,
    final_epochs: tuning.FinalEpochs = None,
    image_size: tuning.ImageSize = None,
    augment: tuning.Augment = None,
    crop_min: tuning.CropMin = None,
    views: tuning.Views = None,
    tune_batch_norm: tuning.TuneBatchNorm = None,
    micro_batch: tuning.MicroBatch = None,
    checkpointing: tuning.Checkpointing = None,
    workers: tuning.Workers = None,
    pixel_cache_gb: tuning.PixelCacheGb = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    learning_rates: options.LearningRates = None,
    text_learning_rate: options.TextLearningRate = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    lr_schedule: options.LrSchedule = None,
    lr_end: options.LrEnd = None,
    warmup: options.Warmup = None,
    clip: options.Clip = None,
    ema: options.Ema = None,
    epochs: options.Epochs = None,
    epoch_items: options.EpochItems = None,
    batch_size: options.BatchSize = None,
    patience: options.Patience = None,
    validate_every: options.ValidateEvery = None,
    device: options.Device = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    features_in_memory: options.FeaturesInMemory = None,
    tensorboard: options.Tensorboard = None,
    wandb: options.Wandb = None,
) -> None:
    """Train hashing networks; write model, codes, metrics and a model card into a run folder.

    Features are extracted once and cached, a split is drawn (or read from the manifest), and the
    epoch with the best validation score is kept. Encoders stay as they are, unless --tune lets
    them learn with the networks; new networks then learn from what the encoders became. After
    Ctrl-C, --resume continues the run, with results identical to an uninterrupted one.
    """
    named = dict(locals())  # first of all, while only the arguments are there
    start = time.monotonic()
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.run import train as run_training
    from proxyhash.training.sources import gather_values, parse_assignments

    if resume and overwrite:
        raise UsageError("--resume continues the run in --out and --overwrite removes it; give one")
    given: dict[str, Any] = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in named.items()
        if key not in _NOT_IN_CONFIG and value is not None
    }
    for key, option in _ASSIGNED.items():
        if key in given:
            given[key] = parse_assignments(given[key], option=option)
    if "networks" in given:
        given["networks"] = _by_modality(given["networks"])
    values = gather_values(given, file=config_file, preset=preset)
    if preset:
        values.setdefault("method", TrainConfig.model_fields["method"].default)
    with together() as processes:
        config, collection = _resumed(values) if resume else _new(values)
        if processes.world > 1:
            console.note(_who_computes(processes, config))
        show = Progress(config)
        result = run_training(
            config,
            resume=resume,
            overwrite=overwrite,
            report=show.report,
            track=show.track,
            collection=collection,
            processes=processes,
            note=console.note,
        )
        if not processes.main:
            return
        if as_json:
            console.emit_json(result.metrics)
        else:
            _print_result(result, config, seconds=time.monotonic() - start)


def _who_computes(processes: "Processes", config: "TrainConfig") -> str:
    import torch

    threads = config.threads or torch.get_num_threads()
    return (
        f"{processes.world} processes ({processes.backend}) on {config.device}, "
        f"{threads} {'thread' if threads == 1 else 'threads'} each (--threads changes that)"
    )


def _by_modality(assignments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return {"text": {"hidden": 8192}} for {"text.hidden": 8192}."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in assignments.items():
        modality, dot, key = name.partition(".")
        if not dot:
            raise UsageError(
                f"--network {name!r} names no modality; it is MODALITY.KEY=VALUE, for example "
                "text.hidden=8192"
            )
        found.setdefault(modality, {})[key] = value
    return found


def _new(values: dict[str, Any]) -> "tuple[TrainConfig, Collection | None]":
    """Return the configuration of a new run, and its collection; say what was chosen."""
    from proxyhash.training.choose import choose
    from proxyhash.training.config import read_config

    for key, what in (("data", "the collection to train on"), ("out", "--out, the run folder,")):
        if key not in values:
            raise UsageError(
                f"{what} is missing; for example: proxyhash train photos/ --out runs/first"
            )
    chosen = choose(values)
    for note in chosen.notes:
        console.note(note)
    for warning in chosen.warnings:
        console.note(f"warning: {warning}")
    return read_config(chosen.values), chosen.collection


def _resumed(values: dict[str, Any]) -> "tuple[TrainConfig, Collection | None]":
    from proxyhash.training.sources import resume_config, stored_config

    if "out" not in values:
        raise UsageError("--resume needs --out, the run folder to continue")
    stored = Path(values["out"]) / "config.json"
    if not stored.exists() and "data" in values:
        return _new(values)
    if not stored.exists():
        raise UsageError(f"{values['out']} holds no run to resume (it has no config.json)")
    return resume_config(stored_config(stored.parent), values), None


def _print_result(result: "RunResult", config: "TrainConfig", *, seconds: float) -> None:
    from proxyhash.evaluation.report import direction_words, figure
    from proxyhash.methods import get_method

    strict = (result.metrics["strict"] or {}).get("map", {})
    if any(value is not None for value in result.metrics["map"].values()):
        title = f"{config.method}, {config.bits} bits, epoch {result.best_epoch} of {result.epochs}"
        console.table(
            ("mAP@all", "literature", "strict"),
            [
                (direction_words(key), figure(value), figure(strict.get(key)))
                for key, value in result.metrics["map"].items()
            ],
            title=title,
            right=("literature", "strict"),
        )
    pairs = result.evaluations.pairs
    if pairs and not get_method(config.method).needs_labels:
        print_pairs(pairs)
    evaluations = (result.evaluations.literature, result.evaluations.strict)
    print_caveats([each for each in evaluations if each is not None])
    folder = shlex.quote(str(_short(result.folder)))
    data = _short(Path(config.data))
    source = data if data.is_dir() else data.parent
    index = shlex.quote(f"{source.name or 'photos'}.index")
    modality = "text" if "text" in config.modalities else config.modalities[0]
    words = '"words of your own"' if modality == "text" else f"FILE_OF_YOUR_{modality.upper()}"
    console.note(
        f"trained in {seconds:.0f} s, encoding included; results are in {folder}, README.md is the "
        "model card"
    )
    console.next_steps(
        f"proxyhash index build {folder} {shlex.quote(str(data))} --out {index}",
        f"proxyhash evaluate {folder} --plots",
        f"proxyhash search {folder} --{modality} {words} -k 12 --html hits.html",
        f"proxyhash encode {folder} OTHER_MANIFEST --out codes.npz",
    )


def _short(path: Path) -> Path:
    """Return the path from here where it lies below, as the user is likely to have typed it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
