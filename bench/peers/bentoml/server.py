"""BentoML: a service with several workers, each with several threads."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from bench.peers.work import read_settings

SETTINGS = read_settings()


@bentoml.service(
    workers=SETTINGS.workers,
    # One more than streams: it decodes while they are taken.
    threads=SETTINGS.streams + 1,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Detector:
    """The service; BentoML creates one in every worker."""

    def __init__(self) -> None:
        """Load the model."""
        self.detector = SETTINGS.load()

    @bentoml.api(route="/inference")
    def inference(self, picture: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """Return the detections of a picture, which BentoML passes as a file."""
        return {"data": self.detector.detect(picture.read_bytes(), SETTINGS.threshold)}


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = [sys.executable, "-m", "bentoml", "serve", "server:Detector"]
    os.execv(  # noqa: S606  # its own command, in its own environment
        sys.executable, [*command, "--host", "127.0.0.1", "--port", str(SETTINGS.port)]
    )
