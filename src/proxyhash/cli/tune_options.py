"""The options of `proxyhash train` for encoders that learn, in a panel of their own.

As in `train_options`, an option that is not given is None.
"""

from typing import Annotated, TypeAlias

from proxyhash.cli.train_options import option

TUNING = "Tuning the encoders"

Tune: TypeAlias = Annotated[
    str | None,
    option(
        TUNING,
        "Encoders that learn: image, text, image,text, or none. They start from pretrained "
        "weights; bow, descriptor, patches and features: cannot learn. docs/tuning.md says when it "
        "pays.",
        "none",
        metavar="MODALITY,...",
    ),
]
TuneLayers: TypeAlias = Annotated[
    str | None,
    option(
        TUNING,
        "Layers that learn: all, or last:N for the last N and what follows them, such as last:2.",
        "all",
        metavar="all|last:N",
    ),
]
EncoderRate: TypeAlias = Annotated[
    float | None,
    option(TUNING, "Learning rate of encoders; --learning-rate is that of the networks.", 0.0001),
]
EncoderRates: TypeAlias = Annotated[
    list[str] | None,
    option(
        TUNING,
        "Learning rate of the encoder of one modality, such as text=2e-5; can be repeated.",
        name="--encoder-rates",
        metavar="MODALITY=RATE",
    ),
]
LayerDecay: TypeAlias = Annotated[
    float | None,
    option(TUNING, "Factor of the rate from each layer to the one below it, such as 0.8.", 1.0),
]
HeadEpochs: TypeAlias = Annotated[
    int | None,
    option(
        TUNING,
        "First epochs, in which the networks learn alone; at most a quarter unless given.",
        3,
    ),
]
FinalEpochs: TypeAlias = Annotated[
    int | None,
    option(
        TUNING,
        "Epochs at the end in which new networks learn from the encoders as they are then, as many "
        "as without --tune unless given; 0 keeps the networks that learned with them.",
        20,
    ),
]
TuneBatchNorm: TypeAlias = Annotated[
    bool | None,
    option(
        TUNING,
        "Let batch normalization in encoders follow each batch. It can ruin them: docs/tuning.md.",
        False,
    ),
]
ImageSize: TypeAlias = Annotated[
    int | None,
    option(
        TUNING,
        "Side of training images in pixels, such as 160: smaller is faster. Default: the "
        "encoder's own. Codes are always made at that.",
        metavar="PIXELS",
    ),
]
Augment: TypeAlias = Annotated[
    str | None,
    option(
        TUNING,
        "Random changes of training images, of crop, flip, color and rand; or none.",
        "crop,flip,color",
        metavar="KIND,...",
    ),
]
CropMin: TypeAlias = Annotated[
    float | None,
    option(TUNING, "Least share of an image's area that a random crop keeps.", 0.35),
]
Views: TypeAlias = Annotated[
    int | None,
    option(
        TUNING,
        "Random views of each training image, made once, that networks learn from beside the image "
        "itself, where its encoder does not learn; with --tune image in the last stage.",
        0,
        metavar="N",
    ),
]
MicroBatch: TypeAlias = Annotated[
    int | None,
    option(
        TUNING,
        "Items that go through an encoder at once: less memory, more time, the same gradients. "
        "Default: the whole batch.",
        metavar="N",
    ),
]
Checkpointing: TypeAlias = Annotated[
    bool | None,
    option(
        TUNING,
        "Compute activations again in the backward pass: less memory, more time.",
        False,
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    option(
        TUNING,
        "Processes that decode training images. Default: one per core, at most 8.",
        metavar="N",
    ),
]
PixelCacheGb: TypeAlias = Annotated[
    float | None,
    option(TUNING, "Disk space for decoded training images, in GB; 0 for none.", 20.0),
]
