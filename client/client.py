#!/usr/bin/env python3
"""Send pictures to the web service and print what it finds.

Needs httpx and this folder only: copy it wherever the service can be reached from.
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

# Found beside this file also when it runs as a script.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from client.truth import Truth, read_truth

IMAGES = Path(__file__).resolve().parent / "images"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

_UID = re.compile(r"[0-9a-f]{32}")
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0


@dataclass
class Summary:
    """What happened in a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Status codes, and words for what was no answer at all."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of the answers with status 200."""
    failures: int = 0
    objects: int = 0
    found: int = 0

    def lines(self) -> list[str]:
        """Return the lines that end a run."""
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
    arguments = _parse_arguments()
    pictures = [arguments.image] if arguments.image else list_pictures(IMAGES)
    if not pictures:
        print(f"client: no pictures in {IMAGES}", file=sys.stderr)
        return 2
    chosen: Iterator[Path]
    if arguments.all:
        chosen = iter(pictures)
    else:
        endless = (random.choice(pictures) for _ in itertools.count())  # noqa: S311
        chosen = itertools.islice(endless, arguments.count or None)
    sender = Sender(arguments, read_truth(IMAGES / "truth.json"))
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
    """The service cannot be reached; the message is for the terminal."""


class Sender:
    """Sends pictures, prints answers, and keeps count."""

    def __init__(self, arguments: argparse.Namespace, truth: dict[str, Truth]) -> None:
        """Send as the arguments say; `truth` is by file name."""
        self.summary = Summary()
        self._arguments = arguments
        self._truth = truth
        self._client = httpx.AsyncClient(
            base_url=arguments.url,
            timeout=httpx.Timeout(arguments.timeout),
            limits=httpx.Limits(max_connections=None),
            # A proxy of the environment has no business between us and loopback.
            trust_env="//127.0.0.1" not in arguments.url and "//localhost" not in arguments.url,
        )

    async def run(self, pictures: Iterator[Path]) -> None:
        """Send all pictures: one after the other, or at the rate that was asked for."""
        async with self._client:
            await self._wait_for_service()
            if self._arguments.rate is None:
                for picture in pictures:
                    await self._send(picture)
                return
            async with asyncio.TaskGroup() as tasks:
                started = time.monotonic()
                for number, picture in enumerate(pictures):
                    # Each has its own moment, so that slow answers do not lower the rate.
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
            except httpx.TransportError as error:
                reason = f"cannot be reached ({type(error).__name__})"
            left = until - time.monotonic()
            if left <= 0:
                hint = "" if self._arguments.wait else "; --wait SECONDS tries again for a while"
                raise Unreachable(f"{self._arguments.url} {reason}{hint}")
            print(f"client: {self._arguments.url} {reason}, trying again", file=sys.stderr)
            # Jitter, so that many clients do not come back at the same moment.
            await asyncio.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    async def _send(self, picture: Path) -> None:
        data = await asyncio.to_thread(picture.read_bytes)
        started = time.perf_counter()
        try:
            response = await self._post(picture, data, accept="application/json")
        except httpx.TransportError as error:
            self._fail(picture, type(error).__name__, "no answer")
            return
        self.summary.outcomes[str(response.status_code)] += 1
        print(f"{picture.name}\nResponse: {response.content!r}", flush=True)
        if response.status_code != httpx.codes.OK:
            self.summary.failures += 1
            return
        self.summary.latencies_ms.append((time.perf_counter() - started) * 1000)
        answer = response.json()
        if wrong := find_fault(answer):
            self.summary.failures += 1
            print(f"client: {picture.name}: {wrong}", file=sys.stderr)
            return
        self._compare(picture, answer)
        if self._arguments.save:
            await self._save(picture, data)

    def _compare(self, picture: Path, answer: dict[str, Any]) -> None:
        truth = self._truth.get(picture.name) if picture.parent == IMAGES else None
        if truth is None:
            return
        found = truth.count_found(answer["data"])
        self.summary.objects += len(truth.objects)
        self.summary.found += found
        print(f"Ground truth: {found} of {len(truth.objects)} objects found", flush=True)

    async def _save(self, picture: Path, data: bytes) -> None:
        """Ask once more, this time for the picture with the boxes drawn by the service."""
        try:
            response = await self._post(picture, data, accept="image/jpeg")
        except httpx.TransportError as error:
            self._fail(picture, type(error).__name__, "no picture")
            return
        if response.status_code != httpx.codes.OK:
            self._fail(picture, str(response.status_code), "no picture")
            return
        target = self._arguments.save / f"{picture.stem}.jpg"
        await asyncio.to_thread(_write, target, response.content)

    async def _post(self, picture: Path, data: bytes, accept: str) -> httpx.Response:
        media_type = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
        return await self._client.post(
            "/inference",
            files={"image": (picture.name, data, media_type)},
            headers={"Accept": accept},
        )

    def _fail(self, picture: Path, outcome: str, what: str) -> None:
        self.summary.outcomes[outcome] += 1
        self.summary.failures += 1
        print(f"client: {picture.name}: {what} ({outcome})", file=sys.stderr)


def find_fault(answer: Any) -> str | None:
    """Return what is wrong with the shape of an answer, or None."""
    if not isinstance(answer, dict) or answer.get("success") != "true":
        return "the answer lacks success"
    if not _UID.fullmatch(str(answer.get("uid"))):
        return "the answer lacks a uid of 32 hex digits"
    data = answer.get("data")
    if not isinstance(data, list):
        return "the answer lacks data"
    for entry in data:
        match entry:
            case [str(), float() | int() as score, [x, y, w, h]] if 0 <= score <= 1:
                if all(isinstance(number, float | int) for number in (x, y, w, h)):
                    continue
        return f"an entry is not [label, score, [cx, cy, w, h]]: {entry!r}"
    return None


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


def percentile(values: list[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="client.py", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:5000", help="web service (%(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--image", type=_file, help="send this picture, not a random one")
    which.add_argument("--all", action="store_true", help="send every picture once, in order")
    parser.add_argument(
        "--count", type=_count, default=1, help="how many to send; 0: until Ctrl-C (%(default)s)"
    )
    parser.add_argument(
        "--rate", type=_positive, help="send so many a second, whether or not answers have come"
    )
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="write the pictures with boxes here (asks twice)"
    )
    parser.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="wait for a service that is away"
    )
    parser.add_argument(
        "--timeout", type=_positive, default=60, metavar="SECONDS", help="(%(default)s)"
    )
    return parser.parse_args()


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no such file: {text}")
    return path


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError("expected a whole number, 0 or more")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("expected a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
