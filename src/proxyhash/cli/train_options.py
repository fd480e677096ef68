"""The options of `proxyhash train`: one for each key of the training configuration.

Every option is None where it is not given, for the configuration fills in its own defaults, and a
resumed run must know what was named. The defaults that the help shows are held to those of
`TrainConfig` by a test, since importing it here would slow every command down.
"""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

DATA = "Data and split"
RUN = "Run"
NETWORKS = "Encoders and networks"
OPTIMIZATION = "Optimization"


def option(panel: str, help: str, default: Any = None, *, name: str = "", metavar: str = "") -> Any:
    """Return a typer option that shows `default`, and is None where it is not given."""
    words = {"True": "on", "False": "off"}
    shown = default is not None and words.get(str(default), str(default))
    return typer.Option(
        *([name] if name else []),
        help=help,
        show_default=shown,
        rich_help_panel=panel,
        metavar=metavar or None,
    )


DataArgument: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        help="Manifest, or the folder that holds it. Not needed with --resume.", show_default=False
    ),
]

Out: TypeAlias = Annotated[Path | None, option(RUN, "Run folder to write.")]
Method: TypeAlias = Annotated[
    str | None, option(RUN, "Training objective; docs/methods.md lists all.", "dchml")
]
Bits: TypeAlias = Annotated[int | None, option(RUN, "Code length.", 64)]
Seed: TypeAlias = Annotated[
    int | None, option(RUN, "Seed of the split, the proxies, the weights and the order.", 0)
]
Assignments: TypeAlias = Annotated[
    list[str] | None,
    option(RUN, "A setting of the method; can be repeated.", name="--set", metavar="KEY=VALUE"),
]
Preset: TypeAlias = Annotated[
    str | None,
    option(RUN, "Start from a named configuration of the method, such as reference."),
]
ConfigFile: TypeAlias = Annotated[
    Path | None,
    option(RUN, "TOML or JSON file with any of these keys; options win over it.", name="--config"),
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in --out.", rich_help_panel=RUN),
]
Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel=RUN),
]
Device: TypeAlias = Annotated[
    str | None, option(RUN, "Where the networks train: cpu, cuda, cuda:1, mps.", "cpu")
]
Threads: TypeAlias = Annotated[int | None, option(RUN, "Processor threads.")]
Precision: TypeAlias = Annotated[
    str | None,
    option(RUN, "Matrix products in training: float32 or bfloat16, which is faster.", "float32"),
]
Tensorboard: TypeAlias = Annotated[
    bool | None,
    option(RUN, "Write losses and scores for TensorBoard.", False, name="--tensorboard"),
]

Query: TypeAlias = Annotated[
    int | None,
    option(DATA, "Items held out as queries.", "a tenth, at most 1,000"),
]
Train: TypeAlias = Annotated[
    int | None,
    option(DATA, "Items whose labels may be used.", "four fifths of the rest, at most 50,000"),
]
Validation: TypeAlias = Annotated[
    int | None,
    option(
        DATA,
        "How many of the train items choose the epoch that is kept; 0 keeps the last.",
        "a twentieth, at most 500",
    ),
]
SplitFile: TypeAlias = Annotated[
    Path | None, option(DATA, "Split to use, as `proxyhash data split` writes it.")
]
ProtocolName: TypeAlias = Annotated[
    str | None,
    option(
        DATA,
        "Sizes of the literature for a data set of docs/datasets.md, such as dcmh-mirflickr.",
        name="--protocol",
        metavar="NAME",
    ),
]
OnBadItem: TypeAlias = Annotated[
    str | None, option(DATA, "A row or image that cannot be read: fail or skip.", "fail")
]

ImageEncoder: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        "descriptor or patches (no weights), a transformers folder or hub id, or features:PATH.",
        "descriptor",
    ),
]
TextEncoder: TypeAlias = Annotated[
    str | None,
    option(NETWORKS, "bow, a transformers folder or hub id, or features:PATH.", "bow"),
]
BowWords: TypeAlias = Annotated[
    int | None, option(NETWORKS, "Most words in the bag of words.", 2000)
]
Hidden: TypeAlias = Annotated[
    str | None,
    option(NETWORKS, "Widths of the hidden layers, such as 4096,1024; linear for none.", 1024),
]
Activation: TypeAlias = Annotated[
    str | None, option(NETWORKS, "Of the hidden layers: relu, gelu, silu or tanh.", "relu")
]
Dropout: TypeAlias = Annotated[
    float | None, option(NETWORKS, "Share of hidden units dropped in training.", 0.5)
]
InputDropout: TypeAlias = Annotated[
    float | None, option(NETWORKS, "Share of features dropped in training.", 0.0)
]
BatchNorm: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Batch normalization of the hidden layers.", False)
]
OutputBatchNorm: TypeAlias = Annotated[
    bool | None,
    option(NETWORKS, "Batch normalization of the logits, which balances the bits.", True),
]
Standardize: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Bring each feature to mean 0 and deviation 1.", False)
]
Center: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Bring each feature to mean 0, all to one scale.", False)
]
Posterior: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Predict the classes on the way to the bits.", False)
]
TextNetwork: TypeAlias = Annotated[
    list[str] | None,
    option(
        NETWORKS,
        "An option of the text network where it differs, such as hidden=8192; can be repeated.",
        metavar="KEY=VALUE",
    ),
]

Optimizer: TypeAlias = Annotated[str | None, option(OPTIMIZATION, "adam, adamw or sgd.", "adam")]
LearningRate: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Of the image network.", 0.001)
]
TextLearningRate: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Of the text network, where it differs.")
]
WeightDecay: TypeAlias = Annotated[float | None, option(OPTIMIZATION, "Weight decay.", 0.0)]
Momentum: TypeAlias = Annotated[float | None, option(OPTIMIZATION, "Momentum of sgd.", 0.9)]
LrSchedule: TypeAlias = Annotated[
    str | None, option(OPTIMIZATION, "Course of the learning rates: constant or cosine.", "cosine")
]
Warmup: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Epochs over which the learning rates rise.", 0.0)
]
Clip: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Largest gradient norm of a step; 0 for none.", 0.0)
]
Ema: TypeAlias = Annotated[
    float | None,
    option(OPTIMIZATION, "Decay of the moving average of weights that is kept; 0: none.", 0.0),
]
Epochs: TypeAlias = Annotated[int | None, option(OPTIMIZATION, "Rounds over the train items.", 20)]
BatchSize: TypeAlias = Annotated[int | None, option(OPTIMIZATION, "Most items a step.", 128)]
Patience: TypeAlias = Annotated[
    int | None,
    option(OPTIMIZATION, "Epochs without a better one before an early end; 0: never.", 0),
]
