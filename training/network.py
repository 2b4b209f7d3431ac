"""The PyTorch module that a yolov3-tiny .cfg describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from elastic_yolo.detector.darknet.cfg import Cfg, Section, read_cfg

EPSILON = 1e-5


@dataclass(frozen=True)
class Head:
    """One [yolo] section: its anchors (w, h) in px of the network input, and class count."""

    anchors: tuple[tuple[float, float], ...]
    classes: int


class Convolution(nn.Module):
    """Darknet's [convolutional]: convolution, then batch norm or bias, then leaky or linear."""

    def __init__(self, section: Section, channels: int) -> None:
        """Create the layer for an input with `channels` channels."""
        super().__init__()
        self.filters, size = section.integer("filters", 1), section.integer("size", 1)
        normalize = bool(section.integer("batch_normalize", 0))
        stride = section.integer("stride", 1)
        self.conv = nn.Conv2d(channels, self.filters, size, stride, size // 2, bias=not normalize)
        self.norm = nn.BatchNorm2d(self.filters, eps=EPSILON, momentum=0.03) if normalize else None
        self.leaky = section.text("activation", "logistic") == "leaky"

    def forward(self, x: Tensor) -> Tensor:
        """Map [b, channels, h, w] to [b, filters, h / stride, w / stride]."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return functional.leaky_relu(x, 0.1, inplace=True) if self.leaky else x


class MaxPool(nn.Module):
    """Darknet's [maxpool]: size - 1 px of padding in all, the odd one right and below."""

    def __init__(self, section: Section) -> None:
        """Read size and stride."""
        super().__init__()
        self.stride = section.integer("stride", 1)
        self.size = section.integer("size", self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [b, c, h, w] to [b, c, h / stride, w / stride]."""
        if self.stride == 1:
            before = (self.size - 1) // 2
            after = self.size - 1 - before
            x = functional.pad(x, (before, after, before, after), value=float("-inf"))
        return functional.max_pool2d(x, self.size, self.stride)


class Network(nn.Module):
    """All layers of a cfg. The forward pass returns the raw map of every head, in cfg order."""

    def __init__(self, cfg: Cfg) -> None:
        """Create every layer with random weights."""
        super().__init__()
        self.side = cfg.net.integer("width", 416)
        self.kinds = [section.kind for section in cfg.layers]
        self.sources = [section.integers("layers") for section in cfg.layers]
        self.layers = nn.ModuleList()
        self.heads: list[Head] = []
        channels: list[int] = []
        for section in cfg.layers:
            before = channels[-1] if channels else cfg.net.integer("channels", 3)
            channels.append(self._add(section, before, channels))

    def _add(self, section: Section, before: int, channels: list[int]) -> int:
        """Append one layer; return its output channels."""
        layer: nn.Module = nn.Identity()
        if section.kind == "convolutional":
            layer = Convolution(section, before)
            before = layer.filters
        elif section.kind == "maxpool":
            layer = MaxPool(section)
        elif section.kind == "upsample":
            layer = nn.Upsample(scale_factor=section.integer("stride", 2), mode="nearest")
        elif section.kind == "route":
            before = sum(channels[source] for source in section.integers("layers"))
        elif section.kind == "yolo":
            self.heads.append(_head(section))
        else:
            raise section.error("kind", "convolutional, maxpool, upsample, route or yolo")
        self.layers.append(layer)
        return before

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map [b, 3, side, side] in 0..1 to maps [b, anchors * (5 + classes), rows, columns]."""
        outputs: list[Tensor] = []
        maps: list[Tensor] = []
        for kind, sources, layer in zip(self.kinds, self.sources, self.layers, strict=True):
            if kind == "route":
                x = torch.cat([outputs[source] for source in sources], 1)
            else:
                x = layer(x)
            if kind == "yolo":
                maps.append(x)
            outputs.append(x)
        return maps


def _head(section: Section) -> Head:
    numbers = section.numbers("anchors")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    anchors = tuple(pairs[index] for index in section.integers("mask"))
    return Head(anchors, section.integer("classes", 20))


def build(path: Path) -> Network:
    """Read a .cfg and build its network with random weights."""
    return Network(read_cfg(path))


def decode(maps: list[Tensor], heads: list[Head], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decode all heads: boxes [b, n, 4] (cx, cy, w, h in input px), objectness and class logits.

    n counts every anchor of every cell; objectness is [b, n], class logits are [b, n, classes].
    """
    boxes, objectness, classes = [], [], []
    for raw, head in zip(maps, heads, strict=True):
        batch, _, rows, columns = raw.shape
        x = raw.float().view(batch, len(head.anchors), 5 + head.classes, rows, columns)
        x = x.permute(0, 1, 3, 4, 2)
        grid_y, grid_x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corner = torch.stack([grid_x, grid_y], -1)
        centre = (x[..., 0:2].sigmoid() + corner) * (side / columns)
        anchors = torch.tensor(head.anchors)[:, None, None, :]
        size = x[..., 2:4].clamp(max=6.0).exp() * anchors
        boxes.append(torch.cat([centre, size], -1).reshape(batch, -1, 4))
        objectness.append(x[..., 4].reshape(batch, -1))
        classes.append(x[..., 5:].reshape(batch, -1, head.classes))
    return torch.cat(boxes, 1), torch.cat(objectness, 1), torch.cat(classes, 1)
