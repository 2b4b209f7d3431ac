"""What passes through a stream: messages with a picture, and the results for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.picture.errors import PictureError


@dataclass(frozen=True)
class Message:
    """A picture that a source delivered.

    `id` is unique in the source and the same whenever the message is delivered again. `added_at` is
    when the picture entered the source, or was taken, in seconds since 1970. `deliveries` counts
    this delivery as well. `fields` are the producer's own, and become part of the result. `handle`
    is what the source needs in order to acknowledge the message. `fault` says why the picture
    cannot be used, if the source knows that already; `picture` is empty then.
    """

    source: str
    id: str
    picture: bytes | Frame
    added_at: float
    deliveries: int = 1
    fields: Mapping[str, str] = field(default_factory=dict)
    handle: Any = None
    fault: PictureError | None = None


@dataclass(frozen=True)
class Result:
    """The detections in the picture of a message.

    `id` identifies message and model: 32 hex digits, the same if a message is processed twice.
    `size` is (width, height) of the upright picture in pixels; `model` has name, version, digest.
    """

    id: str
    message: Message
    detections: tuple[Detection, ...]
    size: tuple[int, int]
    model: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the result as sinks write it: the form of web's responses, and its origin."""
        width, height = self.size
        return {
            "id": self.id,
            "source": self.message.source,
            "message": self.message.id,
            "added_at": round(self.message.added_at, 3),
            "data": [[item.label, item.score, list(item.box)] for item in self.detections],
            "image": {"width": width, "height": height},
            "model": dict(self.model),
            **({"fields": dict(self.message.fields)} if self.message.fields else {}),
        }


def result_id(message: Message, model_digest: str) -> str:
    """Return the id of the result for a message, whichever consumer processes it, and how often."""
    named = f"{message.source}\n{message.id}\n{model_digest}"
    # The name of a file may be no UTF-8, and then has surrogates.
    return hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()[:32]
