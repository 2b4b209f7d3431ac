"""Run a batch: detect in order, write in shards, and note after each how far it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event

from elastic_yolo.batch.detecting import Detecting, Outcome, in_order, read_patiently
from elastic_yolo.batch.errors import Interrupted, TooManyBad
from elastic_yolo.batch.formats import (
    DRAWN,
    Encode,
    Row,
    drawn_name,
    error_file_name,
    errors_jsonl,
    file_name,
)
from elastic_yolo.batch.job import CHECKPOINT, MANIFEST, Checkpoint, Manifest, write_checkpoint
from elastic_yolo.batch.pictures import Pictures
from elastic_yolo.batch.storage import Output
from elastic_yolo.detector.decode import decode_upright
from elastic_yolo.detector.detector import available_cpus
from elastic_yolo.detector.parallel import Found
from elastic_yolo.picture.drawing import draw_boxes
from elastic_yolo.picture.drawn_types import JPEG
from elastic_yolo.picture.errors import PictureError

ERRORS = "errors.jsonl"
# A slow network notes how far it is by time: a killed job repeats no more than this.
_SHARD_S = 60.0

Progress = Callable[[int, int, int], None]
"""Called with the number of pictures done, of all, and of bad ones."""


@dataclass(frozen=True)
class Limits:
    """How large a shard becomes, and how many bad pictures are accepted; None is any number."""

    shard_pictures: int = 1000
    bad: int | None = None


@dataclass
class _Shard:
    """The results that are not written yet."""

    started: float = field(default_factory=time.monotonic)
    rows: list[Row] = field(default_factory=list)
    bad: list[tuple[str, Exception]] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return len(self.rows) + len(self.bad)


class Batch:
    """One job of a process: its pictures, its output folder and its checkpoint."""

    def __init__(
        self,
        address: str,
        pictures: Pictures,
        output: Output,
        encoders: Mapping[str, Encode],
        checkpoint: Checkpoint,
        limits: Limits,
    ) -> None:
        """Prepare a job that is as far as `checkpoint` says.

        `address` is that of the input, for the manifest; `output` is the job's own folder.
        """
        self.checkpoint = checkpoint
        self._address = address
        self._pictures = pictures
        self._output = output
        self._encoders = encoders
        self._limits = limits
        self._drawn = DRAWN in checkpoint.job.formats
        self._started = time.monotonic()
        self._seconds_before = checkpoint.seconds

    def run(self, detecting: Detecting, progress: Progress, stop: Event) -> Manifest:
        """Detect in the pictures that are left, and write everything.

        Raises Interrupted once `stop` is set, TooManyBad, StorageFailed, OSError, and what the
        engine raises. What was done is written before.
        """
        numbers = self.checkpoint.job.numbers()[self.checkpoint.done :]
        if detecting.engine not in self.checkpoint.engines:
            self.checkpoint.engines.append(detecting.engine)
        # One thread writes, so that the engine does not wait for a disk or an upload.
        with ThreadPoolExecutor(1, "write") as writer:
            self._work(self._outcomes(detecting, numbers, stop), writer, progress)
        if not self.checkpoint.finished:
            raise Interrupted(
                f"stopped after {self.checkpoint.done:,} of {len(self.checkpoint.job.numbers()):,} "
                "pictures: run the same command again to go on"
            )
        return self.finish()

    def _work(
        self,
        outcomes: Iterator[tuple[int, Outcome]],
        writer: ThreadPoolExecutor,
        progress: Progress,
    ) -> None:
        shard, before = _Shard(), self.checkpoint
        done, bad, total = before.done, before.bad, len(before.job.numbers())
        writing: Future[None] | None = None
        try:
            for number, outcome in outcomes:
                self._add(shard, number, outcome)
                done, bad = done + 1, bad + (not isinstance(outcome, Found))
                progress(done, total, bad)
                if self._limits.bad is not None and bad > self._limits.bad:
                    raise TooManyBad(self._too_many(shard))
                if self._is_full(shard):
                    if writing is not None:
                        # At most one shard waits: memory stays bounded if writing is slow.
                        writing.result()
                    writing, shard = writer.submit(self._commit, shard), _Shard()
        finally:
            if writing is not None:
                writing.result()
            if shard.pictures:
                self._commit(shard)

    def _outcomes(
        self, detecting: Detecting, numbers: Iterable[int], stop: Event
    ) -> Iterator[tuple[int, Outcome]]:
        found = detecting.outcomes(numbers, stop)
        if not self._drawn:
            yield from found
            return
        cpus = available_cpus()
        with ThreadPoolExecutor(cpus, "draw") as drawing:

            def submit(item: tuple[int, Outcome]) -> Future[Outcome]:
                return drawing.submit(self._draw, *item, stop)

            for (number, _), future in in_order(found, submit, 2 * cpus, stop):
                yield number, future.result()

    def _draw(self, number: int, outcome: Outcome, stop: Event) -> Outcome:
        """Write a picture with its boxes; return the outcome, or why it cannot be drawn."""
        if not isinstance(outcome, Found):
            return outcome
        boxes = [(item.label, item.score, item.box) for item in outcome.detections]
        try:
            content = read_patiently(self._pictures, number, stop)
            drawn = draw_boxes(decode_upright(content), boxes, JPEG)
        except (PictureError, OSError) as error:
            return error
        self._output.write(drawn_name(self._pictures.names[number]), drawn)
        return outcome

    def _add(self, shard: _Shard, number: int, outcome: Outcome) -> None:
        name = self._pictures.names[number]
        if isinstance(outcome, Found):
            shard.rows.append(Row(number, name, outcome))
        else:
            shard.bad.append((name, outcome))

    def _is_full(self, shard: _Shard) -> bool:
        late = time.monotonic() - shard.started >= _SHARD_S
        return shard.pictures >= self._limits.shard_pictures or (late and shard.pictures > 0)

    def _commit(self, shard: _Shard) -> None:
        """Write a shard under its final names, then that it is done."""
        checkpoint = self.checkpoint
        number = len(checkpoint.shards)
        for form, encode in self._encoders.items():
            self._output.write(file_name(form, number), encode(shard.rows))
        if shard.bad:
            content = errors_jsonl(shard.bad)
            self._output.write(error_file_name(number), content)
            checkpoint.bad_shards.append(number)
        found = Counter(item.label for row in shard.rows for item in row.found.detections)
        checkpoint.labels = dict((Counter(checkpoint.labels) + found).most_common())
        checkpoint.detections += found.total()
        checkpoint.shards.append(shard.pictures)
        checkpoint.done += shard.pictures
        checkpoint.bad += len(shard.bad)
        checkpoint.seconds = self._seconds_before + time.monotonic() - self._started
        write_checkpoint(self._output, checkpoint)

    def _too_many(self, shard: _Shard) -> str:
        name, error = shard.bad[-1]
        return (
            f"more than {self._limits.bad:,} bad pictures (--max-errors), the last one {name}: "
            f"{error}"
        )

    def finish(self) -> Manifest:
        """Write the errors of all shards and the manifest, and remove what only resuming needs."""
        parts = [error_file_name(one) for one in self.checkpoint.bad_shards]
        written = self._output.read(MANIFEST)
        if written is None:
            errors = b"".join(self._output.read(part) or b"" for part in parts)
            self._output.write(ERRORS, errors)
            manifest = self._manifest()
            content = manifest.model_dump_json(indent=2).encode()
            self._output.write(MANIFEST, content)
        else:
            manifest = Manifest.model_validate_json(written)
        for part in (*parts, CHECKPOINT):
            self._output.remove(part)
        return manifest

    def _manifest(self) -> Manifest:
        checkpoint, job = self.checkpoint, self.checkpoint.job
        files = {
            form: [file_name(form, number) for number in range(len(checkpoint.shards))]
            for form in self._encoders
        }
        return Manifest(
            input=self._address,
            model={"name": job.model, "version": job.version, "digest": job.digest},
            pictures=checkpoint.done,
            results=checkpoint.done - checkpoint.bad,
            errors=checkpoint.bad,
            detections=checkpoint.detections,
            labels=checkpoint.labels,
            files={**files, **({DRAWN: ["drawn"]} if self._drawn else {}), "errors": [ERRORS]},
            engines=checkpoint.engines,
            seconds=round(checkpoint.seconds, 3),
            pictures_per_s=round(checkpoint.done / max(checkpoint.seconds, 1e-9), 2),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            checkpoint=checkpoint,
        )
