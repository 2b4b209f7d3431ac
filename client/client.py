#!/usr/bin/env python3
"""Send pictures to the web service and print the detections.

Needs httpx and this folder only: copy it to any machine that can reach the service.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import mimetypes
import os
import random
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import httpx
except ModuleNotFoundError as error:
    if __name__ != "__main__" or error.name != "httpx":
        raise
    # The repository's own environment has it; a folder that was copied elsewhere has none.
    own = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"
    own_command = f"run {os.path.relpath(own)} {sys.argv[0]}, or " if own.exists() else ""
    print(f"client: needs httpx: {own_command}pip install httpx", file=sys.stderr)
    sys.exit(2)

# So that the package is found when this file runs as a script.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from client.arguments import parse_arguments, token_header
from client.output import Output, read_tiers_ms
from client.retry import retry_after_s
from client.summary import Row, Summary, as_data
from client.table import printable
from client.truth import Truth, read_truth

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

_UID = re.compile(r"[0-9a-f]{32}")
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0
# The longest total wait of one picture for a busy service.
_LONGEST_WAIT_S = 60.0
_LONGEST_DETAIL = 200
# Above every coordinate. Python parses NaN, Infinity and numbers of 400 digits as JSON.
_LARGEST_NUMBER = 1e9


def main() -> int:
    """Run the command line and return the exit status."""
    arguments = parse_arguments()
    pictures = [arguments.image] if arguments.image else list_pictures(arguments.pictures)
    if not pictures:
        print(f"client: no pictures in {arguments.pictures}", file=sys.stderr)
        return 2
    chosen: Iterator[Path]
    if arguments.all:
        chosen = iter(pictures)
    else:
        endless = (random.choice(pictures) for _ in itertools.count())  # noqa: S311
        chosen = itertools.islice(endless, arguments.count or None)
    total = len(pictures) if arguments.all else arguments.count or None
    output = Output([path.name for path in pictures], total, raw=arguments.raw)
    try:
        sender = Sender(arguments, output, read_truth(arguments.pictures / "truth.json"))
    except (OSError, ValueError) as error:
        print(f"client: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(sender.run(chosen))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    except Unreachable as error:
        print(f"client: {error}", file=sys.stderr)
        return 1
    output.finish(sender.summary)
    return 1 if sender.summary.failures or not sender.summary.outcomes else 0


class Unreachable(Exception):
    """The service cannot be reached; the message is one line."""


class Sender:
    """Sends pictures, checks and counts the responses."""

    def __init__(
        self, arguments: argparse.Namespace, output: Output, truth: dict[str, Truth]
    ) -> None:
        """Prepare; `truth` is by file name."""
        self.summary = Summary()
        self._output = output
        self._arguments = arguments
        self._truth = truth
        self._client = httpx.AsyncClient(
            base_url=arguments.url,
            headers=token_header(),
            timeout=httpx.Timeout(arguments.timeout),
            limits=httpx.Limits(max_connections=None),
            # A proxy of the environment cannot reach loopback.
            trust_env="//127.0.0.1" not in arguments.url and "//localhost" not in arguments.url,
        )

    async def run(self, pictures: Iterator[Path]) -> None:
        """Send all pictures: one after the other, or at the given rate."""
        async with self._client:
            await self._wait_for_service()
            if self._arguments.rate is None:
                for picture in pictures:
                    await self._send(picture)
                return
            async with asyncio.TaskGroup() as tasks:
                started = time.monotonic()
                for number, picture in enumerate(pictures):
                    # Each has its own due time, so that slow responses do not lower the rate.
                    due = started + number / self._arguments.rate
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    tasks.create_task(self._send(picture))

    async def _wait_for_service(self) -> None:
        until = time.monotonic() + self._arguments.wait
        pause = _FIRST_PAUSE_S
        while True:
            try:
                response = await self._client.get("/readyz", timeout=5)
                if response.status_code == httpx.codes.OK:
                    return
                reason = f"is not ready (status {response.status_code})"
            except httpx.RequestError as error:
                reason = f"cannot be reached ({describe_error(error)})"
            left = until - time.monotonic()
            if left <= 0:
                hint = "" if self._arguments.wait else "; --wait SECONDS keeps trying"
                raise Unreachable(f"{self._arguments.url} {reason}{hint}")
            print(f"client: {self._arguments.url} {reason}, trying again", file=sys.stderr)
            # Jitter, so that many clients do not retry at the same moment.
            await asyncio.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    async def _send(self, picture: Path) -> None:
        row = Row(picture.name)
        try:
            row.fault = await self._try(picture, row)
        except _Failed as failure:
            row.fault = str(failure)
            self._output.show_failure(row)
        else:
            self._output.show(row)
        self.summary.add(str(picture), row)

    async def _try(self, picture: Path, row: Row) -> str:
        """Send a picture; return "" or why the service refused it. Raises _Failed."""
        try:
            data = await asyncio.to_thread(picture.read_bytes)
        except OSError as error:
            raise _Failed(f"cannot be read ({error.strerror})") from error
        response = await self._post(picture, data, accept="application/json")
        self.summary.outcomes[str(response.status_code)] += 1
        self._output.show_response(response.content)
        if response.status_code != httpx.codes.OK:
            return describe_refusal(response)
        took_ms = response.elapsed.total_seconds() * 1000
        self.summary.latencies_ms.append(took_ms)
        try:
            answer = response.json()
        except (ValueError, RecursionError) as error:
            raise _Failed("the response is not JSON") from error
        if wrong := find_fault(answer):
            raise _Failed(wrong)
        row.data = as_data(answer)
        row.took_ms.append(took_ms)
        row.tiers_ms = read_tiers_ms(response.headers.get("Server-Timing", ""))
        self._compare(picture, row)
        if self._arguments.save:
            await self._save(picture, data)
        return ""

    def _compare(self, picture: Path, row: Row) -> None:
        # The truth is that of one folder: a picture from elsewhere may have the same name.
        ours = picture.resolve().parent == self._arguments.pictures
        truth = self._truth.get(picture.name) if ours else None
        if truth is None:
            return
        row.truth = truth.count_found(row.data), len(truth.objects)
        self.summary.found += row.truth[0]
        self.summary.objects += row.truth[1]
        self.summary.unmatched += len(row.data) - row.truth[0]

    async def _save(self, picture: Path, data: bytes) -> None:
        """Send the picture again and save it with the boxes drawn by the service."""
        response = await self._post(picture, data, accept="image/jpeg")
        if response.status_code != httpx.codes.OK:
            self.summary.outcomes[str(response.status_code)] += 1
            raise _Failed(f"no picture with boxes (status {response.status_code})")
        target = self._arguments.save / f"{picture.stem}.jpg"
        try:
            await asyncio.to_thread(_write, target, response.content)
        except OSError as error:
            raise _Failed(f"cannot write {target} ({error.strerror})") from error

    async def _post(self, picture: Path, data: bytes, accept: str) -> httpx.Response:
        """Return the response; raises _Failed without one.

        A busy service's Retry-After is followed, within limits.
        """
        media_type = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
        retries_left = self._arguments.retries
        wait_left_s = _LONGEST_WAIT_S
        while True:
            try:
                response = await self._client.post(
                    "/inference",
                    files={"image": (picture.name, data, media_type)},
                    headers={"Accept": accept},
                )
            except httpx.RequestError as error:
                self.summary.outcomes[type(error).__name__] += 1
                raise _Failed(f"no response ({describe_error(error)})") from error
            wait_s = retry_after_s(response)
            if wait_s is None or retries_left == 0 or wait_s > wait_left_s:
                return response
            self.summary.outcomes[str(response.status_code)] += 1
            print(
                f"client: {printable(picture.name)}: status {response.status_code}, "
                f"trying again after {wait_s:.0f} s (Retry-After)",
                file=sys.stderr,
            )
            # Up to a tenth later, so that rejected clients do not retry at the same moment.
            await asyncio.sleep(wait_s * random.uniform(1, 1.1))  # noqa: S311
            retries_left -= 1
            wait_left_s -= wait_s


class _Failed(Exception):
    """A picture got no usable response; the message is one line."""


def describe_error(error: BaseException) -> str:
    """Return what the system says about a connection, or else the name of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            # The numbers of the resolver are its own.
            resolver = isinstance(cause, socket.gaierror)
            return str(cause.strerror) if resolver else os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def describe_refusal(response: httpx.Response) -> str:
    """Return the status of a response, and the detail of its problem (RFC 9457) if it has one."""
    try:
        detail = response.json()["detail"]
    except (ValueError, RecursionError, KeyError, TypeError):
        detail = None
    status = f"status {response.status_code}"
    return f"{status}: {detail[:_LONGEST_DETAIL]}" if isinstance(detail, str) else status


def find_fault(answer: Any) -> str | None:
    """Return the fault in the structure of a response, or None."""
    if not isinstance(answer, dict) or answer.get("success") != "true":
        return "the response lacks success"
    if not _UID.fullmatch(str(answer.get("uid"))):
        return "the response lacks a uid of 32 hex digits"
    data = answer.get("data")
    if not isinstance(data, list):
        return "the response lacks data"
    for entry in data:
        match entry:
            case [str(), float() | int() as score, [x, y, w, h]] if 0 <= score <= 1:
                if all(_is_length(number) for number in (x, y, w, h)):
                    continue
        return f"an entry is not [label, score, [cx, cy, w, h]]: {entry!r}"
    return None


def _is_length(number: Any) -> bool:
    return isinstance(number, float | int) and abs(number) <= _LARGEST_NUMBER


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, ordered by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


if __name__ == "__main__":
    sys.exit(main())
