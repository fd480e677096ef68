"""A tiny set of image and text features whose labels can be learned, and a loop without frills."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxyhash.methods import Batch, Context, Memory, Objective, Rows, get_method, make_objective

BITS = 16
MODALITIES = ("image", "text")
CLASSES = 5
SMALL: dict[str, dict[str, object]] = {"ucmfh": {"width": 32, "fusion_dropout": 0.0}}
"""Settings of networks that a method brings, so that they are small and drop nothing."""


@dataclass
class Toy:
    image: Tensor
    text: Tensor
    labels: Tensor
    has_image: Tensor
    has_text: Tensor

    def rows(self) -> Rows:
        """The train features as `begin_run` gets them."""
        return Rows(
            features={
                "image": self.image * self.has_image[:, None],
                "text": self.text * self.has_text[:, None],
            },
            present={"image": self.has_image, "text": self.has_text},
            labels=self.labels,
        )


def make_toy(items: int = 60, *, seed: int = 0) -> Toy:
    """Items with one to three labels; features are noisy sums of a vector per label."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(items, CLASSES, generator=generator) < 0.3).float()
    labels[torch.arange(items), torch.arange(items) % CLASSES] = 1.0
    everyone = torch.ones(items, dtype=torch.bool)

    def features(dim: int) -> Tensor:
        directions = torch.randn(CLASSES, dim, generator=generator)
        return labels @ directions + 0.3 * torch.randn(items, dim, generator=generator)

    return Toy(features(12), features(20), labels, everyone, everyone.clone())


def networks(name: str = "dchml", *, seed: int = 0) -> dict[str, torch.nn.Module]:
    """Small networks: linear, or with class logits, for the methods that need them so."""
    method = get_method(name)
    options = {"hidden": () if method.closed_form else (32,)}
    objective = objective_of(name, make_toy())
    kind = method.defaults.get("network_kind", "hashing")
    image, text = (
        objective.make_network(modality, kind, width, seed=seed + number, options=options)
        for number, (modality, width) in enumerate((("image", 12), ("text", 20)))
    )
    text.share_parts(image)
    return {"image": image, "text": text}


def objective_of(name: str, toy: Toy, *, seed: int = 0, **settings: object) -> Objective:
    context = Context(toy.labels, BITS, seed=seed, modalities=MODALITIES)
    return make_objective(name, context, SMALL.get(name, {}) | settings)


def begun(
    name: str, toy: Toy, nets: dict[str, torch.nn.Module], *, seed: int = 0, **settings: object
) -> Objective:
    """Return the objective of a new run, as it is before the first epoch."""
    objective = objective_of(name, toy, seed=seed, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.begin_run(nets, toy.rows())
    return objective


def memory_of(toy: Toy, nets: dict[str, torch.nn.Module]) -> Memory:
    with torch.no_grad():
        return Memory(
            outputs={
                "image": nets["image"](toy.image) * toy.has_image[:, None],
                "text": nets["text"](toy.text) * toy.has_text[:, None],
            },
            present={"image": toy.has_image, "text": toy.has_text},
        )


def batch_of(
    toy: Toy,
    nets: dict[str, torch.nn.Module],
    learning: tuple[str, ...],
    index: Tensor,
    memory: Memory,
    *,
    objective: Objective | None = None,
) -> Batch:
    """Return a step's batch; methods with a forward pass of their own need the objective."""
    has = {"image": toy.has_image[index], "text": toy.has_text[index]}
    features = {"image": toy.image, "text": toy.text}
    labels = toy.labels[index] if objective is None else objective.labels_of(toy.rows(), index)
    outputs = {}
    for name in learning:
        rows, inputs = has[name], features[name][index]
        if objective is None or not rows.any():
            outputs[name] = nets[name](inputs) * rows[:, None]
            continue
        values = torch.zeros(len(index), BITS)
        values[rows] = objective.run_network(name, nets[name], inputs[rows], labels[rows])
        outputs[name] = values
    return Batch(index=index, labels=labels, outputs=outputs, present=has, memory=memory)


def train_toy(name: str, toy: Toy, *, seed: int = 0, rounds: int = 20, **settings: object):
    """Return the trained networks."""
    nets = networks(name, seed=seed)
    objective = begun(name, toy, nets, seed=seed, **settings)
    weights = list(dict.fromkeys(w for net in nets.values() for w in net.parameters()))
    optimizer = torch.optim.Adam([*weights, *objective.parameters()], lr=5e-3)
    memory = memory_of(toy, nets)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(rounds):
        objective.begin_epoch(memory)
        for learning in objective.passes:
            for index in torch.randperm(len(toy.labels), generator=generator).split(20):
                batch = batch_of(toy, nets, learning, index, memory, objective=objective)
                loss = torch.stack(list(objective.loss(batch).values())).sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                for modality in learning:
                    memory.outputs[modality][index] = batch.latest(modality)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.end_run(nets, toy.rows())
    for net in nets.values():
        net.eval()
    return nets
