"""The options of `proxyhash train`: one for each key of the training configuration.

An option that is not given is None, as the configuration fills in its own defaults and a resumed
run must know what was given. A test compares the defaults in the help with those of `TrainConfig`,
since importing it here would slow every command down.
"""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

DATA = "Data and split"
RUN = "Run"
NETWORKS = "Encoders and networks"
OPTIMIZATION = "Optimization"


def option(
    panel: str,
    help: str,
    default: Any = None,
    *,
    name: str = "",
    metavar: str = "",
    hidden: bool = False,
) -> Any:
    """Return a typer option that shows `default`, and is None if it is not given."""
    words = {"True": "on", "False": "off"}
    shown = default is not None and words.get(str(default), str(default))
    return typer.Option(
        *([name] if name else []),
        help=help,
        show_default=shown,
        rich_help_panel=panel,
        metavar=metavar or None,
        hidden=hidden,
    )


DataArgument: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        help="Manifest, or the folder that contains it. Not needed with --resume.",
        show_default=False,
    ),
]

Out: TypeAlias = Annotated[Path | None, option(RUN, "Run folder to write.")]
Method: TypeAlias = Annotated[
    str | None,
    option(
        RUN,
        "Training method; docs/methods.md lists all. Without labels it is pairs, cca-itq for less "
        "than 500 pairs, or itq for one modality.",
        "dchml",
    ),
]
Bits: TypeAlias = Annotated[int | None, option(RUN, "Code length in bits.", 64)]
Seed: TypeAlias = Annotated[
    int | None, option(RUN, "Random seed of the split, proxies, weights and order of items.", 0)
]
Assignments: TypeAlias = Annotated[
    list[str] | None,
    option(RUN, "Setting of the method; can be repeated.", name="--set", metavar="KEY=VALUE"),
]
Preset: TypeAlias = Annotated[
    str | None,
    option(RUN, "Named configuration of the method to start from, such as reference."),
]
ConfigFile: TypeAlias = Annotated[
    Path | None,
    option(RUN, "TOML or JSON file with any of these keys; options override it.", name="--config"),
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
    str | None, option(RUN, "Device for training: cpu, cuda, cuda:1, mps.", "cpu")
]
Threads: TypeAlias = Annotated[int | None, option(RUN, "Processor threads.")]
Precision: TypeAlias = Annotated[
    str | None,
    option(
        RUN,
        "Precision of matrix products: float32, or bfloat16 (mixed precision, faster); float16 "
        "for encoders that learn on a GPU. Weights and codes are float32 always.",
        "float32",
    ),
]
FeaturesInMemory: TypeAlias = Annotated[
    bool | None,
    option(
        RUN,
        "Load features into memory, or read them from their files as needed. Default: files "
        "below 4 GB are loaded.",
    ),
]
Tensorboard: TypeAlias = Annotated[
    bool | None,
    option(RUN, "Log losses and scores for TensorBoard.", False, name="--tensorboard"),
]
Wandb: TypeAlias = Annotated[
    bool | None,
    option(RUN, "Log losses and scores to Weights & Biases.", False, name="--wandb"),
]

Query: TypeAlias = Annotated[
    int | None,
    option(DATA, "Number of queries.", "a tenth, at most 1,000"),
]
Train: TypeAlias = Annotated[
    int | None,
    option(DATA, "Number of training items.", "four fifths of the rest"),
]
Validation: TypeAlias = Annotated[
    int | None,
    option(
        DATA,
        "Number of training items for validation; 0 keeps the last epoch instead of the best.",
        "a twentieth, at most 500",
    ),
]
SplitFile: TypeAlias = Annotated[
    Path | None, option(DATA, "Split file of `proxyhash data split` to use.")
]
ProtocolName: TypeAlias = Annotated[
    str | None,
    option(
        DATA,
        "Split sizes of the literature, such as dcmh-mirflickr; docs/datasets.md lists all.",
        name="--protocol",
        metavar="NAME",
    ),
]
OnBadItem: TypeAlias = Annotated[
    str | None, option(DATA, "On a row or image that cannot be read: fail or skip.", "fail")
]

MaxMegapixels: TypeAlias = Annotated[
    float | None,
    option(
        DATA,
        "Refuse images of more megapixels. Default: 250 for JPEG, decoded at a smaller size above "
        "64, and 64 for other formats.",
        metavar="N",
    ),
]

LabelSeparator: TypeAlias = Annotated[
    str | None,
    option(DATA, "What separates the labels in a cell of text.", "|, or ; in a cell without |"),
]

