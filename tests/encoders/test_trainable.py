"""Learning in every family of models: blocks, gradients, memory, and what is saved at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from proxyhash.encoders import TrainableEncoder, load_encoder, make_encoder
from proxyhash.errors import UsageError
from tests.encoders.families import FAMILIES, Family, save_family
from tests.encoders.tiny_models import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image
    from torch import nn


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save_family(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def family(name: str) -> Family:
    return FAMILIES[name]


@pytest.fixture
def encoder(name: str, folder_of: Callable[[str], Path]) -> TrainableEncoder:
    made = make_encoder(str(folder_of(name)), modality=FAMILIES[name].modality)
    assert isinstance(made, TrainableEncoder)
    return made


@pytest.fixture
def prepared(encoder: TrainableEncoder, images: list[Image.Image]) -> list[Any]:
    sources = list(SENTENCES) if encoder.modality == "text" else images[:5]
    return [encoder.prepare(source) for source in sources]


def names_of(encoder: TrainableEncoder, parameters: list[nn.Parameter]) -> list[str]:
    names = {id(parameter): name for name, parameter in encoder.module.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]


def learn(encoder: TrainableEncoder, prepared: list[Any], *, rate: float = 1e-3) -> torch.Tensor:
    """Gradients of a loss without symmetries; one step unless the rate is 0."""
    features = encoder.features(encoder.tensors(prepared))
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    (features * weights).sum().backward()
    if rate:
        learning = [each for each in encoder.module.parameters() if each.requires_grad]
        torch.optim.Adam(learning, rate).step()
    return features.detach()


def test_blocks_hold_each_parameter_once(encoder: TrainableEncoder, family: Family) -> None:
    blocks = encoder.blocks()
    assert tuple(block.name for block in blocks if block.is_layer) == family.layers
    rest = [block.name for block in blocks if not block.is_layer]
    assert rest in (["input"], ["input", "output"])
    assert (blocks[0].name, blocks[-1].name == "output") == ("input", len(rest) == 2)
    found = names_of(encoder, [each for block in blocks for each in block.parameters])
    every = [name for name, _ in encoder.module.named_parameters()]
    assert sorted([*found, *family.unused]) == sorted(every)
    for block in blocks:
        if block.is_layer:
            inside = [name for name in every if name.startswith(f"{block.name}.")]
            assert set(inside) <= set(names_of(encoder, list(block.parameters)))


def test_no_gradient_comes_past_a_layer_that_is_cut(
    encoder: TrainableEncoder, family: Family, prepared: list[Any]
) -> None:
    encoder.tune()
    cut = len(family.layers) // 2

    def detach(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return output.detach() if isinstance(output, torch.Tensor) else (output[0].detach(),)

    encoder.module.get_submodule(family.layers[cut]).register_forward_hook(detach)
    if len(family.layers) == 1 and encoder.blocks()[-1].is_layer:
        assert not encoder.features(encoder.tensors(prepared)).requires_grad
        return
    learn(encoder, prepared, rate=0)
    layers = [block for block in encoder.blocks() if block.is_layer]
    for place, block in enumerate(layers):
        assert [each.grad is not None for each in block.parameters] == [place > cut] * len(
            block.parameters
        )


def test_learning_reaches_every_parameter_and_stays_after_saving(
    encoder: TrainableEncoder, family: Family, prepared: list[Any], tmp_path: Path
) -> None:
    before, fingerprint = encoder.embed(prepared), encoder.fingerprint
    learning = encoder.tune()
    encoder.evaluation_mode()
    with_gradient = encoder.features(encoder.tensors(prepared))
    assert with_gradient.requires_grad
    assert with_gradient.dtype == torch.float32
    assert with_gradient.detach().numpy().tobytes() == before.tobytes()

    encoder.learning_mode()
    features = learn(encoder, prepared)
    # BatchNorm layers go on as they were, so without dropout nothing differs.
    assert bool((features.numpy() != before).any()) == family.dropout
    gradients = dict(zip(names_of(encoder, learning), (p.grad for p in learning), strict=True))
    for name, gradient in gradients.items():
        assert gradient is not None
        if not name.endswith(("key.bias", "k_proj.bias", "k_lin.bias", "attn.k.bias")):
            assert gradient.abs().max() > 0, (
                name
            )  # the keys' bias adds the same to all of a softmax
    for name in family.unused:
        assert encoder.module.get_parameter(name).grad is None

    encoder.freeze()
    after = encoder.embed(prepared)
    assert (after != before).any(axis=1).all()
    assert len({fingerprint, encoder.fingerprint, encoder.current_fingerprint()}) == 2
    assert not encoder.module.training
    assert not any(each.requires_grad or each.grad is not None for each in module_of(encoder))

    encoder.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert isinstance(loaded, TrainableEncoder)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.embed(prepared).tobytes() == after.tobytes()
    strides = [[each.stride() for each in module_of(one)] for one in (encoder, loaded)]
    assert strides[0] == strides[1]
    assert all(
        each.is_contiguous(memory_format=torch.channels_last)
        for each in module_of(loaded)
        if each.ndim == 4
    )
    loaded.save(tmp_path / "again")
    files = sorted(path.name for path in (tmp_path / "saved").iterdir())
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "saved" / file).read_bytes()


def module_of(encoder: TrainableEncoder) -> list[nn.Parameter]:
    return list(encoder.module.parameters())


def test_the_last_layer_alone_learns(
    encoder: TrainableEncoder, family: Family, prepared: list[Any]
) -> None:
    encoder.tune()  # what was asked for before does not count
    learning = encoder.tune("last:1")
    before = {name: each.clone() for name, each in encoder.module.state_dict().items()}
    encoder.learning_mode()
    learn(encoder, prepared)
    changed = {n for n, each in encoder.module.state_dict().items() if not each.equal(before[n])}
    assert changed <= set(names_of(encoder, learning))
    assert any(name.startswith(family.layers[-1]) for name in changed)
    prefixes = tuple(f"{layer}." for layer in family.layers[:-1])
    assert not any(name.startswith(prefixes) for name in changed)
    places = {name: place for place, (name, _) in enumerate(encoder.module.named_parameters())}
    assert names_of(encoder, learning)[0] == min(changed, key=places.__getitem__)
    count = len(family.layers)
    whole = encoder.tune(f"last:{count}")
    assert len(encoder.tune()) > len(whole)
    with pytest.raises(UsageError, match=f"last:{count + 1} of the {count} layers of .* or last:1"):
        encoder.tune(f"last:{count + 1}")


class Kept(TorchDispatchMode):
    """Counts the bytes of the tensors made in the block that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.made[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        return out

    @property
    def bytes(self) -> int:
        return sum(size for reference, size in self.made.values() if not reference.expired())


def test_checkpointing_gives_the_same_gradients_in_less_memory(
    encoder: TrainableEncoder, prepared: list[Any]
) -> None:
    learning = encoder.tune()
    encoder.learning_mode()
    inputs, found = encoder.tensors(prepared), {}
    for on in (False, True, False):
        encoder.checkpoint_activations(on)
        torch.manual_seed(0)
        with Kept() as kept:
            features = encoder.features(inputs)
            memory = kept.bytes
        features.square().sum().backward()
        found[on] = (memory, [features.detach(), *(each.grad for each in learning)])
        encoder.module.zero_grad()
    assert found[True][0] < 0.8 * found[False][0]
    assert all(map(torch.equal, found[True][1], found[False][1]))
