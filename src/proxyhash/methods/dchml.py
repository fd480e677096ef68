"""DCHML: deep cross-modal hashing via the margin-dynamic-softmax loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from proxyhash.losses import cross_modal_softmax, margin_dynamic_softmax
from proxyhash.methods.shared.batch import Batch, sign
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.presets import END_TO_END, TEXTS_OF_THE_PORT
from proxyhash.methods.shared.proxy_objective import ProxyObjective, ProxySettings
from proxyhash.methods.shared.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.objective import Context

__all__ = ["Dchml", "DchmlSettings"]

_RATES = {
    "reference": {
        16: (0.0015, 0.008),
        32: (0.0012, 0.008),
        48: (0.001, 0.006),
        64: (0.001, 0.005),
    },
    "reference-coco": {
        16: (0.0008, 0.002),
        32: (0.0006, 0.0017),
        48: (0.0005, 0.001),
        64: (0.0003, 0.001),
    },
}
"""Learning rates of images and texts by preset and code length, from DCPH/utils/DFPH_NN.py."""


class DchmlSettings(ProxySettings):
    """Settings of `dchml`."""

    eta: float = Field(default=0.1, ge=0)
    """Weight of the cross-modal term."""
    cross_denominator: Literal["own", "other"] = "own"
    """Whose anchor stands in the denominator of the cross-modal term: "own", our reading of the
    formula, or "other", the other modality's, as in a public port of the method, whose pull to the
    positive proxies never fades."""


@register_method("dchml")
class Dchml(ProxyObjective):
    """Both networks aim at one binary proxy per class; no pairwise similarity is needed.

    For each modality that learns, with logits o = h P^T, the logits o' of the other modality's
    current binary code, the positives Y of the item, n = |Y| and the unified code B:

        a = gamma ((1/n) sum_{c in Y} o_c - sigma K)
        L = logsumexp(a, {gamma o_c : c not in Y}) - a                        "margin"
          + eta (logsumexp(a, {gamma o'_c : c not in Y}) - a)                 "cross"
          + lambda ||B - h||^2                                                "quantization"

    Where labels are probabilities y_c, Y = {c : y_c >= 1/2}, the means over Y are weighted by them,
    only {c : y_c < 1/4} compete, and classes between neither pull nor push.

    Sources: the idea is that of Tu et al., "Deep Cross-modal Hashing via Margin-dynamic-softmax
    Loss", arXiv 2011.03451 (2020), later "Deep Cross-Modal Proxy Hashing" (DCPH), IEEE TKDE 35(7),
    2023. Details were read from a public port of DCPH by others (1034829217/paddle, DCPH/utils/
    DFPH_NN.py, and DCNPH/CCMH_BS.py where it says so), and from the authors' own PSLDH (PHNet's
    loss) and DAPH. The formula above is our reading of the paper's; the port's cross-modal
    denominator is `cross_denominator` "other", with a' = gamma ((1/n) sum_{c in Y} o'_c - sigma K)
    in place of the first a of "cross".

    The "reference" preset does what the port does:

    - from pixels, without augmentation; the image network has two hidden layers of 4,096 with
      dropout before each, the text network one of 8,192 whose weights begin as N(0, .01^2);
    - plain SGD (momentum 0, weight decay 1e-5), batches of 40, alternating passes; 80 passes of
      each network (4 times 20; CCMH_BS.py has 6 times 2);
    - learning rates by data set and length: those of NUS-WIDE, for images .0015, .0012, .001 and
      .001 at 16, 32, 48 and 64 bits, for texts .008, .008, .006 and .005. "reference-coco" has
      those of COCO: .0008, .0006, .0005, .0003, and .002, .0017, .001, .001;
    - rates halve after pass 50 of 80, as those of the port's images do; its texts follow a cosine
      to 0 that restarts every 20 passes, which is half the rate on average, too;
    - gamma .3, sigma .3, lambda .1, eta .1, PHNet with beta 1, the denominator of the port;
    - B is random in the first passes, and sign(H_image + H_text) after every pair of passes, as
      both files have it; `passes_per_round` 20 or 2 would refresh it once in each outer round.

    It differs where it has to, or where the port slips:

    - the port's AlexNet brings fc6 and fc7 from ImageNet; with encoders that end in pooled features
      both layers are new. They begin with Kaiming weights on centered features, which keep the
      scale from layer to layer as trained layers do. For some hundred steps all codes are still
      nearly one, at chance; plain SGD needs the many passes of the preset to part them;
    - the validation score chooses the epoch, not the queries' mAP; every branch reads the codes of
      the other modality and has its own denominator and schedule (in CCMH_BS.py texts read their
      own codes and use the images' denominator); positives leave the denominators; B has no
      third, random summand (B_z in DFPH_NN.py).

    Encoders that cannot learn refuse the preset; `--tune none` trains its networks on frozen
    features.
    """

    settings_type = DchmlSettings
    card = MethodCard(
        idea="one binary proxy per class, no pairwise similarity",
        loss=(
            "softmax of the mean positive logit h·p, with a margin that grows with K, against"
            " all negative ones; also against those of the other modality's code"
        ),
        source="Tu et al., arXiv 2011.03451 (2020)",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        name: {
            **END_TO_END,
            "epochs": 80,
            "batch_size": 40,
            "lr_schedule": "step",
            "lr_end": 0.5,
            "dropout_at": "inputs",
            "networks": {
                "image": {"initial_weights": "kaiming", "center": True},
                "text": {**TEXTS_OF_THE_PORT},
            },
            "settings": {
                "schedule": "alternating",
                "first_code": "random",
                "cross_denominator": "other",
                "proxies": "phnet",
                "assignment": "none",
                "phnet_hidden": 4096,
                "gamma": 0.3,
                "lambda_": 0.1,
            },
        }
        for name in ("reference", "reference-coco")
    }
    settings: DchmlSettings

    def __init__(self, context: Context, settings: DchmlSettings) -> None:
        super().__init__(context, settings)

    @classmethod
    def preset(cls, name: str, *, bits: int) -> dict[str, Any]:
        """Return a preset with the port's learning rates for the longest of its codes up to K."""
        rates = _RATES[name]
        image, text = rates[max((each for each in rates if each <= bits), default=min(rates))]
        return {
            **cls.presets[name],
            "learning_rate": image,
            "encoder_rate": image,
            "learning_rates": {"text": text},
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "margin", "cross" and "quantization"."""
        gamma, sigma = self.gamma, self.sigma
        margin = cross = batch.labels.new_zeros(())
        for modality in batch.learning:
            logits = self.logits(batch.outputs[modality])
            labels = batch.labels_of(modality)
            margin = margin + margin_dynamic_softmax(logits, labels, gamma=gamma, sigma=sigma)
            for other in batch.others(modality):
                codes = sign(batch.latest(other))
                in_both = labels * batch.present[other][:, None]
                cross = cross + cross_modal_softmax(
                    logits,
                    self.logits(codes),
                    in_both,
                    gamma=gamma,
                    sigma=sigma,
                    denominator=self.settings.cross_denominator,
                )
        return {
            "margin": margin,
            "cross": self.settings.eta * cross,
            "quantization": self.quantization(batch),
        }
