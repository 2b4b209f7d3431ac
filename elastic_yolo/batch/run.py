"""Run a batch: detect in order, write in shards, and note after each how far it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event

from elastic_yolo.batch.detecting import BadPicture, Detecting, Outcome, Outcomes
from elastic_yolo.batch.drawing import Drawing
from elastic_yolo.batch.errors import Interrupted, OtherJob, TooManyBad
from elastic_yolo.batch.formats import (
    DRAWN,
    Encode,
    Row,
    as_utf8,
    encode_errors,
    error_file_name,
    file_name,
)
from elastic_yolo.batch.job import CHECKPOINT, MANIFEST, Checkpoint, Manifest, write_checkpoint
from elastic_yolo.batch.output import Output
from elastic_yolo.batch.pictures import Pictures
from elastic_yolo.detector.parallel import Found
from elastic_yolo.progress import counted

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
    bad: list[tuple[str, BadPicture]] = field(default_factory=list)

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

        `address` is that of the input, for the manifest; `output` is the job's own folder. Raises
        TooManyBad if an earlier run found more bad pictures than `limits` has.
        """
        self.checkpoint = checkpoint
        self._address = address
        self._pictures = pictures
        self._output = output
        self._encoders = encoders
        self._limits = limits
        self._started = time.monotonic()
        self._seconds_before = checkpoint.seconds
        self._require_few(checkpoint.bad, "")

    def run(self, detecting: Detecting, progress: Progress, stop: Event) -> Manifest:
        """Detect in the pictures that are left, and write everything.

        Raises Interrupted once `stop` is set, TooManyBad, StorageFailed, OSError, and what the
        engine raises. What was done is written before.
        """
        self._started = time.monotonic()
        # Shows at once whether the folder can be written to.
        write_checkpoint(self._output, self.checkpoint)
        # A killed run may have written it, and this one may find no bad picture.
        self._output.remove(error_file_name(len(self.checkpoint.shards)))
        # One thread writes, so that the engine does not wait for a disk or an upload.
        with ThreadPoolExecutor(1, "write") as writer:
            self._work(detecting, writer, progress, stop)
        if not self.checkpoint.finished:
            raise Interrupted(
                f"stopped after {self.checkpoint.done:,} of "
                f"{counted(len(self.checkpoint.job.numbers()), 'picture')}: "
                "run the same command again to go on"
            )
        return self.finish()

    def _work(
        self, detecting: Detecting, writer: ThreadPoolExecutor, progress: Progress, stop: Event
    ) -> None:
        shard, before = _Shard(), self.checkpoint
        done, bad, total = before.done, before.bad, len(before.job.numbers())
        writing: Future[None] | None = None
        try:
            with closing(self._outcomes(detecting, stop)) as outcomes:
                for number, outcome in outcomes:
                    self._add(shard, number, outcome)
                    done, bad = done + 1, bad + isinstance(outcome, BadPicture)
                    progress(done, total, bad)
                    if isinstance(outcome, BadPicture):
                        name = self._pictures.names[number]
                        self._require_few(bad, f", the last one {name}: {outcome.reason}")
                    if self._is_full(shard):
                        if writing is not None:
                            # At most one shard waits: memory stays bounded if writing is slow.
                            writing.result()
                        writing = writer.submit(self._commit, shard, detecting.engine)
                        shard = _Shard()
        finally:
            if writing is not None:
                writing.result()
            if shard.pictures:
                self._commit(shard, detecting.engine)

    def _outcomes(self, detecting: Detecting, stop: Event) -> Outcomes:
        numbers = self.checkpoint.job.numbers()[self.checkpoint.done :]
        with closing(detecting.outcomes(numbers, stop)) as found:
            if DRAWN in self.checkpoint.job.formats:
                with closing(Drawing(self._pictures, self._output).drawn(found, stop)) as drawn:
                    yield from drawn
            else:
                yield from found

    def _add(self, shard: _Shard, number: int, outcome: Outcome) -> None:
        name = self._pictures.names[number]
        if isinstance(outcome, Found):
            shard.rows.append(Row(number, name, outcome))
        else:
            shard.bad.append((name, outcome))

    def _is_full(self, shard: _Shard) -> bool:
        late = time.monotonic() - shard.started >= _SHARD_S
        return shard.pictures >= self._limits.shard_pictures or (late and shard.pictures > 0)

    def _require_few(self, bad: int, last: str) -> None:
        if self._limits.bad is not None and bad > self._limits.bad:
            raise TooManyBad(
                f"{counted(bad, 'bad picture')}, more than --max-errors {self._limits.bad:,}"
                f"{last}; {self._output.address}/errors-*.jsonl lists them"
            )

    def _commit(self, shard: _Shard, engine: str) -> None:
        """Write a shard under its final names, then that it is done."""
        number = len(self.checkpoint.shards)
        for form, encode in self._encoders.items():
            self._output.write(file_name(form, number), encode(shard.rows))
        if shard.bad:
            self._output.write(error_file_name(number), encode_errors(shard.bad))
        checkpoint = self._after(shard, engine)
        write_checkpoint(self._output, checkpoint)
        self.checkpoint = checkpoint

    def _after(self, shard: _Shard, engine: str) -> Checkpoint:
        """Return how far the job is with a shard."""
        before = self.checkpoint
        found = Counter(item.label for row in shard.rows for item in row.found.detections)
        return before.model_copy(
            update={
                "done": before.done + shard.pictures,
                "shards": [*before.shards, shard.pictures],
                "bad_shards": before.bad_shards + ([len(before.shards)] if shard.bad else []),
                "bad": before.bad + len(shard.bad),
                "detections": before.detections + found.total(),
                "labels": dict((Counter(before.labels) + found).most_common()),
                "engines": list(dict.fromkeys([*before.engines, engine])),
                "seconds": self._seconds_before + time.monotonic() - self._started,
            }
        )

    def finish(self) -> Manifest:
        """Write the errors of all shards and the manifest, and remove what only resuming needs."""
        parts = [error_file_name(one) for one in self.checkpoint.bad_shards]
        written = self._output.read(MANIFEST)
        if written is None:
            self._output.write(ERRORS, b"".join(map(self._read_again, parts)))
            manifest = self._manifest()
            self._output.write(MANIFEST, manifest.model_dump_json(indent=2).encode())
        else:
            manifest = Manifest.model_validate_json(written)
        for part in (*parts, CHECKPOINT):
            self._output.remove(part)
        return manifest

    def _read_again(self, name: str) -> bytes:
        content = self._output.read(name)
        if content is None:
            raise OtherJob(
                f"{self._output.address}: {name} is gone: delete the folder, and begin again"
            )
        return content

    def _manifest(self) -> Manifest:
        checkpoint, job = self.checkpoint, self.checkpoint.job
        files = {
            form: [file_name(form, number) for number in range(len(checkpoint.shards))]
            for form in self._encoders
        }
        drawn = {DRAWN: [DRAWN]} if DRAWN in job.formats else {}
        return Manifest(
            input=as_utf8(self._address),
            model={"name": job.model, "version": job.version, "digest": job.digest},
            pictures=checkpoint.done,
            results=checkpoint.done - checkpoint.bad,
            errors=checkpoint.bad,
            detections=checkpoint.detections,
            labels=checkpoint.labels,
            files={**files, **drawn, "errors": [ERRORS]},
            engines=checkpoint.engines,
            seconds=round(checkpoint.seconds, 3),
            pictures_per_s=round(checkpoint.done / max(checkpoint.seconds, 1e-9), 2),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            checkpoint=checkpoint,
        )
