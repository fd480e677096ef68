"""`ucmfh` against loops over the formula, and its transformer against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from proxyhash.errors import InterruptedRunError, UsageError
from proxyhash.methods import get_method
from proxyhash.methods.ucmfh import FusionLayer, FusionNetwork
from proxyhash.networks import HashingNetwork
from proxyhash.training.config import read_config
from tests.methods.toy import batch_of, begun, make_toy, memory_of, networks, objective_of
from tests.training.toy import assert_same, config_of, make_rows, run

TAU, CODES = 0.4, 0.7
SETTINGS = {"temperature": TAU, "codes": CODES}


def cosine(one, other):
    inner = sum(a * b for a, b in zip(one, other, strict=True))
    return inner / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def contrast(views):
    """Mean over views with another half; `views` are (item, modality, values)."""
    terms = []
    for item, modality, values in views:
        scores = {
            (i, m): math.exp(cosine(values, v) / TAU)
            for i, m, v in views
            if (i, m) != (item, modality)
        }
        own = [score for (i, _), score in scores.items() if i == item]
        if own:
            terms.append(-math.log(own[0] / sum(scores.values())))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("incomplete", [False, True])
def test_the_terms_are_those_of_the_loops(incomplete):
    toy, nets = make_toy(24), networks("ucmfh")
    if incomplete:
        toy.has_image[::7] = False
        toy.has_text[5::6] = False
    objective = begun("ucmfh", toy, nets, **SETTINGS)
    index = torch.arange(3, 21)
    batch = batch_of(toy, nets, ("image", "text"), index, memory_of(toy, nets), objective=objective)
    terms = objective.loss(batch)
    halves, outputs = [], []
    for name, features, has in (
        ("image", toy.image, toy.has_image),
        ("text", toy.text, toy.has_text),
    ):
        with torch.no_grad():
            embedded, codes = nets[name].embed(features), nets[name](features)
        for item in index.tolist():
            if has[item]:
                halves.append((item, name, embedded[item].tolist()))
                outputs.append((item, name, codes[item].tolist()))
    assert terms["halves"].item() == pytest.approx(contrast(halves), rel=1e-5)
    assert terms["codes"].item() == pytest.approx(CODES * contrast(outputs), rel=1e-5)


def test_the_layers_are_those_of_torch_for_one_token():
    layers = [
        FusionLayer(16, dropout=0.0, generator=torch.Generator().manual_seed(k)) for k in (1, 2)
    ]
    one = nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, dropout=0.0, batch_first=False)
    theirs = nn.TransformerEncoder(one, 2, enable_nested_tensor=False)
    for own, other in zip(layers, theirs.layers, strict=True):
        with torch.no_grad():
            # Queries and keys stay as torch drew them: over one token they do not matter.
            other.self_attn.in_proj_weight[32:] = own.value.weight
            own.value.bias.normal_()
            own.attended.bias.normal_()
            other.self_attn.in_proj_bias[32:] = own.value.bias
            for mine, copy in (
                (own.attended, other.self_attn.out_proj),
                (own.wide, other.linear1),
                (own.narrow, other.linear2),
                (own.norms[0], other.norm1),
                (own.norms[1], other.norm2),
            ):
                copy.load_state_dict(mine.state_dict())
    tokens = torch.randn(7, 16)
    expected = theirs(tokens[None])[0]  # the release's training: a sequence of one, a batch of 7
    torch.testing.assert_close(nn.Sequential(*layers)(tokens), expected)


def test_whole_heads_are_dropped():
    layer = FusionLayer(32, dropout=0.5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    heads = layer.head_dropout(torch.ones(50, 4, 8))
    assert set(heads.flatten(1).unique().tolist()) == {0.0, 2.0}
    assert (heads == heads[:, :, :1]).all()


def test_each_network_enters_and_leaves_its_own_half_of_one_transformer():
    image, text = networks("ucmfh").values()
    assert (image.side, text.side) == (0, 1)
    assert image.fusion is text.fusion
    features = torch.randn(5, 12)
    with torch.no_grad():
        entered = image.enter.logits(features)
        token = image.fusion(torch.cat([entered, torch.zeros(5, 16)], dim=1))
        half = token[:, :16]
        half = half / half.norm(dim=1, keepdim=True)
        torch.testing.assert_close(image.embed(features), half)
        torch.testing.assert_close(image.logits(features), image.head.logits(half))
    alone = FusionNetwork(12, 16, width=32, side=1, seed=3)
    other = FusionNetwork(12, 16, width=32, side=0, seed=3)
    assert alone.enter.layers[0].weight.equal(other.enter.layers[0].weight)
    assert not alone.logits(features).equal(other.logits(features))


def test_a_lone_item_gives_no_nan():
    toy, nets = make_toy(24), networks("ucmfh")
    toy.has_text[0] = False
    objective = begun("ucmfh", toy, nets)
    for index in (torch.tensor([1]), torch.tensor([0])):
        batch = batch_of(
            toy, nets, ("image", "text"), index, memory_of(toy, nets), objective=objective
        )
        total = torch.stack(list(objective.loss(batch).values())).sum()
        total.backward()
        assert total.item() == pytest.approx(0, abs=1e-6)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    rows = make_rows(60), make_rows(20)
    values = {"method": "ucmfh", "settings": {"width": 32}, "dropout": 0.3, "epochs": 3}
    whole = run(config_of(tmp_path / "whole", **values), *rows)
    left = iter([False] * 10)  # four steps an epoch
    config = config_of(tmp_path / "stopped", **values)
    with pytest.raises(InterruptedRunError):
        run(config, *rows, stop=lambda: next(left, True))
    again = run(config, *rows, resume=True)
    assert_same(whole, again)
    networks = again.networks.by_modality
    assert networks["image"].fusion is networks["text"].fusion


def test_other_networks_are_refused():
    toy = make_toy()
    nets = {"image": HashingNetwork(12, 16), "text": HashingNetwork(20, 16)}
    with pytest.raises(UsageError, match=r"kind fusion, not hashing; leave out --network-kind"):
        objective_of("ucmfh", toy).begin_run(nets, toy.rows())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width is 12; it must be a multiple of 8"),
        ({"side": 2}, "side is 2; it must be 0 or 1"),
        ({"fusion_dropout": 1.0}, r"fusion_dropout is 1\.0; it must be at least 0 and below 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        FusionNetwork(12, 16, **options)


def test_the_preset_is_the_released_configuration():
    preset = get_method("ucmfh").presets["reference"]
    config = read_config({"method": "ucmfh", "data": "d", "out": "o", **preset})
    options = config.network_options("text")
    assert (options["hidden"], options["dropout"]) == ((4096,), 0.3)
    assert (config.settings["width"], config.epochs, config.batch_size) == (1024, 100, 128)
