"""Run a stream: receive pictures, detect, write results, acknowledge; in this order for each.

A thread for each source receives, as long as fewer of its messages are in hand than the window; the
main thread writes the results of what is answered to every sink and then acknowledges it. So a
message whose result is not written is never acknowledged, and a slow sink slows the sources.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import NamedTuple

from elastic_yolo.backoff import Backoff
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.stream.detecting import Answer, Detecting
from elastic_yolo.stream.ends import Sink, Source
from elastic_yolo.stream.errors import Refused, Unavailable
from elastic_yolo.stream.message import Message, Result, result_id
from elastic_yolo.stream.metrics import Health, StreamMetrics
from elastic_yolo.stream.sampler import Sampler

_LOG = logging.getLogger(__name__)
_WAIT_S = 0.5
_LEAVE_S = 2.0
# How many answers are written together if they come faster than a sink takes them.
_MOST_WRITTEN = 256


@dataclass(frozen=True)
class Limits:
    """How long to try: `tries` deliveries or attempts of a message, then it is rejected.

    `drain_s` is the time from the stop until what is still in hand is given up.
    """

    tries: int = 3
    drain_s: float = 30.0


class _Done(NamedTuple):
    """A message whose detection ended; `attempt` counts the attempts in this process."""

    source: Source
    message: Message
    attempt: int
    answer: Future[Answer]


class Stream:
    """Sources, what detects, and sinks; `run` works until all sources end, or `stop` is set."""

    def __init__(
        self,
        sources: Sequence[Source],
        sinks: Sequence[Sink],
        detecting: Detecting,
        limits: Limits,
        metrics: StreamMetrics,
        health: Health,
        stop: Event,
    ) -> None:
        """Prepare; the caller closes sources, sinks and `detecting` afterwards."""
        self.answered = 0
        self.rejected = 0
        self.given_up = 0
        """How many messages were not finished when the drain ended."""
        self._sources = sources
        self._sinks = sinks
        self._detecting = detecting
        self._limits = limits
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._done: SimpleQueue[_Done] = SimpleQueue()
        # A source holds its places while it waits for messages, so each has a window of its own.
        # Cameras share one: each frame that waits for another's makes all of them older.
        shared = Semaphore(detecting.window)
        self._windows = {
            id(source): shared if source.newest_only else Semaphore(detecting.window)
            for source in sources
        }
        self._in_hand = 0
        self._in_hand_lock = Lock()
        self._reached: set[str] = set()
        self._failure: BaseException | None = None
        self._given_up_at: float | None = None
        metrics.in_flight.set_function(lambda: self._in_hand)

    def run(self) -> None:
        """Work until every source has ended, or the stop and the drain that follows.

        Raises Refused if an end refuses for good, and every error that is a fault of the program.
        """
        receivers = [
            Thread(target=self._receive, args=(source,), name=f"receive-{number}", daemon=True)
            for number, source in enumerate(self._sources)
        ]
        for thread in receivers:
            thread.start()
        sampler = Sampler(self._sources, self._metrics, lambda: (self.answered, self.rejected))
        sampling = Thread(target=sampler.run, args=(self._stop,), name="sample", daemon=True)
        sampling.start()
        try:
            while any(thread.is_alive() for thread in receivers) or self._in_hand:
                self._health.turned()
                if self._must_give_up():
                    self.given_up += self._in_hand
                    break
                self._finish(self._next_done())
        finally:
            self._health.ready = False
            self._stop.set()
            # The caller closes what they use. One whose end hangs is left alone.
            until = time.monotonic() + _LEAVE_S
            for thread in (*receivers, sampling):
                thread.join(max(0.0, until - time.monotonic()))
        if self._failure is not None:
            raise self._failure

    # Receiving: a thread for each source.

    def _receive(self, source: Source) -> None:
        backoff = Backoff()
        try:
            while not self._stop.is_set() and not source.finished:
                try:
                    for message in self._messages(source):
                        self._start(source, message)
                except Unavailable as error:
                    self._reached.discard(source.name)
                    self._health.ready = False
                    self._stop.wait(self._failed(source.name, error, backoff))
                else:
                    self._worked(source.name, backoff)
                    self._note_reached(source)
        except BaseException as error:  # noqa: BLE001  # the main thread raises it
            self._failure = self._failure or error
            self._stop.set()

    def _messages(self, source: Source) -> list[Message]:
        """Return messages, each with a place in the window of the source."""
        if source.newest_only:
            return self._newest(source)
        window = self._windows[id(source)]
        room = self._room(window)
        found: list[Message] = []
        try:
            found = source.receive(room, _WAIT_S) if room else []
        finally:
            if room > len(found):
                window.release(room - len(found))
        return found

    def _newest(self, source: Source) -> list[Message]:
        """Return the newest frame of a camera at the time when there is a place for it.

        A camera without frames does not take a place while others wait for one.
        """
        window = self._windows[id(source)]
        found = source.receive(1, _WAIT_S)
        if not found or window.acquire(blocking=False):
            return found
        while not window.acquire(timeout=_WAIT_S):
            if self._stop.is_set():
                return []
        newer = source.receive(1, 0)
        if newer:
            self._metrics.dropped.labels(source.name).inc()
        return newer or found

    def _room(self, window: Semaphore) -> int:
        """Take places of a window: one after waiting, and what else is free."""
        if not window.acquire(timeout=_WAIT_S):
            return 0
        room = 1
        while room < self._detecting.window and window.acquire(blocking=False):
            room += 1
        return room

    def _start(self, source: Source, message: Message) -> None:
        with self._in_hand_lock:
            self._in_hand += 1
        if message.deliveries > 1:
            self._metrics.redelivered.labels(source.name).inc()
        fault: Exception | None = message.fault
        if message.deliveries > self._limits.tries:
            # It may end the process: it is not tried even once more.
            fault = _TooOften(message.deliveries - 1)
        if fault is None:
            self._submit(source, message, attempt=1)
        else:
            answer: Future[Answer] = Future()
            answer.set_exception(fault)
            self._done.put(_Done(source, message, self._limits.tries, answer))

    def _submit(self, source: Source, message: Message, attempt: int) -> None:
        answer = self._detecting.submit(message.picture)
        answer.add_done_callback(
            lambda ended: self._done.put(_Done(source, message, attempt, ended))
        )

    def _note_reached(self, source: Source) -> None:
        self._reached.add(source.name)
        if all(one.name in self._reached for one in self._sources):
            self._health.ready = not self._stop.is_set()

    # Finishing: the main thread.

    def _next_done(self) -> list[_Done]:
        """Return what ended: at least one if there is one within half a second."""
        done: list[_Done] = []
        with suppress(Empty):
            done.append(self._done.get(timeout=_WAIT_S))
            while len(done) < _MOST_WRITTEN:
                done.append(self._done.get_nowait())
        return done

    def _finish(self, done: Sequence[_Done]) -> None:
        answered: list[tuple[_Done, Result]] = []
        for one in done:
            error = _error_of(one.answer)
            if error is None:
                answered.append((one, _result(one)))
            elif isinstance(error, Refused):
                raise error
            elif isinstance(error, Unavailable | CancelledError):
                # Detection was given up because the process ends.
                self._give_up(one.source)
            elif isinstance(error, PictureError | _TooOften) or one.attempt >= self._limits.tries:
                self._reject(one, error)
            else:
                _LOG.warning(
                    "%s: %s: attempt %d failed: %s",
                    one.source.name,
                    one.message.id,
                    one.attempt,
                    error,
                )
                self._metrics.retries.labels("detect").inc()
                self._submit(one.source, one.message, one.attempt + 1)
        if answered:
            self._write(answered)

    def _write(self, answered: Sequence[tuple[_Done, Result]]) -> None:
        results = [result for _, result in answered]
        for sink in self._sinks:
            if not self._patiently(sink.name, partial(sink.write, results)):
                for one, _ in answered:
                    self._give_up(one.source)
                return
        for source in {id(one.source): one.source for one, _ in answered}.values():
            messages = [one.message for one, _ in answered if one.source is source]
            if not self._patiently(source.name, partial(source.acknowledge, messages)):
                self._give_up(source, len(messages))
                continue
            for message in messages:
                self._metrics.answered(source.name, message.added_at)
            self.answered += len(messages)
            self._leave(source, len(messages))

    def _reject(self, one: _Done, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _LOG.warning("%s: %s: rejected: %s", one.source.name, one.message.id, reason)
        if self._patiently(one.source.name, partial(one.source.reject, one.message, reason)):
            self._metrics.messages.labels(one.source.name, "rejected").inc()
            self.rejected += 1
            self._leave(one.source)
        else:
            self._give_up(one.source)

    def _leave(self, source: Source, messages: int = 1) -> None:
        """Note that messages of a source are not in hand any more."""
        with self._in_hand_lock:
            self._in_hand -= messages
        self._windows[id(source)].release(messages)

    def _give_up(self, source: Source, messages: int = 1) -> None:
        """Leave messages without an acknowledgement: they are delivered again, to another run."""
        self.given_up += messages
        self._leave(source, messages)

    def _patiently(self, name: str, attempt: Callable[[], object]) -> bool:
        """Try until it works, or the drain ends; return whether it worked."""
        backoff = Backoff()
        while True:
            try:
                attempt()
            except Unavailable as error:
                self._health.turned()
                if self._must_give_up():
                    _LOG.error("%s: given up, the messages are delivered again", error)
                    return False
                self._wait(self._failed(name, error, backoff))
            else:
                self._worked(name, backoff)
                return True

    def _wait(self, seconds: float) -> None:
        """Wait in the main thread; the drain does not wait longer than it has."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._must_give_up():
            time.sleep(min(left, _WAIT_S))
            self._health.turned()

    def _must_give_up(self) -> bool:
        """Return whether the drain has taken as long as it may."""
        if not self._stop.is_set():
            return False
        if self._given_up_at is None:
            self._given_up_at = time.monotonic() + self._limits.drain_s
        return self._failure is not None or time.monotonic() > self._given_up_at

    def _failed(self, name: str, error: Unavailable, backoff: Backoff) -> float:
        """Note that an end is not available; return how long to wait."""
        self._metrics.retries.labels(name).inc()
        wait_s = backoff.next_s(error.retry_after_s)
        # The message begins with the name of the end.
        _LOG.warning("%s: next attempt in %.1f s", error, wait_s)
        return wait_s

    def _worked(self, name: str, backoff: Backoff) -> None:
        if backoff.waited:
            _LOG.info("%s: it works again", name)
        backoff.reset()


class _TooOften(Exception):
    """A message was delivered too often without an answer: it probably ended the process."""

    def __init__(self, times: int) -> None:
        super().__init__(f"delivered {times} times without an answer")


def _error_of(answer: Future[Answer]) -> BaseException | None:
    return CancelledError() if answer.cancelled() else answer.exception()


def _result(one: _Done) -> Result:
    answer = one.answer.result()
    return Result(
        result_id(one.message, answer.model["digest"]),
        one.message,
        answer.detections,
        answer.size,
        answer.model,
    )
