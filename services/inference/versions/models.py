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

DEFAULT_MODEL = "MODEL_PATH"
_NO_QUEUE = QueueLoad(0, 0, 0.0)
# After this many polls every process has loaded what this process has.
_OUTGOING_POLLS = 4
# Poll interval assumed for `_OUTGOING_POLLS` if polling is disabled and `load` is called by hand.
_NO_POLL_S = 5.0


class ModelUnservable(Exception):
    """A model named by a variable cannot be served; the message begins with the variable."""


class Models:
    """All models; the first one, of MODEL_PATH, is the default.

    A model answers to its own name, and to the NAME of the variable MODEL_<NAME>_PATH.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], aliases: Mapping[str, str] | None = None
    ) -> None:
        """Take the models by name; `aliases` maps further names, as `_fold` returns them."""
        self._models = models
        self._aliases = aliases or {}

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
        variables: dict[str, str] = {}
        for variable, path in paths.items():
            model = ServedModel(path, loader, metrics, _OUTGOING_POLLS * (poll_s or _NO_POLL_S))
            try:
                model.start(wait_s)
            except VersionRefused as error:
                variable_at_fault = "ENGINE" if error.reason == "engine" else variable
                raise ModelUnservable(f"{variable_at_fault}: {error}") from None
            if model.name in models:
                raise ModelUnservable(
                    f"{variable}: the model name {model.name!r} is already in use, "
                    f"by {variables[model.name]}"
                )
            models[model.name] = model
            variables[model.name] = variable
        return cls(models, _aliases(variables))

    @property
    def names(self) -> list[str]:
        """The own names of all models, loaded or not."""
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
        """Return a model by its own name or by its variable's; raises UnknownModel."""
        own = name if name in self._models else self._aliases.get(_fold(name))
        if own is None:
            available = ", ".join(repr(one) for one in self._models)
            raise UnknownModel(f"no model {name[:80]!r} here; available: {available}")
        return self._models[own]

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
        loads = [version.scheduler.load for version in self.loaded]
        return max(
            loads, key=lambda load: (load.waiting / load.limit, load.wait_s), default=_NO_QUEUE
        )

    def drift_watches(self) -> dict[VersionKey, DriftWatch]:
        """Return the drift counts of all loaded versions.

        Of two versions that differ only in their golden pictures, the first one's.
        """
        return {
            (version.name, version.version, version.digest): version.drift
            for version in reversed(self.loaded)
        }

    @property
    def loaded(self) -> list[LoadedVersion]:
        """All versions in memory: those of all models that may respond, and the shadows."""
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


def _aliases(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the own name of each model by the NAME in its variable MODEL_<NAME>_PATH.

    `variables` has the variable of each own name. Raises ModelUnservable if a NAME is the own name
    of another model: a request could mean either.
    """
    aliases: dict[str, str] = {}
    for own, variable in variables.items():
        alias = _fold(variable.removeprefix("MODEL_").removesuffix("_PATH"))
        if variable == DEFAULT_MODEL:
            continue
        for other, of_other in variables.items():
            if other != own and _fold(other) == alias:
                raise ModelUnservable(
                    f"{variable} and {of_other}: both models would answer to {other!r}: rename "
                    f"{variable}, or set another name in the model.yaml of {of_other}"
                )
        aliases[alias] = own
    return aliases


def _fold(name: str) -> str:
    """Return a name in the form that is compared: variables have no small letters and no `-`."""
    return name.lower().replace("-", "_")


async def _poll(model: ServedModel, every_s: float) -> None:
    while True:
        # Jitter: a process is slower while it loads, so not all processes load together.
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311
        try:
            await model.refresh()
        except Exception:  # noqa: BLE001  # whatever it is, the current versions keep serving
            get_logger().exception("unexpected error", model=model.name)
