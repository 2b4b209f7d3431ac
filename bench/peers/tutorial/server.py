"""The design of the tutorial that this project started from: three Flask apps under gunicorn.

Each hands the picture on as base64 in JSON, with the library requests; the tensor takes the same
way. Better than there, connections are kept, and a worker has threads.
"""

from __future__ import annotations

import base64
import os
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import requests
from flask import Flask, jsonify, request

from bench.peers.work import Settings, read_settings
from elastic_yolo.detector.boxes import name_detections
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.prepare import prepare_picture

SETTINGS = read_settings()
_BUSY_THREADS = 9
_TIMEOUT_S = 60


class Behind:
    """The next service, on one connection per thread."""

    def __init__(self, url: str) -> None:
        """Take its URL."""
        self._url = f"{url}/inference"
        self._local = threading.local()

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Post JSON and return the JSON of the response."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            # A proxy of the environment has no business between us and loopback.
            self._local.session.trust_env = False
        response = self._local.session.post(self._url, json=question, timeout=_TIMEOUT_S)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


def web(settings: Settings) -> Flask:
    """Take a picture from a caller."""
    app, behind = Flask("web"), Behind(settings.behind)

    @app.post("/inference")
    def inference() -> Any:
        image = base64.b64encode(request.get_data()).decode("ascii")
        answer = behind.ask({"image": image, "uid": uuid4().hex})
        return jsonify(answer)

    return app


def preprocess(settings: Settings) -> Flask:
    """Prepare a picture for the network, and map its detections back to the picture."""
    app, behind = Flask("preprocess"), Behind(settings.behind)
    model = read_model(Path(settings.model))

    @app.post("/inference")
    def inference() -> Any:
        question = request.get_json()
        image, place = prepare_picture(base64.b64decode(question["image"]), model.input_format)
        tensor = base64.b64encode(image.tobytes()).decode("ascii")
        answer = behind.ask({"tensor": tensor, "shape": image.shape})
        rows = np.array(answer["rows"], np.float32).reshape(-1, 6)
        found = name_detections(place.to_picture(rows), model.labels)
        data = [[d.label, d.score, list(d.box)] for d in found]
        return jsonify({"data": data, "uid": question["uid"], "success": "true"})

    return app


def inference(settings: Settings) -> Flask:
    """Run the network."""
    app, detector = Flask("inference"), settings.load()

    @app.post("/inference")
    def infer() -> Any:
        question = request.get_json()
        pixels = np.frombuffer(base64.b64decode(question["tensor"]), np.uint8)
        rows = detector.find(pixels.reshape(1, *question["shape"]), settings.threshold)
        return jsonify({"rows": rows.tolist()})

    return app


def create_app() -> Flask:
    """Return this process's app; gunicorn calls it in every worker."""
    return {"web": web, "preprocess": preprocess, "inference": inference}[SETTINGS.tier](SETTINGS)


if __name__ == "__main__":
    os.execv(  # noqa: S606  # its own command, in its own environment
        sys.executable,
        [
            *(sys.executable, "-m", "gunicorn", "server:create_app()"),
            *("--bind", f"127.0.0.1:{SETTINGS.port}"),
            *("--workers", str(SETTINGS.workers)),
            *("--worker-class", "gthread", "--threads", str(_BUSY_THREADS)),
            *("--keep-alive", "75", "--log-level", "warning"),
        ],
    )
