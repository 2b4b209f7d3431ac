"""The command `elastic-yolo stream`: wrong usage, its ports, and how it ends."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier

import pytest

from elastic_yolo.cli.stream import _close, _OneLine
from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.stream.addresses import SourceOptions, open_source
from elastic_yolo.stream.errors import BadAddress
from tests.stream.memory_ends import MemorySource
from tests.support.command import run
from tests.support.pictures import encode, plain
from tests.support.redis_server import redis_server
from tests.support.waiting import wait_until

REDIS = "redis://127.0.0.1:1/0?stream=pictures"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--source", ""], "--source: the address is empty"),
        (["--source", REDIS, "--source", f"{REDIS}&group=b"], f"have the name {REDIS}"),
        (["--source", REDIS, "--claim-after", "1e300"], "expected seconds, 0.1 to 86,400"),
        (["--source", REDIS, "--drain-timeout", "1e-9"], "expected seconds, 0.1 to 86,400"),
        (["--source", REDIS, "--url", "web:5000"], "expected --url http://HOST:PORT"),
        (
            ["--source", REDIS, "--url", "http://web:5000", "--engine", "openvino"],
            "--engine: not with --url: the services decide",
        ),
        (
            ["--source", REDIS, "--url", "http://web:5000", "--resize", "stretch"],
            "--resize: not with --url: the services decide",
        ),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_expected(
    options: list[str], expected: str, tiny_model: Path
) -> None:
    status, _, said = run("stream", "--model", tiny_model, *options)

    assert status == 2
    assert expected in said
    assert "Traceback" not in said


def test_an_empty_address_is_not_the_current_folder() -> None:
    """As of a variable that is not set: its pictures would be moved."""
    with pytest.raises(BadAddress, match="empty"):
        open_source("", SourceOptions(None, 60.0))


def test_a_port_that_is_taken_is_named_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as other:
        port = str(other.getsockname()[1])
        status, _, said = run(
            "stream", "--model", tmp_path, "--source", REDIS, "--metrics-port", port
        )

    assert (status, said) == (1, f"elastic-yolo: --metrics-port {port}: Address already in use\n")


@dataclass
class SlowEnd(MemorySource):
    """An end that is closed only together with another one."""

    together: Barrier = field(kw_only=True)

    def close(self) -> None:
        self.together.wait(30)


def test_ends_are_closed_at_the_same_time() -> None:
    """Twenty cameras that are away would take twenty times as long otherwise."""
    both = Barrier(2)

    _close([SlowEnd([], [], together=both), SlowEnd([], [], together=both)])


@pytest.mark.long
def test_the_command_ends_in_time_even_if_an_end_hangs(tmp_path: Path, tiny_model: Path) -> None:
    with redis_server(tmp_path) as server:
        server.client.xadd("pictures", {"picture": encode(plain(40, 30))})
        command = [
            sys.executable, "-m", "elastic_yolo.cli", "stream", "--model", str(tiny_model),
            "--source", server.address("stream=pictures"),
            "--sink", server.address("stream=results"), "--drain-timeout", "1",
        ]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: server.client.xlen("results") > 0, "the work began", 60)
            # An answer of Redis is waited for longer than this.
            server.pause()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
            server.go_on()

    assert process.returncode == 1
    assert "6 s after the stop something hangs" in said


@pytest.mark.long
def test_what_the_drain_did_not_finish_is_said_and_is_status_1(
    tmp_path: Path, tiny_model: Path
) -> None:
    with redis_server(tmp_path) as server:
        server.client.xadd("pictures", {"picture": encode(plain(40, 30))})
        command = [
            sys.executable, "-m", "elastic_yolo.cli", "stream", "--model", str(tiny_model),
            "--source", server.address("stream=pictures"),
            "--sink", f"http://{LOOPBACK}:{free_port()}/?send=results", "--drain-timeout", "1",
        ]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            while "next attempt in" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        (waiting,) = server.client.xpending_range("pictures", "detect", "-", "+", 10)

    assert process.returncode == 1
    assert "1 picture not finished within --drain-timeout 1;" in said
    assert waiting["message_id"]


def test_a_name_with_a_line_break_is_one_line_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s %(message)s"))
    record = logging.makeLogRecord(
        {"levelname": "WARNING", "msg": "%s: rejected", "args": ("a\n2026 INFO b\x1b[2J.jpg",)}
    )

    handler.handle(record)

    assert capfd.readouterr().err == "WARNING a\\n2026 INFO b\\x1b[2J.jpg: rejected\n"


def test_help_names_the_exit_statuses() -> None:
    status, said, _ = run("stream", "--help")

    assert status == 0
    assert "0 all sources have ended" in said
    assert LOOPBACK not in said
