"""Inference services that measure precisions in the background, and what they log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import httpx
import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, offered_precisions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.lab.processes.process_tree import family
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Service, free_port
from services.inference.protocol import HEADER_LENGTH
from tests.support.log_lines import read_log
from tests.support.waiting import wait_until

DEMO = "yolov3-tiny-emoji"
THREADS = 2
# A busy machine lets the measuring process wait.
PATIENCE_S = 240


def demo_images() -> list[Image]:
    """Return 64 pictures as the demo model's input: its scenes, mirrored and upside down too."""
    samples = SampleFolder(ROOT / "client" / "images", read_model(DEMO_MODEL), print)
    mirrored = (turned for image in samples for turned in (image, image[:, ::-1]))
    return [turned for image in mirrored for turned in (image, image[::-1])]


def write_pictures(folder: Path, images: Sequence[Image]) -> Path:
    """Write pictures as files and return their folder."""
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.ascontiguousarray(image[:, :, ::-1]))
    return folder


@contextmanager
def measuring(
    folder: Path, cache: Path, calibration: Path | None = None, *, hurry: bool = True, **env: str
) -> Iterator[Service]:
    """Run an inference service with the demo model, by default; its log is FOLDER/log.

    With `hurry` its measuring process gets a normal priority, so that a busy machine does not delay
    the test; that needs root.
    """
    folder.mkdir(exist_ok=True)
    settings = {
        "MODEL_PATH": str(DEMO_MODEL),
        "CACHE_DIR": str(cache),
        "ENGINE": "openvino",
        "DEVICE": "cpu",
        "THREADS": str(THREADS),
        **({} if calibration is None else {"CALIBRATION_DIR": str(calibration)}),
        **env,
    }
    with Service("inference", free_port(), settings, folder / "log") as service:
        service.wait_ready()
        ended = Event()
        hurrying = Thread(target=_raise_priority, args=(service, ended))
        if hurry:
            hurrying.start()
        try:
            yield service
        finally:
            ended.set()
            if hurry:
                hurrying.join()


def _raise_priority(service: Service, ended: Event) -> None:
    while not ended.wait(0.05):
        for thread in threads_of(measuring_pids(service)):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, 0)


def threads_of(pids: Sequence[int]) -> list[int]:
    """Return the ids of all threads of processes."""
    folders = (Path(f"/proc/{pid}/task") for pid in pids)
    return [int(task.name) for folder in folders if folder.exists() for task in folder.iterdir()]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the log lines of one kind."""
    return [found for found in read_log(folder / "log") if found["event"] == name]


def wait_for_event(folder: Path, name: str, count: int = 1) -> None:
    """Return as soon as the log has so many lines of one kind."""
    wait_until(lambda: len(events(folder, name)) >= count, f"{count} x {name}", PATIENCE_S)


def precision(service: Service, model: str = DEMO) -> str:
    """Return the precision that the model's metadata states."""
    url = f"{service.url}/v2/models/{model}"
    return str(httpx.get(url, timeout=30).json()["parameters"]["precision"])


def infer(service: Service, image: Image, model: str = DEMO) -> httpx.Response:
    """Send a picture in the binary tensor extension."""
    images = np.ascontiguousarray(image[np.newaxis])
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": images.shape,
        "parameters": {"binary_data_size": images.nbytes},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    return httpx.post(
        f"{service.url}/v2/models/{model}/infer",
        content=head + images.tobytes(),
        headers={HEADER_LENGTH: str(len(head))},
        timeout=60,
    )


def rows(response: httpx.Response) -> Floats:
    """Return a response's detections, (k, 6) float32."""
    outputs = {one["name"]: one["data"] for one in response.json()["outputs"]}
    return np.array(outputs["detections"], np.float32).reshape(-1, 6)


def detectors(model: Path, cache: Path) -> dict[str, Detector]:
    """Return the model in every precision of this machine's CPU; int8 comes from the cache."""
    options = {
        name: EngineOptions(THREADS, "openvino", name, "cpu", cache)
        for name in offered_precisions("openvino", "cpu")
    }
    return {name: load_detector(model, one)[0] for name, one in options.items()}


def agrees(detector: Detector, image: Image, found: Floats) -> bool:
    """Return whether a detector finds the same in a picture: to 0.1 px and 0.001 of score."""
    model = detector.model
    (own,) = detector.postprocess(detector.execute(image[np.newaxis]), model.threshold, model.iou)
    return (
        own.shape == found.shape
        and np.allclose(own[:, :4], found[:, :4], atol=0.1)
        and np.allclose(own[:, 4:], found[:, 4:], atol=0.001)
    )


def measuring_pids(service: Service) -> list[int]:
    """Return the process ids of a service's child processes."""
    return [pid for pid in family(service.process.pid) if pid != service.process.pid]
