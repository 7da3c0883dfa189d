"""One cell of the experiment on recurrent denoisers: a network is trained, frozen and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import loops
import methods
import torch
import videos
from measures import errors_of, measured
from torch.nn import functional


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network, freeze it, and measure it."""
    torch.manual_seed(settings["seed"])
    model = loops.LOOPS[settings["loop"]](settings["gain"])
    size = (settings["training"]["size"],) * 2
    before = [measured(layer.weight, size) for layer in model.loop()]
    wanted = [methods.asked(settings["method"], layer, size) for layer in model.loop()]
    for layer in model.loop():
        methods.apply(settings["method"], layer, size)
    began = time.process_time()
    loss = train(model, settings)
    row: dict[str, Any] = {"loss": loss, "training_seconds": time.process_time() - began}
    drift = [methods.drift(layer) for layer in model.loop()]
    excess = methods.certify(model)
    held = [{"drift": far, "excess": excess.get(layer)} for layer, far in zip(model.loop(), drift, strict=True)]
    model.freeze()
    for k, layer in enumerate(model.loop()):
        which = "" if len(before) == 1 else f"_{k + 1}"
        now = measured(layer.weight, size)
        row |= {f"{name}_before{which}": value for name, value in before[k].items()}
        row |= {f"{name}{which}": value for name, value in now.items()}
        radius = loops.spectral_radius(layer.weight.detach().double().numpy(), size)
        told = {"radius": radius, **held[k], **errors_of([now], [wanted[k]])}
        row |= {f"{name}{which}": value for name, value in told.items()}
    return row | tested(model, settings)


def train(model: loops.Loop, settings: Mapping[str, Any]) -> float:
    """Train on pictures that stand, with fresh noise in each frame; the mean loss of the last tenth."""
    given, steps = settings["training"], settings["steps"]
    optimizer = torch.optim.Adam(model.parameters(), lr=given["rate"])
    last = given["last_rate"]

    def rate(step: int) -> float:
        if step < given["warmup"]:
            return (step + 1) / given["warmup"]
        part = (step - given["warmup"]) / max(1, steps - given["warmup"])
        return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * part))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    generator = torch.Generator().manual_seed(1000 + settings["seed"])
    losses = []
    model.train()
    for _ in range(steps):
        clean = videos.crops(given["batch"], given["size"], generator)
        sigma = given["sigma"] / 255
        noisy = [clean + sigma * torch.randn(clean.shape, generator=generator) for _ in range(settings["frames"])]
        errors = [functional.mse_loss(out, clean) for out, _ in loops.outputs(model, iter(noisy))]
        loss = torch.stack(errors).mean() if settings["loss"] == "all" else errors[-1]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), given["clip"])
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    own = losses[-max(1, steps // 10) :]
    return sum(own) / len(own)


def tested(model: loops.Loop, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the frozen network does on the test clip."""
    test, sigma = settings["test"], settings["training"]["sigma"] / 255
    clip, frames = videos.test_clip(test["size"]), test["frames"]
    ranges = {"4_8": (4, 8), "100": (96, 105), "600": (596, 605), f"{frames}": (frames - 9, frames)}
    ranges = {name: ends for name, ends in ranges.items() if ends[1] <= frames}
    row = loops.long_run(model, clip[0], sigma, frames, ranges, settings["seed"])
    row |= loops.moving(model, clip, sigma, settings["seed"])
    row["lyapunov"] = loops.lyapunov(model, clip[0], sigma, test["lyapunov_frames"], settings["seed"])
    if isinstance(model, loops.LinearLoop):  # on the picture that it is tested on
        row["radius_tested"] = loops.spectral_radius(model.hidden.weight.detach().double().numpy(), (test["size"],) * 2)
    return row
