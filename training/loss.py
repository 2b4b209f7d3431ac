"""The loss: CIoU for boxes, binary cross-entropy for objectness and classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.network import Head, decode

NEAR = 1.8  # an anchor is assigned to an object if no side differs by more than this factor
IGNORE = 0.6  # a box whose IoU with an object exceeds this is not trained as background
BOX_WEIGHT, OBJECT_WEIGHT, CLASS_WEIGHT = 2.0, 1.0, 1.0


def loss(maps: list[Tensor], objects: Tensor, heads: list[Head], side: int) -> Tensor:
    """Return [box, object, class] losses, weighted, each per positive.

    `objects` is [b, most, 5]: class (-1: none), cx, cy, w, h in px of the network input.
    """
    boxes, objectness, classes = decode(maps, heads, side)
    picture, index, target = _positives(maps, objects, heads, side)
    count = max(1, len(picture))
    wanted = torch.zeros_like(objectness)
    wanted[picture, index] = 1.0
    counts = _background(boxes.detach(), objects) | (wanted > 0)
    object_loss = functional.binary_cross_entropy_with_logits(
        objectness[counts], wanted[counts], reduction="sum"
    )
    overlap = ciou(boxes[picture, index], target[:, 1:])
    logits = classes[picture, index]
    labels = functional.one_hot(target[:, 0].long(), logits.shape[1]).float()
    class_loss = functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    return torch.stack(
        [
            BOX_WEIGHT * (1 - overlap).sum() / count,
            OBJECT_WEIGHT * object_loss / count,
            CLASS_WEIGHT * class_loss / count,
        ]
    )


def _positives(
    maps: list[Tensor], objects: Tensor, heads: list[Head], side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pair objects with the anchors assigned to them.

    Returns picture [p], index among the decoded boxes [p], and the object [p, 5] of each pair.
    """
    picture, place = torch.nonzero(objects[..., 0] >= 0, as_tuple=True)
    things = objects[picture, place]
    anchors = torch.tensor([anchor for head in heads for anchor in head.anchors])
    ratio = things[:, None, 3:5] / anchors[None]
    worst = torch.maximum(ratio, 1 / ratio).amax(-1)
    near = worst < NEAR
    near[torch.arange(len(things)), worst.argmin(1)] = True
    thing, anchor = torch.nonzero(near, as_tuple=True)
    index = torch.empty_like(anchor)
    offset, first = 0, 0
    for raw, head in zip(maps, heads, strict=True):
        rows, columns = raw.shape[2:]
        mine = (anchor >= first) & (anchor < first + len(head.anchors))
        column = (things[thing, 1] * columns / side).long().clamp(0, columns - 1)
        row = (things[thing, 2] * rows / side).long().clamp(0, rows - 1)
        cell = offset + (anchor - first) * rows * columns + row * columns + column
        index = torch.where(mine, cell, index)
        offset += len(head.anchors) * rows * columns
        first += len(head.anchors)
    return picture[thing], index, things[thing]


def _background(boxes: Tensor, objects: Tensor) -> Tensor:
    """Return [b, n] bool: decoded boxes whose IoU with every object is below IGNORE."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    centre, size = objects[..., 1:3], objects[..., 3:5].clamp(min=0)
    other_low, other_high = centre - size / 2, centre + size / 2
    shared = torch.minimum(high[:, :, None], other_high[:, None])
    shared = (shared - torch.maximum(low[:, :, None], other_low[:, None])).clamp(min=0).prod(-1)
    total = boxes[..., 2:].prod(-1)[:, :, None] + size.prod(-1)[:, None] - shared
    return (shared / total.clamp(min=1e-6)).amax(-1) < IGNORE


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the complete IoU of boxes [p, 4] with others [p, 4], both as (cx, cy, w, h)."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    other_low, other_high = others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0).prod(1)
    union = boxes[:, 2:].prod(1) + others[:, 2:].prod(1) - shared
    iou = shared / (union + 1e-7)
    span = torch.maximum(high, other_high) - torch.minimum(low, other_low)
    apart = (boxes[:, :2] - others[:, :2]).square().sum(1) / (span.square().sum(1) + 1e-7)
    slant = torch.atan(boxes[:, 2] / boxes[:, 3]) - torch.atan(others[:, 2] / others[:, 3])
    shape = slant.square() * (4 / math.pi**2)
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou - apart - weight * shape
