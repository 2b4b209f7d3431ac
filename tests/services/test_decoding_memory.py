"""The memory that pictures take while they are decoded, all together."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.decode import decoding_bytes
from elastic_yolo.lab.processes.stack import ROOT, Stack
from elastic_yolo.picture.errors import PictureTooLarge
from elastic_yolo.picture.header import JpegFrame, PictureHeader, read_header
from services.common.picture_inputs import PictureInputs, decoding_memory, require_fitting
from services.common.queue import ByteBudget, WorkQueue
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

SIDE = 8000


def context(budget_ms: float = 10_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


@pytest.mark.anyio
async def test_jobs_take_turns_for_memory_in_the_order_of_their_arrival() -> None:
    """A small one waits behind a large one, which therefore gets its turn."""
    budget = ByteBudget(10)
    served: list[str] = []

    async def take(name: str, size: int) -> None:
        await budget.take(size)
        served.append(name)

    await take("first", 6)
    tasks = [asyncio.create_task(take(name, size)) for name, size in (("large", 9), ("small", 1))]
    await asyncio.sleep(0)
    assert served == ["first"]

    budget.give_back(6)
    await asyncio.gather(*tasks)
    assert served == ["first", "large", "small"]


@pytest.mark.anyio
async def test_a_job_that_is_cancelled_makes_room_for_those_behind_it() -> None:
    budget = ByteBudget(10)
    await budget.take(6)
    large, small = (asyncio.create_task(budget.take(size)) for size in (9, 4))
    await asyncio.sleep(0)

    large.cancel()
    await small
    budget.give_back(10)
    await budget.take(10)


@pytest.mark.anyio
async def test_a_job_that_is_cancelled_with_its_turn_gives_it_back() -> None:
    budget = ByteBudget(10)
    await budget.take(10)
    waiting = asyncio.create_task(budget.take(10))
    await asyncio.sleep(0)

    budget.give_back(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await budget.take(10)


@pytest.mark.anyio
async def test_memory_that_becomes_free_passes_by_a_job_that_was_just_cancelled() -> None:
    """Its task has not run since: many requests reach their deadline in the same moment."""
    budget = ByteBudget(10)
    await budget.take(10)
    cancelled, behind = (asyncio.create_task(budget.take(10)) for _ in range(2))
    await asyncio.sleep(0)

    cancelled.cancel()
    budget.give_back(10)
    await behind
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    budget.give_back(10)
    await budget.take(10)


@pytest.mark.parametrize(
    ("size", "max_pixels", "is_small"),
    [
        ((1600, 1200), 64_000_000, True),
        # A photograph. It is decoded at an eighth of its size: little memory, and much time.
        ((4000, 3000), 64_000_000, False),
        # 0.6 MB of pixels at half of its size. The limit is half a megabyte here.
        ((1024, 768), 4_000_000, False),
    ],
)
def test_a_small_picture_takes_little_time_and_little_memory(
    size: tuple[int, int], max_pixels: int, *, is_small: bool
) -> None:
    inputs = PictureInputs.start(workers=1, max_waiting=1, max_pixels=max_pixels)
    try:
        header = PictureHeader("image/jpeg", *size, jpeg=JpegFrame(3, 0, is_common=True))
        planned = inputs.plan(context(), b"", header, InputFormat((96, 96), "letterbox"))
    finally:
        inputs.queue.close()

    assert inputs.is_small(planned) is is_small


_ACTIONS = st.one_of(
    st.tuples(st.just("take"), st.sampled_from([3, 7, 10])),
    st.tuples(st.sampled_from(["cancel", "end"]), st.integers(0, 2)),
)
# Actions of one list happen in the same moment: no job runs between them.
_MOMENTS = st.lists(st.lists(_ACTIONS, min_size=1, max_size=3), max_size=20)


@settings(max_examples=1000)
@given(_MOMENTS)
def test_no_order_of_jobs_and_cancellations_loses_memory(
    moments: list[list[tuple[str, int]]],
) -> None:
    async def follow() -> None:
        budget = ByteBudget(10)
        jobs: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        taken = 0

        async def work(size: int, ends: asyncio.Event) -> None:
            nonlocal taken
            await budget.take(size)
            try:
                taken += size
                assert taken <= 10
                await ends.wait()
            finally:
                taken -= size
                budget.give_back(size)

        for actions in moments:
            for what, value in actions:
                if what == "take":
                    ends = asyncio.Event()
                    jobs.append((asyncio.create_task(work(value, ends)), ends))
                elif jobs:
                    task, ends = jobs[value % len(jobs)]
                    task.cancel() if what == "cancel" else ends.set()
            await asyncio.sleep(0)
        for _, ends in jobs:
            ends.set()
        for _ in range(3 * len(jobs)):
            await asyncio.sleep(0)
        assert all(task.done() for task, _ in jobs)
        assert all(task.cancelled() or task.exception() is None for task, _ in jobs)
        all_of_it = asyncio.create_task(budget.take(10))
        await asyncio.sleep(0)
        assert all_of_it.done()

    asyncio.run(follow())


@pytest.mark.anyio
async def test_two_queues_share_one_memory() -> None:
    memory = ByteBudget(10)
    queues = [WorkQueue(name, workers=2, max_waiting=5, memory=memory) for name in ("a", "b")]
    release = threading.Event()
    first = asyncio.create_task(queues[0].run_job(context(), release.wait, 8))
    await asyncio.sleep(0)

    with pytest.raises(DeadlineExceeded):
        await queues[1].run_job(context(50), lambda: True, 8)
    assert await queues[1].run_job(context(), lambda: "fits", 2) == "fits"
    release.set()
    await first
    assert await queues[1].run_job(context(), lambda: "free", 10) == "free"
    for queue in queues:
        queue.close()


@pytest.mark.anyio
async def test_a_job_that_never_got_memory_leaves_its_worker() -> None:
    memory = ByteBudget(10)
    queue = WorkQueue("queue", workers=1, max_waiting=5, memory=memory)
    await memory.take(10)

    with pytest.raises(DeadlineExceeded):
        await queue.run_job(context(50), lambda: True, 10)

    assert await queue.run_job(context(), lambda: "no memory needed", 0) == "no memory needed"
    queue.close()


def test_a_picture_of_the_largest_size_fits_in_every_common_format() -> None:
    memory = decoding_memory(SIDE * SIDE)
    for kind in ("PNG", "WEBP", "BMP", "JPEG"):
        target = io.BytesIO()
        Image.new("1" if kind in ("PNG", "BMP") else "L", (SIDE, SIDE)).save(target, kind)
        require_fitting(decoding_bytes(read_header(target.getvalue())), memory)


def test_a_picture_that_takes_more_than_there_is_for_all_is_refused() -> None:
    """The scans of a progressive JPEG are held at full size, here of four colours."""
    target = io.BytesIO()
    Image.new("CMYK", (400, 400)).save(target, "JPEG", progressive=True, subsampling=0)
    size = decoding_bytes(read_header(target.getvalue()))
    assert size == 400 * 400 * (8 + 4 * 2)

    with pytest.raises(PictureTooLarge, match="takes 3 MB of memory to decode and to draw"):
        require_fitting(size, decoding_memory(400 * 400))


MEASURE = """
import re, sys
import cv2
from elastic_yolo.detector.decode import decode
from elastic_yolo.picture.header import read_header

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

