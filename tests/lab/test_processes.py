"""What the lab gets from the operating system: CPU time, CPU limits, connections."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.load.client import LOST
from elastic_yolo.lab.load.picture_load import MAX_IN_FLIGHT, Load
from elastic_yolo.lab.processes.cpu_clock import cpu_s, parse_ps_time
from elastic_yolo.lab.processes.cpu_limits import CpuLimits
from elastic_yolo.lab.processes.stack import free_port
from elastic_yolo.lab.web_service import WebService

BUSY = """
import time
while time.process_time() < 0.3: pass
print(time.process_time(), flush=True)
input()
"""


def test_cpu_seconds_match_what_the_process_measures() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        said = float(process.stdout.readline())
        used = cpu_s(process.pid)
        process.communicate("\n")

    assert used == pytest.approx(said, abs=0.05)
    assert cpu_s(process.pid) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:01.50", 1.5), ("12:34.56", 754.56), ("01:02:03", 3723), ("2-01:00:00", 176_400)],
)
def test_times_of_ps_are_parsed(text: str, seconds: float) -> None:
    assert parse_ps_time(text) == pytest.approx(seconds)


def test_without_a_cgroup_with_a_cpu_controller_there_are_no_limits(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    assert CpuLimits.find(tmp_path, own) is None

    own.write_text("4:memory:/x\n0::/user/mine\n")
    (tmp_path / "user" / "mine").mkdir(parents=True)
    (tmp_path / "user" / "cgroup.subtree_control").write_text("memory pids\n")
    assert CpuLimits.find(tmp_path, own) is None


def test_the_nearest_cgroup_with_a_cpu_controller_is_used(tmp_path: Path) -> None:
    """With files in the place of the kernel's: most machines do not let us write theirs."""
    own = tmp_path / "cgroup"
    own.write_text("0::/user/mine\n")
    (tmp_path / "user" / "mine").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "user"):
        (folder / "cgroup.subtree_control").write_text("cpu memory\n")

    limits = CpuLimits.find(tmp_path, own)

    assert limits
    assert limits.folder.parent == tmp_path / "user"
    limits.place(1234, "inference-1", 0.176)
    group = limits.folder / "inference-1"
    assert (group / "cpu.max").read_text() == "17600 100000"
    assert (group / "cgroup.procs").read_text() == "1234"


class Server:
    """Echoes every request's body with a status, once `gate` is open, and closes."""

    def __init__(self, status: str = "200 OK") -> None:
        """Begin with the gate open."""
        self.status = status
        self.requests = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            body = await reader.readexactly(length)
            self.requests += 1
            self.arrived.set()
            await self.gate.wait()
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: {length}\r\n\r\n".encode())
            writer.write(body)
            await writer.drain()
        finally:
            writer.close()


@pytest.mark.anyio
async def test_the_web_service_spreads_connections_over_running_pods() -> None:
    picture = bytes(300_000)
    servers = [Server(), Server(), Server()]
    async with servers[0].running() as one, servers[1].running() as two:
        async with servers[2].running() as three:
            ports = [one, two, three, free_port()]
            service = WebService(lambda: ports)
            await service.start()
            load = Load(f"{service.url}/inference", [picture])
            for _ in range(12):
                await load.send(picture)
        # The third has stopped, and is still in the list.
        for _ in range(12):
            await load.send(picture)
        await service.close()

    requests = [server.requests for server in servers]
    assert load.statuses == {200: 24}
    assert min(requests[:2]) >= 6
    assert requests[2] >= 3


@pytest.mark.anyio
async def test_a_web_service_without_pods_returns_no_response() -> None:
    service = WebService(list)
    await service.start()
    load = Load(f"{service.url}/inference", [b"x"])
    await load.send(b"x")
    await service.close()

    assert load.statuses == {LOST: 1}
    assert load.first_failure is not None
    assert load.first_failure.startswith("no response")


@pytest.mark.anyio
async def test_closing_the_web_service_ends_open_connections(
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = Server()
    server.gate.clear()
    async with server.running() as port:
        service = WebService(lambda: [port])
        await service.start()
        load = Load(f"{service.url}/inference", [b"picture"])
        sending = asyncio.create_task(load.send(b"picture"))
        await server.arrived.wait()
        await service.close()
        await sending
        server.gate.set()

    assert load.statuses == {LOST: 1}
    assert capfd.readouterr().err == ""


@pytest.mark.anyio
async def test_failures_are_counted_and_the_first_is_quoted() -> None:
    async with Server("503 Service Unavailable").running() as port:
        # It echoes what it receives.
        problem = b'{"detail": "not ready"}'
        load = Load(f"http://127.0.0.1:{port}/inference", [problem])
        await load.run(Arrivals("constant", 0, 100, 0.2))

    assert load.failed == load.sent > 0
    assert load.first_failure == "503: not ready"


@pytest.mark.anyio
async def test_beyond_the_clients_limit_pictures_are_never_sent() -> None:
    server = Server()
    server.gate.clear()
    async with server.running() as port:
        load = Load(f"http://127.0.0.1:{port}/inference", [b"picture"])
        running = asyncio.create_task(load.run(Arrivals("constant", 0, 500, 0.5)))
        # As long as the load lasts: more requests would arrive if there were no limit.
        await asyncio.sleep(0.6)
        in_flight = server.requests
        server.gate.set()
        await running

    assert in_flight == MAX_IN_FLIGHT
    assert load.never_sent > 0
    assert load.failed == 0
    assert load.sent >= MAX_IN_FLIGHT


@pytest.mark.anyio
async def test_a_load_that_is_stopped_awaits_its_last_responses() -> None:
    server = Server()
    server.gate.clear()
    async with server.running() as port:
        load = Load(f"http://127.0.0.1:{port}/inference", [b"picture"])
        running = asyncio.create_task(load.run(Arrivals("constant", 0, 100, 60)))
        await server.arrived.wait()
        running.cancel()
        asyncio.get_running_loop().call_soon(server.gate.set)
        with pytest.raises(asyncio.CancelledError):
            await running

    assert load.sent >= 1
    assert load.failed == 0