ImageEncoder: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        "Image encoder: descriptor or patches (no pretrained weights), a transformers folder or "
        "hub id, a short name such as siglip2, or features:PATH. A known model that this machine "
        "has comes before the default.",
        "descriptor",
    ),
]
TextEncoder: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        "Text encoder: bow, a transformers folder or hub id, a short name such as minilm, or "
        "siglip2 for texts of many languages, features:PATH.",
        "bow",
    ),
]
Encoders: TypeAlias = Annotated[
    list[str] | None,
    option(
        NETWORKS,
        "Encoder of any modality; none leaves the modality out; can be repeated.",
        name="--encoder",
        metavar="MODALITY=SPEC",
    ),
]
QueryPrompt: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        'Text that a pretrained text encoder gets before a query, such as "query: "; "" for none. '
        "Default: what the model's folder names.",
        metavar="TEXT",
    ),
]
DocumentPrompt: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        'The same before texts that are learned from and indexed, such as "passage: ".',
        metavar="TEXT",
    ),
]
BowWords: TypeAlias = Annotated[
    int | None, option(NETWORKS, "Vocabulary size of the bag of words.", 2000)
]
Hidden: TypeAlias = Annotated[
    str | None,
    option(NETWORKS, "Widths of the hidden layers, such as 4096,1024; linear for none.", 1024),
]
Activation: TypeAlias = Annotated[
    str | None,
    option(NETWORKS, "Activation of the hidden layers: relu, gelu, silu or tanh.", "relu"),
]
Dropout: TypeAlias = Annotated[
    float | None, option(NETWORKS, "Dropout rate of the hidden layers.", 0.5)
]
DropoutAt: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        "Where hidden layers drop units: their outputs, or their inputs, features included.",
        "outputs",
    ),
]
InitialWeights: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        "Draw of the first weights: uniform (torch's), normal (deviation 0.01), or kaiming, which "
        "plain SGD needs in deep networks.",
        "uniform",
    ),
]
InputDropout: TypeAlias = Annotated[
    float | None, option(NETWORKS, "Dropout rate of the features.", 0.0)
]
BatchNorm: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Batch normalization of the hidden layers.", False)
]
OutputBatchNorm: TypeAlias = Annotated[
    bool | None,
    option(NETWORKS, "Batch normalization of the logits, which balances the bits.", True),
]
Standardize: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Standardize each feature to mean 0 and deviation 1.", False)
]
Center: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "Center each feature at 0, and bring all to one scale.", False)
]
NetworkKind: TypeAlias = Annotated[
    str | None,
    option(
        NETWORKS,
        "Kind of the networks: hashing, or posterior, which predicts the classes first.",
        "hashing",
    ),
]
Posterior: TypeAlias = Annotated[
    bool | None, option(NETWORKS, "The former --network-kind posterior.", hidden=True)
]
Networks: TypeAlias = Annotated[
    list[str] | None,
    option(
        NETWORKS,
        "Network option of one modality, such as text.hidden=8192; can be repeated.",
        name="--network",
        metavar="MODALITY.KEY=VALUE",
    ),
]
TextNetwork: TypeAlias = Annotated[
    list[str] | None,
    option(NETWORKS, "The former --network text.KEY=VALUE.", metavar="KEY=VALUE", hidden=True),
]

Optimizer: TypeAlias = Annotated[
    str | None, option(OPTIMIZATION, "Optimizer: adam, adamw or sgd; adamw with --tune.", "adam")
]
LearningRate: TypeAlias = Annotated[float | None, option(OPTIMIZATION, "Learning rate.", 0.001)]
LearningRates: TypeAlias = Annotated[
    list[str] | None,
    option(
        OPTIMIZATION,
        "Learning rate of the network of one modality, such as text=0.01; can be repeated.",
        name="--network-rate",
        metavar="MODALITY=RATE",
    ),
]
TextLearningRate: TypeAlias = Annotated[
    float | None,
    option(OPTIMIZATION, "The former --network-rate text=RATE.", hidden=True),
]
WeightDecay: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Weight decay; 0.01 with --tune.", 0.0)
]
Momentum: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Momentum of sgd; 0 for none.", 0.9)
]
LrSchedule: TypeAlias = Annotated[
    str | None,
    option(OPTIMIZATION, "Learning-rate schedule: constant, cosine, linear or step.", "cosine"),
]
LrEnd: TypeAlias = Annotated[
    float | None,
    option(OPTIMIZATION, "Share of the learning rate at the end of the run, such as 0.1.", 0.0),
]
Warmup: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Epochs of learning-rate warmup.", 0.0)
]
Clip: TypeAlias = Annotated[
    float | None, option(OPTIMIZATION, "Gradient norm to clip at; 0 for none.", 0.0)
]
Ema: TypeAlias = Annotated[
    float | None,
    option(
        OPTIMIZATION, "Decay of the moving average of weights; 0 for none, 0.998 with --tune.", 0.0
    ),
]
Epochs: TypeAlias = Annotated[int | None, option(OPTIMIZATION, "Number of epochs.", 20)]
EpochItems: TypeAlias = Annotated[
    int | None,
    option(
        OPTIMIZATION,
        "Items of an epoch, at most; of more training items, epochs take one part after the other; "
        "0 for all of them.",
        50_000,
    ),
]
BatchSize: TypeAlias = Annotated[
    int | None, option(OPTIMIZATION, "Batch size, of all processes together; 64 with --tune.", 128)
]
Patience: TypeAlias = Annotated[
    int | None,
    option(OPTIMIZATION, "Stop early after this many epochs without improvement; 0 for never.", 0),
]
ValidateEvery: TypeAlias = Annotated[
    int | None,
    option(
        OPTIMIZATION,
        "Epochs from one validation to the next. Default: 1; where encoders learn, 5 with "
        "--patience or --final-epochs 0, else none, which keeps their last epoch.",
        metavar="N",
    ),
]
