"""Find the fastest precision of every version in the background, and switch to it.

A version starts in the precision that the cache's report allows, which is fp32 without a report.
What the report lacks is measured in two steps: bf16 and fp16 on a few pictures, int8 on more of
them. After each step the version switches to the fastest precision within the accuracy budget. A
step that fails is not repeated by this process; one that finds too few usable pictures waits for
more pictures of requests.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import offered_precisions
from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.precision import (
    ExecutionTarget,
    Report,
    choose_precision,
    read_report,
)
from services.common.observe.logs import get_logger
from services.inference.measuring.plan import (
    Step,
    count_pictures,
    measuring_threads,
    next_step,
)
from services.inference.measuring.process import (
    AlreadyMeasuring,
    MeasurementFailed,
    MeasuringProcess,
    TooFewPictures,
)
from services.inference.measuring.task import Task
from services.inference.versions.daemon_thread import run_in_daemon_thread
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.version_loader import VersionRefused

if TYPE_CHECKING:
    from services.inference.versions.models import Models
    from services.inference.versions.served_model import ServedModel

_POLL_S = 1.0


@dataclass
class _State:
    """What this process knows about the files of a version."""

    offered: tuple[str, ...]
    target: ExecutionTarget
    failed: set[Step] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    waiting_for: Step | None = None
    tried: bool = False
    done: bool = False


class PrecisionSearch:
    """Measures one version at a time. Its state belongs to the event loop."""

    def __init__(self, models: Models, cache: Path, threads: int, folder: Path | None) -> None:
        """Fill `cache`; `threads` are those of the service, `folder` is CALIBRATION_DIR."""
        self._models = models
        self._cache = cache.absolute()
        self._threads = measuring_threads(threads)
        self._folder = None if folder is None else folder.absolute()
        self._folder_pictures = 0 if folder is None else count_pictures(folder)
        self._states: dict[str, _State] = {}
        self._process = MeasuringProcess()
        self._closed = False

    async def run(self) -> None:
        """Measure and switch until cancelled; `close` must be called before."""
        while True:
            current = [(model, one) for model in self._models.all for one in model.current_versions]
            for model, version in current:
                await self._advance_safely(model, version)
            keys = {key_of(version) for _, version in current}
            self._states = {key: one for key, one in self._states.items() if key in keys}
            await asyncio.sleep(_POLL_S)

    def close(self) -> None:
        """Kill the measuring process, if there is one, and start no other."""
        self._closed = True
        self._process.close()

    async def _advance_safely(self, model: ServedModel, version: LoadedVersion) -> None:
        try:
            await self._advance(model, version)
        except Exception:  # noqa: BLE001  # whatever it is, the version keeps serving as it is
            get_logger().exception("unexpected error", model=model.name)
            state = self._states.get(key_of(version))
            if state is not None:
                self._end(version, state)

    async def _advance(self, model: ServedModel, version: LoadedVersion) -> None:
        """Switch a version to the best measured precision, or begin what is not measured yet."""
        state = self._state(version)
        if state.done:
            self._end(version, state)
            return
        report = await self._read_report(version)
        if report is not None:
            budget = version.detector.model.accuracy_budget
            precision, _ = choose_precision(report, budget, state.target)
            if precision not in (version.precision, *state.refused):
                await self._switch(model, version, report, precision)
                return
        step = next_step(report, state.target, state.offered, state.failed)
        if step is None:
            self._end(version, state)
        elif self._pictures_for(version) >= step.required:
            await self._measure(version, step)
        elif state.waiting_for != step:
            self._log_waiting(version, step)

    async def _measure(self, version: LoadedVersion, step: Step) -> None:
        engine, model = version.detector.engine, version.detector.model
        images: Sequence[Image] = [] if version.pictures is None else version.pictures.images
        task = Task(
            parent=os.getpid(),
            model=model.folder.absolute(),
            cache_key=model.cache_key,
            cache=self._cache,
            engine=engine.name,
            device=engine.device,
            threads=self._threads,
            precisions=step.precisions,
            folder=self._folder,
            required=step.required,
            received=len(images),
        )
        facts: dict[str, object] = {**version.facts(), "precisions": step.precisions}
        state = self._states[key_of(version)]
        state.tried = True
        measured: list[bool] = []
        try:
            await run_in_daemon_thread(
                lambda: measured.append(self._process.run(task, images)),
                f"measuring {version.name}",
                slow_s=None,
            )
        except AlreadyMeasuring:
            # Its report is read at a later poll.
            return
        except TooFewPictures as error:
            # Tried again once pictures of requests make up for the unusable files of the folder.
            self._folder_pictures = error.in_folder
            self._log_waiting(version, step, why=str(error))
        except MeasurementFailed as error:
            if self._closed:
                return
            state.failed.add(step)
            get_logger().warning(
                "precision not measured; this process does not try again",
                **facts,
                why=str(error),
                serving=version.precision,
            )
        else:
            if measured[0]:
                await self._log_measured(version, facts)

    def _log_waiting(self, version: LoadedVersion, step: Step, **why: str) -> None:
        self._states[key_of(version)].waiting_for = step
        get_logger().info(
            "precision not measured yet: too few pictures",
            **version.facts(),
            precisions=step.precisions,
            pictures=self._pictures_for(version),
            required=step.required,
            **why,
        )

    async def _log_measured(self, version: LoadedVersion, facts: dict[str, object]) -> None:
        report = await self._read_report(version)
        rows = [] if report is None else report.rows
        measured = {row.precision: {"ms": row.ms, "loss": row.loss} for row in rows}
        get_logger().info("precision measured", **facts, measured=measured)

    async def _switch(
        self, model: ServedModel, version: LoadedVersion, report: Report, precision: str
    ) -> None:
        state = self._states[key_of(version)]
        state.tried = True
        try:
            switched = await model.switch_precision(version, precision)
        except VersionRefused as error:
            state.refused.add(precision)
            get_logger().warning(
                "precision refused", **version.facts(), precision=precision, why=str(error)
            )
        else:
            if switched is not None:
                _log_switch(version, switched, report, state.target)

    async def _read_report(self, version: LoadedVersion) -> Report | None:
        found: list[Report | None] = []
        model_cache = ModelCache(self._cache, key_of(version))

        def read() -> None:
            try:
                found.append(read_report(model_cache, load.INT8_RECIPE))
            except ArtefactDamaged:
                # Measured again: the cache is only a cache.
                found.append(None)

        await run_in_daemon_thread(read, f"reading the accuracy report of {version.name}")
        return found[0]

    def _state(self, version: LoadedVersion) -> _State:
        if key_of(version) not in self._states:
            engine = version.detector.engine
            offered = offered_precisions(engine.name, engine.device)
            target = ExecutionTarget(engine.name, engine.device, offered, describe_cpu())
            if "int8" in offered and not self._can_make_int8(version):
                offered = tuple(name for name in offered if name != "int8")
                get_logger().info(
                    "int8 is not measured: openvino is not installed", **version.facts()
                )
            self._states[key_of(version)] = _State(offered, target)
        return self._states[key_of(version)]

    def _can_make_int8(self, version: LoadedVersion) -> bool:
        made = ModelCache(self._cache, key_of(version)).folder / f"{load.INT8}.json"
        return find_spec("openvino") is not None or made.exists()

    def _pictures_for(self, version: LoadedVersion) -> int:
        return self._folder_pictures + (0 if version.pictures is None else len(version.pictures))

    def _end(self, version: LoadedVersion, state: _State) -> None:
        if state.tried and not state.done:
            get_logger().info("precision settled", **version.facts(), precision=version.precision)
        state.done = True
        if version.pictures is not None:
            version.pictures.close()


def key_of(version: LoadedVersion) -> str:
    """Return what identifies a version's files, and how pictures are prepared for it."""
    return version.detector.model.cache_key


def _log_switch(
    before: LoadedVersion, now: LoadedVersion, report: Report, target: ExecutionTarget
) -> None:
    rows = {row.precision: row for row in report.rows if target.matches(row)}
    new, old = rows.get(now.precision), rows.get(before.precision)
    get_logger().info(
        "precision switched",
        **now.facts(),
        before=before.precision,
        precision=now.precision,
        before_ms=None if old is None else old.ms,
        ms=None if new is None else new.ms,
        loss=None if new is None else new.loss,
        budget=now.detector.model.accuracy_budget,
        pictures=report.pictures,
        objects=report.objects,
    )
