"""The models of this process, by name, and the watch over the stores that they come from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from services.common.observe.logs import get_logger
from services.common.observe.telemetry import QueueLoad
from services.common.request.errors import UnknownModel
from services.inference.versions.drift import DriftWatch, Key
from services.inference.versions.loader import Loader, VersionRefused
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.place import ModelPlace
from services.inference.versions.served import ServedModel
from services.inference.versions.version import LoadedVersion

_NO_QUEUE = QueueLoad(0, 0, 0.0)
# In so many polls every process has noticed, and loaded, what this one has.
_LEAVING_POLLS = 4
# Where nobody polls, somebody goes from process to process.
_NO_POLL_S = 5.0


class PathRefused(Exception):
    """What a variable names cannot be served; the message begins with the variable."""


class Models:
    """All models; the default one, that of MODEL_PATH, is the first."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        """Take the models by name."""
        self._models = models

    @classmethod
    def start(
        cls,
        places: Mapping[str, ModelPlace],
        loader: Loader,
        metrics: ModelMetrics,
        poll_s: float,
        wait_s: float = 0.0,
    ) -> Models:
        """Load what the variables name; raises PathRefused with the first that cannot be served."""
        models: dict[str, ServedModel] = {}
        for variable, place in places.items():
            model = ServedModel(place, loader, metrics, _LEAVING_POLLS * (poll_s or _NO_POLL_S))
            try:
                model.start(wait_s)
            except VersionRefused as error:
                blamed = "ENGINE" if error.reason == "engine" else variable
                raise PathRefused(f"{blamed}: {error}") from None
            if model.name in models:
                raise PathRefused(f"{variable}: a second model that is called {model.name!r}")
            models[model.name] = model
        return cls(models)

    @property
    def names(self) -> list[str]:
        """The names of all, loaded or not."""
        return list(self._models)

    @property
    def all(self) -> list[ServedModel]:
        """All, loaded or not."""
        return list(self._models.values())

    @property
    def default(self) -> ServedModel:
        """The model of MODEL_PATH."""
        return self.all[0]

    def queue_load(self) -> QueueLoad:
        """Return how full the fullest of the queues is: each version has one."""
        loads = [version.scheduler.load for version in self._loaded()]
        return max(
            loads, key=lambda load: (load.waiting / load.limit, load.wait_s), default=_NO_QUEUE
        )

    def drift_watches(self) -> dict[Key, DriftWatch]:
        """Return the counts of all versions that are loaded.

        Of two that differ in nothing but their golden pictures, those of the first.
        """
        return {
            (version.name, version.version, version.digest): version.drift
            for version in reversed(self._loaded())
        }

    def _loaded(self) -> list[LoadedVersion]:
        lineups = (model.lineup for model in self.all if model.is_loaded)
        return [version for lineup in lineups for version in lineup.loaded]

    def get(self, name: str) -> ServedModel:
        """Return a model by its name; raises UnknownModel."""
        if name not in self._models:
            there = ", ".join(repr(one) for one in self._models)
            raise UnknownModel(f"no model {name[:80]!r} here; there is {there}")
        return self._models[name]

    async def watch(self, every_s: float) -> None:
        """Follow the stores until cancelled. They are polled: NFS tells nobody of a change.

        One task a model: the store of one may hang.
        """
        if every_s:
            async with asyncio.TaskGroup() as watches:
                for model in self.all:
                    watches.create_task(_watch(model, every_s))

    async def prepare(self) -> None:
        """Get all ready for several requests at once."""
        for model in self.all:
            await model.prepare()

    async def close(self) -> None:
        """Finish what runs and stop all threads."""
        for model in self.all:
            await model.close()


async def _watch(model: ServedModel, every_s: float) -> None:
    while True:
        # Not all processes at the same moment: those that load are slower meanwhile.
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311
        try:
            await model.refresh()
        except Exception:  # noqa: BLE001  # whatever it is, the version before serves on
            get_logger().exception("unexpected error", model=model.name)
