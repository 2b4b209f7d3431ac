"""Train the demo network: `python -m training.train --help`."""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.backgrounds import TRAINING_PHOTOS, load_photos
from training.classes import SEEN
from training.export import write_weights
from training.loss import loss
from training.network import Network, build
from training.samples import SceneRow, collate
from training.scenes import Assets
from training.sprites import TRAINING_SIZES, load_sheet


@dataclass(frozen=True)
class Stage:
    """A number of steps at one side of the square input, in px."""

    side: int
    steps: int


def main() -> None:
    """Train stage after stage, exporting averaged weights on the way."""
    arguments = _arguments()
    cv2.setNumThreads(0)  # a thread pool would not survive the fork of the drawing processes
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    network = build(arguments.cfg)
    _start_unsure(network)
    if arguments.resume is not None:
        network.load_state_dict(torch.load(arguments.resume, weights_only=True))
    network.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(network).eval()
    photos = load_photos(TRAINING_PHOTOS, arguments.lomiri, 1024)
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
        if time.monotonic() - saved > 60 * arguments.save_minutes:
            saved = time.monotonic()
            _save(averaged, arguments, step * arguments.batch)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.train", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--lomiri", type=Path, default=Path("/usr/share/backgrounds"))
    parser.add_argument("--cfg", type=Path, default=Path("models/demo/yolov3-tiny-emoji.cfg"))
    parser.add_argument("--out", type=Path, default=Path("models/demo/yolov3-tiny-emoji.weights"))
    parser.add_argument("--checkpoint", type=Path, required=True, help="PyTorch state, written")
    parser.add_argument("--resume", type=Path, help="a checkpoint to start from")
    parser.add_argument("--stages", type=_stages, default=_stages("256:2300,416:1700"))
    parser.add_argument("--batch", type=int, default=32, help="pictures a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=20, help="of the scenes and first weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    parser.add_argument("--save-minutes", type=float, default=5.0)
    return parser.parse_args()


def _stages(text: str) -> tuple[Stage, ...]:
    """Read `side:steps,side:steps`."""
    pairs = [part.split(":") for part in text.split(",")]
    return tuple(Stage(int(side), int(steps)) for side, steps in pairs)


def _start_unsure(network: Network) -> None:
    """Set the heads' biases so that objects and classes are rare at first."""
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
            num_workers=arguments.workers,
            collate_fn=collate,
            prefetch_factor=4 if arguments.workers else None,
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
        f"{seconds / 60:.1f} min, about {left:.0f} left at this pace",
        flush=True,
    )


def _save(averaged: Network, arguments: argparse.Namespace, seen: int) -> None:
    torch.save(averaged.state_dict(), arguments.checkpoint)
    write_weights(averaged, arguments.out, seen)
    print(f"wrote {arguments.out} after {seen} pictures", flush=True)


if __name__ == "__main__":
    main()
