"""GRPC_PORT: what the process loads and says at its start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, Service, free_port
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.settings import InferenceSettings
from tests.support.grpc_service import grpc_service
from tests.support.log_lines import read_log
from tests.support.service_start import start
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until
from tools.proto import GENERATED, SOURCE, generate

LOADED = """
import sys
import services.inference.__main__
print([name for name in ("grpc", "google.protobuf") if name in sys.modules])
"""


def log_lines(folder: Path, event: str) -> list[dict[str, object]]:
    return [found for found in read_log(folder / "log") if found["event"] == event]


def test_without_a_port_the_service_does_not_import_grpc() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "grpc" not in shown.stdout


def test_without_a_port_there_is_no_grpc(tmp_path: Path) -> None:
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "model"))}
    with Service("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()
        libraries = Path(f"/proc/{service.process.pid}/maps").read_text()

    assert log_lines(tmp_path, "listening for gRPC") == []
    assert "cygrpc" not in libraries


def test_a_free_port_is_chosen_and_logged(tmp_path: Path) -> None:
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "model")), "GRPC_PORT": "0"}
    with Service("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()
        (line,) = log_lines(tmp_path, "listening for gRPC")
        assert isinstance(line["port"], int)
        socket.create_connection((LOOPBACK, line["port"])).close()

    assert line["address"] == f"{LOOPBACK}:{line['port']}"


def test_the_port_listens_on_ipv6_as_well_as_http(tmp_path: Path) -> None:
    port = free_port()
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "model")), "GRPC_PORT": str(port)}
    with Service("inference", free_port(), env, tmp_path / "log", host="::1") as service:
        service.wait_ready()
        socket.create_connection(("::1", port)).close()


def test_a_taken_port_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = str(listener.getsockname()[1])
        model = str(write_tiny_model(tmp_path / "model"))
        ended = start("inference", MODEL_PATH=model, GRPC_PORT=port, HOST=LOOPBACK)

    assert ended.returncode == 1
    where = f"{LOOPBACK}, port {port}"
    assert ended.stderr == f"GRPC_PORT: cannot listen on {where}: Address already in use\n"


@pytest.mark.parametrize(
    ("port", "line"),
    [
        ("http", "GRPC_PORT: Input should be a valid integer"),
        ("70000", "GRPC_PORT: Input should be less than or equal to 65535"),
        ("4002", "GRPC_PORT: 4002 is PORT as well"),
    ],
)
def test_a_bad_port_ends_the_start_with_one_line(port: str, line: str) -> None:
    ended = start("inference", MODEL_PATH="/nowhere", GRPC_PORT=port)

    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_with_grpc_callers_may_open_twice_as_many_files() -> None:
    """MAX_CONNECTIONS counts for each of the two ports."""
    alone, both = (
        InferenceSettings(model_path="/m", grpc_port=port).files_per_caller for port in (None, 4003)
    )

    assert (alone, both) == (1, 2)


def test_what_callers_do_wrong_is_no_error_in_the_log(tmp_path: Path) -> None:
    """The library would write lines of its own to stderr, and tracebacks."""
    with grpc_service(tmp_path, MAX_HELD_BYTES="1000000") as (service, client):
        client.send_bytes(b"\xff")
        client.send_bytes(bytes(2_000_000))
        client.send_bytes(b"", metadata=(("x-timeout-ms", "soon"),))
        client.send_bytes(b"", "RepositoryModelLoad")
        with socket.create_connection(("127.0.0.1", _grpc_port(service))) as bad:
            bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while bad.recv(1000):
                pass
        wait_until(lambda: len(log_lines(tmp_path, "request")) >= 3, "three calls are logged")

    levels = [line["level"] for line in read_log(tmp_path / "log")]
    assert {*levels} == {"info"}
    assert {line["method"] for line in log_lines(tmp_path, "request")} <= {"gRPC", "GET"}


def _grpc_port(service: Service) -> int:
    return int(service.env["GRPC_PORT"])


def test_the_generated_module_is_up_to_date(tmp_path: Path) -> None:
    """`make proto` writes it."""
    generate(tmp_path)

    for name in GENERATED:
        assert (tmp_path / name).read_text() == (SOURCE.parent / name).read_text(), name


def test_numbers_of_fields_are_those_that_clients_use() -> None:
    """Of Triton's and kserve's files; a client would read another field without an error."""
    numbers = {
        (message.name, field.name): field.number
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
    }

    assert numbers["ModelInferRequest", "raw_input_contents"] == 7
    assert numbers["ModelInferResponse", "raw_output_contents"] == 6
    assert numbers["InferTensorContents", "bytes_contents"] == 8
    assert numbers["ModelConfig", "backend"] == 17
