"""Pictures through the web service: several at once, at a rate, patient with a busy service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elastic_yolo.cli.errors import describe_failure
from elastic_yolo.cli.pictures import source_of, target_of
from elastic_yolo.client import Answer, AsyncClient
from elastic_yolo.client.errors import (
    BadAnswer,
    Busy,
    ClientError,
    NoAnswer,
    NotAllowed,
    Problem,
    Rejected,
    UnknownModel,
)
from elastic_yolo.progress import describe_seconds
from elastic_yolo.reading import MOST_READ_BYTES, naming, read_all_async
from elastic_yolo.results.output import Output
from elastic_yolo.results.result import Result

_NOTE_EVERY_S = 10.0
Progress = Callable[[int, int, int], None]
"""Called with the number of pictures done, of all, and of those that failed."""


@dataclass(frozen=True)
class Manner:
    """How pictures are sent, and what is asked for."""

    url: str
    model: str | None = None
    threshold: float | None = None
    iou: float | None = None
    concurrency: int = 4
    rate: float | None = None
    """Pictures per second."""
    patience_s: float = 60.0
    """The longest time for reading a picture, and for a request with all attempts and waits."""
    save: Path | None = None
    """The folder for pictures with boxes."""


@dataclass
class Outcome:
    """What came of the pictures."""

    done: int = 0
    failures: list[str] = field(default_factory=list)
    """A line for each picture that has no result."""
    unsent: int = 0
    """Pictures that were not sent because they would have failed as well."""
    gave_up_after_s: float | None = None
    """How long a picture was tried, at most, that more time may have helped."""


class Sending:
    """One run: every picture once, in their order; results in the order in which they come."""

    def __init__(self, manner: Manner, output: Output, progress: Progress) -> None:
        """Write results to `output`."""
        self.outcome = Outcome()
        self._manner = manner
        self._output = output
        self._progress = progress
        self._stopped = False
        self._answered_at = 0.0
        self._due = 0.0

    async def run(self, pictures: Sequence[Path]) -> Outcome:
        """Send the pictures; raises BadArgument, and OSError if no result can be written."""
        left, turn = iter(pictures), asyncio.Lock()
        manner = self._manner
        try:
            async with (
                AsyncClient(manner.url, timeout_s=manner.patience_s) as client,
                asyncio.TaskGroup() as tasks,
            ):
                for _ in range(min(manner.concurrency, len(pictures))):
                    tasks.create_task(self._work(client, left, turn, len(pictures)))
        except* OSError as group:
            # No result can be written: one error is enough.
            raise group.exceptions[0] from None
        self.outcome.unsent = sum(1 for _ in left)
        return self.outcome

    async def _work(
        self, client: AsyncClient, left: Iterator[Path], turn: asyncio.Lock, total: int
    ) -> None:
        while (path := await self._next(left, turn)) is not None:
            began = time.monotonic()
            try:
                result = await self._ask(client, path)
            except (ClientError, OSError) as error:
                self._fail(path, error, began)
            else:
                self._answered_at = time.monotonic()
                self._output.add(result)
                self.outcome.done += 1
            failed = len(self.outcome.failures)
            self._progress(self.outcome.done + failed, total, failed)

    async def _next(self, left: Iterator[Path], turn: asyncio.Lock) -> Path | None:
        """Return the next picture when it is due; None if there is none."""
        async with turn:
            if self._stopped or (path := next(left, None)) is None:
                return None
            if self._manner.rate is not None:
                await asyncio.sleep(self._due - time.monotonic())
                self._due = max(self._due, time.monotonic()) + 1 / self._manner.rate
            return path

    async def _ask(self, client: AsyncClient, path: Path) -> Result:
        manner = self._manner
        content = await read_all_async(source_of(path), MOST_READ_BYTES, manner.patience_s)
        asked = {"model": manner.model, "threshold": manner.threshold, "iou": manner.iou}
        answer = await client.detect(content, **asked)  # type: ignore[arg-type]  # as declared
        if manner.save:
            drawn = await client.draw(content, **asked)  # type: ignore[arg-type]
            await asyncio.to_thread(_save, target_of(manner.save, path), drawn)
        return _result(path, answer)

    def _fail(self, path: Path, error: ClientError | OSError, began: float) -> None:
        self.outcome.failures.append(_line(path, error))
        out_of_time = isinstance(error, Busy | TimeoutError)
        if out_of_time or (isinstance(error, NoAnswer) and error.out_of_time):
            tried_s = time.monotonic() - began
            self.outcome.gave_up_after_s = max(tried_s, self.outcome.gave_up_after_s or 0.0)
        match error:
            case Rejected():
                self._answered_at = time.monotonic()
            case NoAnswer() | Busy():
                # Nothing was answered meanwhile: the next picture would only wait as long again.
                self._stopped |= self._answered_at < began
            case BadAnswer():
                # Nothing was ever answered: this is another server.
                self._stopped |= not self._answered_at
            case NotAllowed() | UnknownModel():
                self._stopped = True


class Notes(logging.Handler):
    """Says that the client waits for the service, now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Print notes by `say`."""
        super().__init__(logging.INFO)
        self._say = say
        self._said_at = -_NOTE_EVERY_S

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message if the last one is long ago."""
        if time.monotonic() - self._said_at >= _NOTE_EVERY_S:
            self._said_at = time.monotonic()
            self._say(f"elastic-yolo: {record.getMessage()}")


def _line(path: Path, error: ClientError | OSError) -> str:
    """Return the line of a failure, with the id of the request and the wait asked for."""
    if isinstance(error, OSError):
        return describe_failure(path, error)
    facts = []
    if isinstance(error, Problem):
        facts += [f"uid {error.uid}"] if error.uid else []
        if error.retry_after_s is not None:
            facts.append(f"asks to wait {describe_seconds(error.retry_after_s)}")
    return f"{path}: {error}" + (f" ({', '.join(facts)})" if facts else "")


def _result(path: Path, answer: Answer) -> Result:
    model = answer.model
    facts = {"name": model.name, "version": model.version, "digest": model.digest}
    return Result(str(path), answer.detections, (answer.width, answer.height), facts, answer.uid)


def _save(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming(target):
        target.write_bytes(content)
