"""What every pod would otherwise make of a model for itself: made once, before any of them sees it.

In the same folder that services call CACHE_DIR, and in the same way as `elastic-yolo convert`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.artefacts import Shelf
from elastic_yolo.detector.conversion import make_int8, measure_precisions
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.errors import DetectorError
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.precision import read_report
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.provision.errors import NotPrepared
from elastic_yolo.provision.progress import ProgressReporter

_FLOATS = "openvino-fp32"


@dataclass(frozen=True)
class Preparation:
    """Fills the cache at `cache`, with an engine of so many threads."""

    cache: Path
    threads: int
    tell: ProgressReporter

    def prepare(self, folder: Path, pictures: Path | None) -> list[str]:
        """Make what the cache has not got yet for a model, and return what that was.

        The network in the engine's own form; with pictures, which calibrate and measure, also the
        8-bit version and what every precision costs here. Raises NotPrepared or OSError.
        """
        try:
            model = read_model(folder)
            return [*self._prepare_floats(model), *self._prepare_int8(model, pictures)]
        except DetectorError as error:
            raise NotPrepared(f"{model.name} cannot be prepared: {error}") from error

    def _prepare_floats(self, model: Model) -> list[str]:
        shelf = self._shelf(model)
        before = _written_ns(shelf)
        # Looks at what is there, and makes it anew if it is damaged or of an older library.
        build_engine(model, self._options("fp32"))
        after = _written_ns(shelf)
        if after is None:
            raise NotPrepared(f"{self.cache}: cannot be written to")
        return ["fp32"] if after != before else []

    def _prepare_int8(self, model: Model, pictures: Path | None) -> list[str]:
        if pictures is None:
            return []
        shelf = self._shelf(model)
        quantised = shelf.find(load.INT8, load.INT8_RECIPE) is not None
        measured = read_report(shelf, load.INT8_RECIPE) is not None
        if quantised and measured:
            return []
        samples = SampleFolder(pictures, model.network, self.tell.left_out)
        if not quantised:
            make_int8(model, samples, self.cache, self.tell.progress)
        measure_precisions(model, samples, self._options("auto"), self.tell.progress)
        return ["accuracy"] if quantised else ["int8", "accuracy"]

    def _shelf(self, model: Model) -> Shelf:
        return Shelf(self.cache, model.digest)

    def _options(self, precision: str) -> EngineOptions:
        return EngineOptions(threads=self.threads, precision=precision, cache=self.cache)


def _written_ns(shelf: Shelf) -> int | None:
    try:
        return (shelf.folder / f"{_FLOATS}.json").stat().st_mtime_ns
    except FileNotFoundError:
        return None
