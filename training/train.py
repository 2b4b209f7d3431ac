"""Train the demo network on scenes that are drawn meanwhile.

Averaged weights and a checkpoint are written every five minutes and at the end.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.backgrounds import TRAINING_PHOTOS, load_photos
from training.classes import DEMO_CFG, SEEN
from training.export import write_weights
from training.loss import loss
from training.network import Network, build
from training.samples import SceneRow, collate
from training.scenes import Assets
from training.sprites import TRAINING_SIZES, load_sheet

SAVE_EVERY_S = 300.0
# Half of the cores draw scenes. Which process draws a scene does not change it.
DRAWING_PROCESSES = max(1, len(os.sched_getaffinity(0)) // 2)


@dataclass(frozen=True)
class Stage:
    """Training steps with a square input of `side` px."""

    side: int
    steps: int


def main() -> None:
    """Train all stages and write the averaged weights."""
    arguments = _arguments()
    cv2.setNumThreads(0)  # a thread pool would not survive the fork of the drawing processes
    torch.manual_seed(arguments.seed)
    network = build(arguments.cfg)
    _initialise_heads(network)
    if arguments.resume is not None:
        network.load_state_dict(torch.load(arguments.resume, weights_only=True))
    network.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(network).eval()
    photos = load_photos(TRAINING_PHOTOS, 1024)
    assets = Assets(load_sheet(arguments.packages, SEEN, TRAINING_SIZES), photos)
    _train(network, averaged, assets, arguments)
    _save(averaged, arguments, sum(stage.steps for stage in arguments.stages) * arguments.batch)


def _train(
    network: Network, averaged: Network, assets: Assets, arguments: argparse.Namespace
) -> None:
    optimizer = _optimizer(network)
    total = sum(stage.steps for stage in arguments.stages)
    started, saved = time.monotonic(), time.monotonic()
    running = torch.zeros(3)
    batches = _batches(assets, arguments)
    for step, (side, pictures, objects) in enumerate(batches, start=1):
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * _share_of_rate(step, total)
        running += _step(network, optimizer, pictures, objects, side)
        _average(averaged, network, min(0.998, step / (step + 20)))
        if step % 20 == 0 or step == total:
            count = 20 if step % 20 == 0 else step % 20
            _report(step, total, side, running / count, time.monotonic() - started)
            running.zero_()
        if time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            _save(averaged, arguments, step * arguments.batch)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.train", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--cfg", type=Path, default=DEMO_CFG, help="network to train (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help=".weights file to write")
    parser.add_argument("--checkpoint", type=Path, required=True, help="PyTorch state to write")
    parser.add_argument("--resume", type=Path, help="checkpoint to start from")
    parser.add_argument(
        "--stages",
        type=_stages,
        default="256:2300,416:1700",
        help="sides of the input and steps at each (%(default)s)",
    )
    parser.add_argument("--batch", type=int, default=32, help="pictures per step (%(default)s)")
    parser.add_argument(
        "--rate", type=float, default=3e-3, help="highest learning rate (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=20, help="of scenes and initial weights (%(default)s)"
    )
    return parser.parse_args()


def _stages(text: str) -> tuple[Stage, ...]:
    """Read `side:steps,side:steps`."""
    pairs = [part.split(":") for part in text.split(",")]
    return tuple(Stage(int(side), int(steps)) for side, steps in pairs)


def _initialise_heads(network: Network) -> None:
    """Initialise the heads' biases so that they predict few objects."""
    for kind, previous in zip(network.kinds[1:], list(network.layers)[:-1], strict=True):
        if kind == "yolo":
            bias = previous.conv.bias.detach().view(3, -1)
            nn.init.normal_(previous.conv.weight, std=0.01)
            bias[:, :4] = 0.0
            bias[:, 4] = -5.0
            bias[:, 5:] = -3.0


def _optimizer(network: Network) -> torch.optim.Optimizer:
    kernels = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": kernels, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))


def _share_of_rate(step: int, total: int) -> float:
    """Rise over the first 200 steps, then fall as a half cosine to 1 %."""
    warm = min(1.0, step / 200)
    return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * step / total)) / 2)


def _batches(assets: Assets, arguments: argparse.Namespace) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield side, pictures and objects of every step; scenes are numbered through all stages."""
    first = 0
    for stage in arguments.stages:
        row = SceneRow(assets, arguments.seed, stage.side, first, stage.steps * arguments.batch)
        loader = DataLoader(
            row,
            arguments.batch,
            num_workers=DRAWING_PROCESSES,
            collate_fn=collate,
            prefetch_factor=4,
        )
        for pictures, objects in loader:
            yield stage.side, pictures, objects
        first += len(row)


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    pictures: Tensor,
    objects: Tensor,
    side: int,
) -> Tensor:
    """Do one step of gradient descent; return the three losses."""
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(pictures.float() / 255)
    losses = loss([raw.float() for raw in maps], objects, network.heads, side)
    optimizer.zero_grad(set_to_none=True)
    losses.sum().backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimizer.step()
    return losses.detach()


@torch.no_grad()
def _average(averaged: Network, network: Network, keep: float) -> None:
    """Move the averaged network a little towards the trained one, batch statistics included."""
    states = zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
    for mean, current in states:
        if mean.dtype.is_floating_point:
            mean.lerp_(current, 1 - keep)


def _report(step: int, total: int, side: int, losses: Tensor, seconds: float) -> None:
    box, thing, kind = losses.tolist()
    left = seconds / step * (total - step) / 60
    print(
        f"step {step}/{total} side {side} box {box:.3f} object {thing:.3f} class {kind:.3f} "
        f"{seconds / 60:.1f} min, {left:.0f} min left",
        flush=True,
    )


def _save(averaged: Network, arguments: argparse.Namespace, seen: int) -> None:
    torch.save(averaged.state_dict(), arguments.checkpoint)
    write_weights(averaged, arguments.out, seen)
    print(f"wrote {arguments.out} after {seen} pictures", flush=True)


if __name__ == "__main__":
    main()
