"""An MLflow server, and a client that registers models through its REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from tests.support.registries import program, running


@contextmanager
def tracking_server(folder: Path) -> Iterator[int]:
    """Run a server that serves artifacts itself; yields its port."""
    port = free_port()
    command = [
        program("bin/mlflow"),
        "server",
        *("--host", LOOPBACK, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.sqlite"),
        *("--serve-artifacts", "--artifacts-destination", folder / "artifacts"),
    ]
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with running(command, port, "/health", folder, env):
        yield port


@dataclass(frozen=True)
class Registrar:
    """Registers models in the server on `port`."""

    port: int

    def call(self, path: str, *, method: str = "POST", **stated: Any) -> dict[str, Any]:
        address = f"http://{LOOPBACK}:{self.port}/api/2.0/mlflow/{path}"
        answer = httpx.request(method, address, json=stated, trust_env=False, timeout=30)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def run(self, experiment: str = "0") -> tuple[str, str]:
        """Create a run; returns its id and its artifact location."""
        info = self.call("runs/create", experiment_id=experiment, start_time=1)["run"]["info"]
        return info["run_id"], info["artifact_uri"]

    def experiment(self, name: str, location: str) -> str:
        """Create an experiment whose runs keep their files at `location`."""
        found = self.call("experiments/create", name=name, artifact_location=location)
        return str(found["experiment_id"])

    def upload(self, place: str, files: Mapping[str, bytes]) -> None:
        """Upload files to an mlflow-artifacts: address."""
        path = place.removeprefix("mlflow-artifacts:/")
        base = f"http://{LOOPBACK}:{self.port}/api/2.0/mlflow-artifacts/artifacts"
        for name, content in files.items():
            address = f"{base}/{path}/{name}"
            httpx.put(address, content=content, trust_env=False, timeout=30).raise_for_status()

    def version(self, name: str, source: str, **stated: Any) -> str:
        """Register the files at `source` as the next version of a model."""
        try:
            self.call("registered-models/create", name=name)
        except httpx.HTTPStatusError as error:
            if error.response.json()["error_code"] != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self.call("model-versions/create", name=name, source=source, **stated)
        return str(found["model_version"]["version"])

    def of_run(self, name: str, files: Mapping[str, bytes]) -> str:
        """Register the files of a run, as in MLflow 2."""
        run, place = self.run()
        self.upload(place, files)
        return self.version(name, place, run_id=run)

    def of_logged_model(self, name: str, files: Mapping[str, bytes]) -> str:
        """Register the files of a logged model, as in MLflow 3."""
        info = self.call("logged-models", experiment_id="0", name="logged")["model"]["info"]
        self.upload(info["artifact_uri"], files)
        model = info["model_id"]
        return self.version(name, f"models:/{model}", model_id=model)

    def alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self.call("registered-models/alias", name=name, alias=alias, version=version)

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        self.call("model-versions/set-tag", name=name, version=version, key=key, value=value)
