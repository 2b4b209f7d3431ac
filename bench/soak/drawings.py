"""Pictures with boxes: what the services draw while nothing else happens, to compare with later."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench.soak.exchange import Callers, End, Reply, Request
from bench.soak.fleet import LABELS, Fleet
from bench.soak.kinds import DRAWN, post
from bench.soak.samples import Sample
from elastic_yolo.lab.processes.stack import StackError
from elastic_yolo.printable import body_text

# Mean difference of all pixels. A score whose last digit rounds the other way changes far less; a
# missing box or another picture far more.
_MOST_DIFFERENCE = 0.5


@dataclass
class Drawings:
    """Drawn pictures by sample and media type, one for each version of the model."""

    _known: dict[tuple[str, str], list[NDArray[np.int16]]] = field(default_factory=dict)

    def add(self, sample: Sample, reply: Reply) -> None:
        """Take an answer for right; raises StackError if it is no drawing."""
        pixels = _read(reply)
        if pixels is None:
            raise StackError(f"{sample.name}: no drawing: {reply.status} {body_text(reply.body)}")
        self._known.setdefault((sample.name, _media_type(reply)), []).append(pixels)

    def is_right(self, sample: Sample, reply: Reply) -> bool:
        """Return whether an answer shows the sample with the boxes of one of the versions."""
        pixels = _read(reply)
        return pixels is not None and any(
            pixels.shape == known.shape and float(np.abs(pixels - known).mean()) <= _MOST_DIFFERENCE
            for known in self._known.get((sample.name, _media_type(reply)), [])
        )


async def take_drawings(fleet: Fleet, samples: Sequence[Sample]) -> Drawings:
    """Have every sample drawn by every version; raises StackError or TimeoutError."""
    drawings, callers = Drawings(), Callers()
    for version in reversed(LABELS):  # the first one serves at the end
        await fleet.switch_version(version)
        for sample in samples:
            for kind in DRAWN:
                data = post("/inference", sample.content, sample.media_type, f"Accept: {kind}")
                reply = await callers.send(Request(fleet.web.address, (data,)))
                if reply.end is not End.ANSWER:
                    raise StackError(f"{sample.name}: {reply.end.value}")
                drawings.add(sample, reply)
    return drawings


def _media_type(reply: Reply) -> str:
    return reply.headers.get("content-type", "")


def _read(reply: Reply) -> NDArray[np.int16] | None:
    try:
        return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGB"), np.int16)
    except (UnidentifiedImageError, OSError, ValueError):
        return None
