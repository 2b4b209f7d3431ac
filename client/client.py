#!/usr/bin/env python3
"""Send pictures to the web service and print the detections.

Needs httpx and this folder only: copy it to any machine that can reach the service.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import mimetypes
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

# So that the package is found when this file runs as a script.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from client.arguments import parse_arguments, token_header
from client.percentile import percentile
from client.retry import retry_after_s
from client.truth import Truth, read_truth

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

_UID = re.compile(r"[0-9a-f]{32}")
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0
# The longest total wait of one picture for a busy service.
_LONGEST_WAIT_S = 60.0
# Above every coordinate. Python parses NaN, Infinity and numbers of 400 digits as JSON.
_LARGEST_NUMBER = 1e9


@dataclass
class Summary:
    """The results of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Counts by status code, or by the name of the error where no response came."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of the responses with status 200."""
    failures: int = 0
    objects: int = 0
    found: int = 0

    def lines(self) -> list[str]:
        """Return the lines at the end of a run."""
        total = sum(self.outcomes.values())
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.outcomes.items()))
        lines = [f"{total} requests ({codes or 'none'}), {self.failures} failed"]
        if self.latencies_ms:
            values = [f"p{p} {percentile(self.latencies_ms, p):.0f}" for p in (50, 95, 99)]
            lines.append(f"latency in ms: {', '.join(values)}, max {max(self.latencies_ms):.0f}")
        if self.objects:
            share = self.found / self.objects
            lines.append(
                f"ground truth: {self.found} of {self.objects} objects found ({share:.0%}), "
                "right label and IoU at least 0.5"
            )
        return lines


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
    try:
        sender = Sender(arguments, read_truth(arguments.pictures / "truth.json"))
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
    print("\n".join(sender.summary.lines()))
    return 1 if sender.summary.failures or not sender.summary.outcomes else 0


class Unreachable(Exception):
    """The service cannot be reached; the message is one line."""


class Sender:
    """Sends pictures, prints and counts the responses."""

    def __init__(self, arguments: argparse.Namespace, truth: dict[str, Truth]) -> None:
        """Prepare; `truth` is by file name."""
        self.summary = Summary()
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
                reason = f"cannot be reached ({type(error).__name__})"
            left = until - time.monotonic()
            if left <= 0:
                hint = "" if self._arguments.wait else "; --wait SECONDS keeps trying"
                raise Unreachable(f"{self._arguments.url} {reason}{hint}")
            print(f"client: {self._arguments.url} {reason}, trying again", file=sys.stderr)
            # Jitter, so that many clients do not retry at the same moment.
            await asyncio.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    async def _send(self, picture: Path) -> None:
        try:
            data = await asyncio.to_thread(picture.read_bytes)
        except OSError as error:
            self._fail(picture, f"cannot be read ({error.strerror})")
            return
        response = await self._post(picture, data, accept="application/json")
        if response is None:
            return
        self.summary.outcomes[str(response.status_code)] += 1
        print(f"{picture.name}\nResponse: {_as_line(response.content)}", flush=True)
        if response.status_code != httpx.codes.OK:
            self.summary.failures += 1
            return
        self.summary.latencies_ms.append(response.elapsed.total_seconds() * 1000)
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            self._fail(picture, "the response is not JSON")
            return
        if wrong := find_fault(answer):
            self._fail(picture, wrong)
            return
        self._compare(picture, answer)
        if self._arguments.save:
            await self._save(picture, data)

    def _compare(self, picture: Path, answer: dict[str, Any]) -> None:
        # The truth is that of one folder: a picture from elsewhere may have the same name.
        ours = picture.resolve().parent == self._arguments.pictures
        truth = self._truth.get(picture.name) if ours else None
        if truth is None:
            return
        found = truth.count_found(answer["data"])
        self.summary.objects += len(truth.objects)
        self.summary.found += found
        print(f"Ground truth: {found} of {len(truth.objects)} objects found", flush=True)

    async def _save(self, picture: Path, data: bytes) -> None:
        """Send the picture again and save it with the boxes drawn by the service."""
        response = await self._post(picture, data, accept="image/jpeg")
        if response is None:
            return
        if response.status_code != httpx.codes.OK:
            self.summary.outcomes[str(response.status_code)] += 1
            self._fail(picture, f"no picture with boxes (status {response.status_code})")
            return
        target = self._arguments.save / f"{picture.stem}.jpg"
        try:
            await asyncio.to_thread(_write, target, response.content)
        except OSError as error:
            self._fail(picture, f"cannot write {target} ({error.strerror})")

    async def _post(self, picture: Path, data: bytes, accept: str) -> httpx.Response | None:
        """Return the response; without one, count the failure and return None.

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
                self._fail(picture, f"no response ({type(error).__name__})")
                return None
            wait_s = retry_after_s(response)
            if wait_s is None or retries_left == 0 or wait_s > wait_left_s:
                return response
            self.summary.outcomes[str(response.status_code)] += 1
            print(
                f"client: {picture.name}: status {response.status_code}, "
                f"trying again after {wait_s:.0f} s (Retry-After)",
                file=sys.stderr,
            )
            # Up to a tenth later, so that rejected clients do not retry at the same moment.
            await asyncio.sleep(wait_s * random.uniform(1, 1.1))  # noqa: S311
            retries_left -= 1
            wait_left_s -= wait_s

    def _fail(self, picture: Path, what: str) -> None:
        self.summary.failures += 1
        print(f"client: {picture.name}: {what}", file=sys.stderr)


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


def _as_line(content: bytes) -> str:
    """Return a body as one line of text; what cannot be printed is escaped."""
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in content.decode(errors="backslashreplace")
    )
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


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