cv2.setNumThreads(1)
data = open(sys.argv[1], "rb").read()
header = read_header(data)
needed = tuple(map(int, sys.argv[2:])) or None
before = kilobytes("VmRSS")
decode(data, header, needed)
print(1024 * (kilobytes("VmHWM") - before))
"""
_SMALL = (416, 416)
KINDS = [
    ("JPEG", "RGB", {}, None),
    ("JPEG", "RGB", {}, _SMALL),
    ("JPEG", "RGB", {"progressive": True}, None),
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0}, _SMALL),
    ("JPEG", "CMYK", {}, None),
    ("PNG", "RGBA", {"compress_level": 1}, None),
    ("PNG", "P", {"compress_level": 1}, None),
    ("WEBP", "RGB", {"method": 0}, None),
    ("WEBP", "RGBA", {"lossless": True, "method": 0}, None),
    ("BMP", "RGB", {}, None),
    ("BMP", "1", {}, None),
]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "mode", "options", "needed"), KINDS)
def test_decoding_takes_no_more_memory_than_it_announces(
    tmp_path: Path,
    kind: str,
    mode: str,
    options: dict[str, object],
    needed: tuple[int, int] | None,
) -> None:
    """In a process of its own, whose peak the kernel records."""
    path = tmp_path / "picture"
    picture = Image.effect_noise((3500, 3500), 90).convert("RGB").convert(mode)
    if mode == "RGBA":
        picture.putalpha(128)
    picture.save(path, kind, **options)

    arguments = [sys.executable, "-c", MEASURE, str(path), *map(str, needed or ())]
    peak = int(subprocess.run(arguments, capture_output=True, check=True, cwd=ROOT).stdout)

    data = path.read_bytes()
    announced = decoding_bytes(read_header(data), needed) + len(data)
    # Tables and buffers of the libraries, whatever the size of the picture.
    assert peak <= announced * 1.05 + 8_000_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services with eight threads to decode, as on a large machine."""
    folder = tmp_path_factory.mktemp("memory")
    model = write_tiny_model(folder / "model")
    patience = {"REQUEST_TIMEOUT_MS": "300000"}
    env = dict.fromkeys(("web", "inference"), patience)
    env["preprocess"] = {"THREADS": "8", **patience}
    with Stack(model=model, logs=folder, env=env) as running:
        yield running


