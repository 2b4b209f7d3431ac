"""All models of this process by name, and the polling of their stores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from services.common.observe.logs import get_logger
from services.common.observe.telemetry import QueueLoad
from services.common.request.errors import UnknownModel
from services.inference.versions.drift import DriftWatch, VersionKey
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.model_source import ModelPath
from services.inference.versions.served_model import ServedModel
from services.inference.versions.traffic_split import TrafficSplit
from services.inference.versions.version_loader import VersionLoader, VersionRefused

_NO_QUEUE = QueueLoad(0, 0, 0.0)
# After this many polls every process has loaded what this process has.
_OUTGOING_POLLS = 4
# Poll interval assumed for `_OUTGOING_POLLS` if polling is disabled and `load` is called by hand.
_NO_POLL_S = 5.0


class ModelUnservable(Exception):
    """A model named by a variable cannot be served; the message begins with the variable."""


class Models:
    """All models; the first one, of MODEL_PATH, is the default."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        """Take the models by name."""
        self._models = models

    @classmethod
    def start(
        cls,
        paths: Mapping[str, ModelPath],
        loader: VersionLoader,
        metrics: ModelMetrics,
        poll_s: float,
        wait_s: float = 0.0,
    ) -> Models:
        """Load the models that the variables name; raises ModelUnservable for the first bad one."""
        models: dict[str, ServedModel] = {}
        for variable, path in paths.items():
            model = ServedModel(path, loader, metrics, _OUTGOING_POLLS * (poll_s or _NO_POLL_S))
            try:
                model.start(wait_s)
            except VersionRefused as error:
                variable_at_fault = "ENGINE" if error.reason == "engine" else variable
                raise ModelUnservable(f"{variable_at_fault}: {error}") from None
            if model.name in models:
                raise ModelUnservable(
                    f"{variable}: the model name {model.name!r} is already in use"
                )
            models[model.name] = model
        return cls(models)

    @property
    def names(self) -> list[str]:
        """The names of all models, loaded or not."""
        return list(self._models)

    @property
    def all(self) -> list[ServedModel]:
        """All models, loaded or not."""
        return list(self._models.values())

    @property
    def default(self) -> ServedModel:
        """The model of MODEL_PATH."""
        return self.all[0]

    def find_model(self, name: str) -> ServedModel:
        """Return a model by its name; raises UnknownModel."""
        if name not in self._models:
            available = ", ".join(repr(one) for one in self._models)
            raise UnknownModel(f"no model {name[:80]!r} here; available: {available}")
        return self._models[name]

    def current_split(self, name: str) -> TrafficSplit:
        """Return the versions that respond for a model now.

        Raises UnknownModel if there is no such model or it is unloaded.
        """
        split = self.find_model(name).split
        if split is None:
            raise UnknownModel(f"the model {name!r} is not loaded")
        return split

    def queue_load(self) -> QueueLoad:
        """Return the load of the fullest queue; every version has a queue."""
        loads = [version.scheduler.load for version in self._loaded()]
        return max(
            loads, key=lambda load: (load.waiting / load.limit, load.wait_s), default=_NO_QUEUE
        )

    def drift_watches(self) -> dict[VersionKey, DriftWatch]:
        """Return the drift counts of all loaded versions.

        Of two versions that differ only in their golden pictures, the first one's.
        """
        return {
            (version.name, version.version, version.digest): version.drift
            for version in reversed(self._loaded())
        }

    def _loaded(self) -> list[LoadedVersion]:
        splits = (model.split for model in self.all)
        return [version for split in splits if split is not None for version in split.loaded]

    async def poll_stores(self, every_s: float) -> None:
        """Poll the stores until cancelled; 0 returns immediately.

        Polling is the only way: NFS does not notify of changes. Each model has a task of its own,
        so that a store that hangs does not hold up the others.
        """
        if every_s:
            async with asyncio.TaskGroup() as pollers:
                for model in self.all:
                    pollers.create_task(_poll(model, every_s))

    async def partition(self) -> None:
        """Partition the engines of all models into streams."""
        for model in self.all:
            await model.partition()

    async def close(self) -> None:
        """Wait for the engines' last runs and close all versions."""
        for model in self.all:
            await model.close()


async def _poll(model: ServedModel, every_s: float) -> None:
    while True:
        # Jitter: a process is slower while it loads, so not all processes load together.
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311
        try:
            await model.refresh()
        except Exception:  # noqa: BLE001  # whatever it is, the current versions keep serving
            get_logger().exception("unexpected error", model=model.name)
