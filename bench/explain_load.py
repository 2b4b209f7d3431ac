"""Ordinary requests through the services, with and without an explanation beside them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from client.percentile import percentile
from elastic_yolo.detector.samples import list_pictures
from elastic_yolo.lab.processes.stack import Stack
from services.common.core.explain_query import MOST_MASKS

_QUIET = {"LOG_LEVEL": "warning"}
_ON = {"EXPLAIN": "true", "REQUEST_TIMEOUT_MS": "120000", **_QUIET}
_TIMEOUT_S = 120
_REPEATS = 2


def compare_load(model: Path, pictures: Path, rate: float, seconds: float, masks: int) -> None:
    """Print the latency of ordinary pictures alone and beside explanations, in turns."""
    env = {"web": _ON, "preprocess": _ON, "inference": {"PRECISION": "fp32", **_QUIET}}
    with Stack(model=model, env=env) as stack:
        asyncio.run(_compare(stack.web.url, list_pictures(pictures), rate, seconds, masks))


async def _compare(url: str, pictures: list[Path], rate: float, seconds: float, masks: int) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S) as client:
        files = [picture.read_bytes() for picture in pictures]
        found = (await client.post("/inference", files={"image": files[0]})).json()["data"][0]
        await _print_one(client, files[0], found, masks)
        alone: list[float] = []
        beside: list[float] = []
        explained = 0
        for _ in range(_REPEATS):
            alone += await _send(client, files, rate, seconds)
            explaining = asyncio.create_task(_explain(client, files[0], found, MOST_MASKS, seconds))
            beside += await _send(client, files, rate, seconds)
            explained += (await explaining)["masks"]
    print(f"\n{rate:g} ordinary pictures/s\n")
    print("| | p50 ms | p95 ms |\n|---|---:|---:|")
    for name, times in (("alone", alone), ("beside an explanation", beside)):
        print(f"| {name} | {percentile(times, 50):.1f} | {percentile(times, 95):.1f} |")
    ratios = [percentile(beside, one) / percentile(alone, one) for one in (50, 95)]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    print(f"\n{explained} masks in the meantime")


async def _print_one(
    client: httpx.AsyncClient, picture: bytes, found: list[Any], masks: int
) -> None:
    explained = await _explain(client, picture, found, masks)
    print(f"\none explanation without load: {json.dumps(explained)}")


async def _explain(
    client: httpx.AsyncClient,
    picture: bytes,
    found: list[Any],
    masks: int,
    seconds: float = _TIMEOUT_S,
) -> dict[str, Any]:
    label, _, box = found
    query = {"label": label, "box": ",".join(map(str, box)), "masks": masks}
    headers = {"X-Timeout-Ms": str(round(seconds * 1000))}
    response = await client.post(
        "/explain", files={"image": picture}, params=query, headers=headers
    )
    answer: dict[str, Any] = response.raise_for_status().json()
    return {name: answer[name] for name in ("masks", "seconds", "truncated", "score", "best")}


async def _send(
    client: httpx.AsyncClient, files: list[bytes], rate: float, seconds: float
) -> list[float]:
    """Send pictures at random moments, `rate` a second; return the milliseconds that each took."""
    random = np.random.default_rng(0)
    times: list[float] = []

    async def send(picture: bytes) -> None:
        began = time.perf_counter()
        (await client.post("/inference", files={"image": picture})).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)

    async with asyncio.TaskGroup() as group:
        due = time.perf_counter()
        for number in range(round(rate * seconds)):
            due += random.exponential(1 / rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(send(files[number % len(files)]))
    return times