def kubernetes_limit() -> int:
    """Return the memory limit of preprocess in the manifests, in bytes."""
    text = (ROOT / "k8s" / "base" / "preprocess.yaml").read_text()
    found = re.search(r"limits: \{[^}]*memory: (\d+)Mi\}", text)
    assert found is not None
    return int(found[1]) << 20


def memory_bytes(field: str, pid: int) -> int:
    """Return the resident memory that a process has (VmRSS), or the most it has had (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.long
@pytest.mark.parametrize("accept", ["application/json", "image/jpeg"])
def test_eight_pictures_of_64_megapixels_stay_below_the_limit_of_the_pod(
    stack: Stack, accept: str
) -> None:
    """Each is a WebP of a few kilobytes, and at once they took 876 MB. Small ones still get in.

    Afterwards the memory is the kernel's again.
    """
    target = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (90, 120, 60)).save(target, "WEBP", lossless=True, method=0)
    bomb = target.getvalue()
    assert len(bomb) < 3_000

    def send(picture: bytes) -> int:
        headers = {"Content-Type": "image/webp", "Accept": accept, "X-Timeout-Ms": "290000"}
        url = f"{stack.web.url}/inference"
        return httpx.post(url, content=picture, headers=headers, timeout=300).status_code

    small = encode(plain(640, 480))
    process = stack.preprocess.process
    assert process is not None
    assert send(small) == 200
    before = memory_bytes("VmRSS", process.pid)
    with ThreadPoolExecutor(9) as threads:
        statuses = list(threads.map(send, [bomb] * 8 + [small]))

    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 2
    peak = memory_bytes("VmHWM", process.pid)
    growth = memory_bytes("VmRSS", process.pid) - before
    print(f"preprocess: peak {peak / 1e6:.0f} MB, growth {growth / 1e6:.0f} MB")  # noqa: T201  # the result
    assert peak < kubernetes_limit()
    assert growth < 64_000_000
