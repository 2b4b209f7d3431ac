"""Prepare the artefact cache of a model once, so that pods do not do it at every start.

Writes the same artefacts as `elastic-yolo convert` and the services, to the folder that services
know as CACHE_DIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.conversion import make_int8, measure_precisions
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.errors import DetectorError
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.precision import read_report
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.provision.cache import note_owner
from elastic_yolo.provision.errors import NotPrepared
from elastic_yolo.provision.progress import ProgressReporter
from elastic_yolo.store.layout import Layout
from elastic_yolo.write_errors import describe_write_error


@dataclass(frozen=True)
class Preparation:
    """Fills the folder `cache` for the store at `layout`, with an engine of `threads` threads."""

    cache: Path
    layout: Layout
    threads: int
    reporter: ProgressReporter

    def prepare(self, folder: Path, pictures: Path | None) -> list[str]:
        """Make the artefacts that the cache lacks for a model; returns their names.

        These are the network in the engine's format, and with `pictures` also the int8 version and
        the accuracy report. Raises NotPrepared or OSError.
        """
        try:
            model = read_model(folder)
            self._claim_folder(self._model_cache(model))
            return [*self._prepare_floats(model), *self._prepare_int8(model, pictures)]
        except DetectorError as error:
            raise NotPrepared(f"{model.name} cannot be prepared: {error}") from error

    def _claim_folder(self, model_cache: ModelCache) -> None:
        try:
            model_cache.create_folder()
            note_owner(model_cache.folder, self.layout)
        except OSError as error:
            raise NotPrepared(describe_write_error(self.cache, error)) from error

    def _prepare_floats(self, model: Model) -> list[str]:
        model_cache = self._model_cache(model)
        before = _written_ns(model_cache)
        # Checks the cached artefact, and makes it again if it is damaged or from an older library.
        build_engine(model, self._options("fp32"))
        after = _written_ns(model_cache)
        if after is None:
            # The engine works without a cache, and logs why it has none. Here that is an error.
            try:
                load.publish_floats(model, self.cache)
            except OSError as error:
                raise NotPrepared(describe_write_error(self.cache, error)) from error
        return ["fp32"] if after != before else []

    def _prepare_int8(self, model: Model, pictures: Path | None) -> list[str]:
        if pictures is None:
            return []
        model_cache = self._model_cache(model)
        quantised = model_cache.load(load.INT8, load.INT8_RECIPE) is not None
        measured = read_report(model_cache, load.INT8_RECIPE) is not None
        if quantised and measured:
            return []
        samples = SampleFolder(pictures, model, self.reporter.skipped)
        if not quantised:
            make_int8(model, samples, self.cache, self.reporter.progress)
        measure_precisions(model, samples, self._options("auto"), self.reporter.progress)
        return ["accuracy"] if quantised else ["int8", "accuracy"]

    def _model_cache(self, model: Model) -> ModelCache:
        return ModelCache(self.cache, model.cache_key)

    def _options(self, precision: str) -> EngineOptions:
        return EngineOptions(threads=self.threads, precision=precision, cache=self.cache)


def _written_ns(model_cache: ModelCache) -> int | None:
    try:
        return (model_cache.folder / f"{load.OPENVINO_FLOATS}.json").stat().st_mtime_ns
    except FileNotFoundError:
        return None
