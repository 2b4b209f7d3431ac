"""`elastic-yolo serve` as a user runs it: start, addresses, drain, failures."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from elastic_yolo.cli.serve import Summary
from elastic_yolo.doctor.machine import find_holder, is_taken
from elastic_yolo.lab.processes.stack import ROOT, free_port
from tests.support.command import run
from tests.support.grpc_service import GrpcClient
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import in_flight, wait_until

TOKEN = "a long enough token"  # noqa: S105
JPEG = encode(plain(64, 48), "JPEG")


@dataclass
class Served:
    """A running `elastic-yolo serve`, and what it printed when it was ready."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]

    @property
    def ports(self) -> list[int]:
        urls = [self.facts["web"], self.facts["preprocess"], *self.facts["inference"]]
        return [int(url.rpartition(":")[2]) for url in urls]

    def post(self) -> httpx.Response:
        return httpx.post(f"{self.facts['web']}/inference", files={"image": JPEG}, timeout=60)

    def signal_to(self, port: int, number: signal.Signals) -> None:
        os.kill(find_holder(port).pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit status and what was printed on stderr."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=90)
        return self.process.returncode, err


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, for the cache and the log folders."""
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model")


@contextmanager
def serving(
    environment: dict[str, str], *arguments: str | Path, folder: Path = ROOT
) -> Iterator[Served]:
    command = [sys.executable, "-m", "elastic_yolo.cli", "serve", "--json", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield Served(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(90)


def log_folders(environment: dict[str, str]) -> list[Path]:
    return sorted(Path(environment["TMPDIR"]).glob("elastic-yolo-serve-*"))


def test_a_model_is_served_until_sigterm(environment: dict[str, str], model: Path) -> None:
    with serving(environment, model, "--port", "0") as served:
        answer = served.post().json()
        (logs,) = log_folders(environment)
        written = {path.name for path in logs.iterdir()}
        status, err = served.end()

    assert answer["data"][0][0] == "square"
    assert served.facts["model"] == answer["model"]["name"] == "tiny"
    assert (served.facts["engine"], served.facts["precision"]) == ("openvino", "fp32")
    assert written == {"web.log", "preprocess.log", "inference.log"}
    assert status == 0
    assert re.fullmatch(r"(\w+ ready after [\d.]+ s\n){3}", err), err
    assert log_folders(environment) == []
    assert [is_taken(port) for port in served.ports] == [False] * 3
    cache = Path(environment["XDG_CACHE_HOME"]) / "elastic-yolo" / "cache"
    assert list(cache.rglob("*.xml")), "nothing is compiled for the next start"


@pytest.mark.parametrize(("variable", "explains"), [({}, True), ({"EXPLAIN": "false"}, False)])
def test_detections_are_explained_unless_that_is_turned_off(
    environment: dict[str, str], model: Path, variable: dict[str, str], explains: bool
) -> None:
    with serving({**environment, **variable}, model, "--port", "0") as served:
        paths = httpx.get(f"{served.facts['web']}/openapi.json").json()["paths"]
        inner = httpx.get(f"{served.facts['preprocess']}/openapi.json").json()["paths"]

    assert ("/explain" in paths, "/explain" in inner) == (explains, explains)


def test_each_inference_process_answers_grpc(environment: dict[str, str], model: Path) -> None:
    """A port of the environment would be one for two processes."""
    shared = {**environment, "GRPC_PORT": "4003"}
    with serving(shared, model, "--port", "0", "--inference", "2") as served:
        addresses = served.facts["grpc"]
        live = []
        for address in addresses:
            with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
                live.append(GrpcClient(channel).call("ServerLive").live)

    assert len({*addresses}) == 2
    assert live == [True, True]


def test_the_port_for_metrics_is_that_of_web(environment: dict[str, str], model: Path) -> None:
    """All processes have the same environment, and one port is for one of them."""
    port = free_port()
    shared = {**environment, "METRICS_PORT": str(port)}
    with serving(shared, model, "--port", "0", "--inference", "2") as served:
        urls = [f"http://127.0.0.1:{port}", served.facts["preprocess"], *served.facts["inference"]]
        exported = [httpx.get(f"{url}/metrics").text for url in urls]

    services = [re.search(r'service="(\w+)"', text) for text in exported]
    assert [found and found[1] for found in services] == [
        "web",
        "preprocess",
        "inference",
        "inference",
    ]


def test_ctrl_c_lets_a_request_in_progress_finish(environment: dict[str, str], model: Path) -> None:
    with serving(environment, model, "--port", "0") as served, ThreadPoolExecutor() as threads:
        inference = served.ports[2]
        served.signal_to(inference, signal.SIGSTOP)
        waiting = threads.submit(served.post)
        wait_until(lambda: in_flight(served.facts["web"]) == 1, "a request is in progress")
        served.process.send_signal(signal.SIGINT)
        wait_until(lambda: not is_taken(served.ports[0]), "web accepts no more connections")
        inference_runs = is_taken(inference)
        served.signal_to(inference, signal.SIGCONT)
        answer = waiting.result()
        status, _ = served.wait()

    assert inference_runs
    assert answer.status_code == 200
    assert answer.json()["data"][0][0] == "square"
    assert status == 0


def test_a_second_ctrl_c_kills_the_services(environment: dict[str, str], model: Path) -> None:
    with serving(environment, model, "--port", "0") as served, ThreadPoolExecutor() as threads:
        served.signal_to(served.ports[2], signal.SIGSTOP)
        waiting = threads.submit(served.post)
        wait_until(lambda: in_flight(served.facts["web"]) == 1, "a request is in progress")
        served.process.send_signal(signal.SIGINT)
        wait_until(lambda: not is_taken(served.ports[0]), "web accepts no more connections")
        status, err = served.end(signal.SIGINT)
        error = waiting.exception()

    # Preprocess may die before web does, which then has the time to respond.
    assert isinstance(error, httpx.TransportError) or waiting.result().status_code == 503
    assert status == 1
    assert "killed before requests in progress had finished" in err
    assert [is_taken(port) for port in served.ports] == [False] * 3


def test_a_taken_port_is_one_line_with_its_process(
    environment: dict[str, str], model: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AssertionError) as failed, serving(environment, model, "--port", port):
            pass

    assert re.search(
        rf"^elastic-yolo: port {port} is in use by .*python.* \(process {os.getpid()}\); "
        r"choose another one with --port$",
        str(failed.value).splitlines()[0],
    )
    assert log_folders(environment) == []


@pytest.mark.long
def test_two_models_are_served_beside_each_other(environment: dict[str, str], model: Path) -> None:
    with (
        serving(environment, model, "--port", "0") as one,
        serving(environment, model, "--port", "0") as other,
    ):
        assert one.post().status_code == other.post().status_code == 200
        assert not set(one.ports) & set(other.ports)


def test_a_tier_that_dies_ends_the_others(environment: dict[str, str], model: Path) -> None:
    with serving(environment, model, "--port", "0") as served:
        preprocess = served.ports[1]
        served.signal_to(preprocess, signal.SIGKILL)
        status, err = served.wait()

    (logs,) = log_folders(environment)
    assert status == 1
    assert err.splitlines()[-1] == (
        f"elastic-yolo: preprocess on port {preprocess} ended (killed by SIGKILL) (logs: {logs})"
    )
    # Drained, not killed.
    assert "stopped" in (logs / "web.log").read_text()
    assert "stopped" in (logs / "inference.log").read_text()


def test_no_service_is_left_when_the_command_is_killed(
    environment: dict[str, str], model: Path
) -> None:
    with serving(environment, model, "--port", "0") as served:
        served.end(signal.SIGKILL)
        (folder,) = log_folders(environment)
        logs = [folder / f"{tier}.log" for tier in ("web", "preprocess", "inference")]
        wait_until(lambda: all("stopped" in log.read_text() for log in logs), "all have drained")

    assert [is_taken(port) for port in served.ports] == [False] * 3


@pytest.mark.long
def test_one_of_two_inference_processes_may_die(environment: dict[str, str], model: Path) -> None:
    with serving(environment, model, "--port", "0", "--inference", "2") as served:
        killed, left = served.ports[2:]
        served.signal_to(killed, signal.SIGKILL)
        assert served.process.stderr
        line = next(line for line in served.process.stderr if "ended" in line)
        answer = served.post()
        status, _ = served.end()

    assert line.startswith(f"inference on port {killed} ended (killed by SIGKILL)")
    assert line.endswith("; the others go on\n")
    assert answer.status_code == 200
    assert left != killed
    assert status == 0


def test_web_alone_listens_on_the_host(environment: dict[str, str], model: Path) -> None:
    """All of 127.0.0.0/8 is this machine."""
    with serving(environment, model, "--port", "0", "--host", "127.0.0.2") as served:
        web, preprocess, inference = served.ports
        answer = served.post()

        assert served.facts["web"] == f"http://127.0.0.2:{web}"
        assert answer.status_code == 200
        for port in (preprocess, inference):
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://127.0.0.2:{port}/livez")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine; see --host"),
        ("web.invalid", "web.invalid is neither an address nor a known name; see --host"),
    ],
)
def test_an_unusable_host_is_one_line(host: str, reason: str, model: Path) -> None:
    assert run("serve", model, "--port", "0", "--host", host) == (
        1,
        "",
        f"elastic-yolo: {reason}\n",
    )


@pytest.mark.parametrize("arguments", [["/absent"], ["--port", "70000"], ["--inference", "0"]])
def test_wrong_usage_of_serve_ends_with_two(arguments: list[str]) -> None:
    status, out, err = run("serve", *arguments)

    assert (status, out) == (2, "")
    assert "usage: elastic-yolo serve" in err


def test_an_unusable_model_is_one_line_and_ends_all(
    environment: dict[str, str], model: Path
) -> None:
    (model / "tiny.names").unlink()

    with pytest.raises(AssertionError) as failed, serving(environment, model, "--port", "0"):
        pass

    (logs,) = log_folders(environment)
    assert str(failed.value).splitlines()[0] == (
        "elastic-yolo: inference exited with status 1 during start-up: MODEL_PATH: "
        f"{model}: expected exactly one .names file, or a .data file that names it, "
        f"found none (logs: {logs})"
    )


def test_a_terminal_shows_progress_addresses_and_responses(
    environment: dict[str, str], model: Path
) -> None:
    """On a pseudo-terminal: a line that is redrawn, the addresses, pictures, then Ctrl-C."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "elastic_yolo.cli", "serve", "--port", "0", str(model)]
        os.execve(sys.executable, command, environment)  # noqa: S606  # our own program
    shown = ""
    try:
        while "Ctrl-C stops all of it." not in shown:
            shown += os.read(terminal, 4096).decode()
        web = re.search(r"  page        (http://127\.0\.0\.1:\d+)/\r\n", shown)
        assert web
        for picture in (JPEG, JPEG, b"no picture"):
            httpx.post(f"{web[1]}/inference", files={"image": picture}, timeout=60)
        while "3 pictures, 1 failed" not in shown:
            shown += os.read(terminal, 4096).decode()
        os.write(terminal, b"\x03")
        while part := _read(terminal):
            shown += part
    finally:
        os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    redrawn = re.findall(r"\r\x1b\[K(starting for [^\r]*)", shown)
    assert redrawn[0] == "starting for 0 s: inference, preprocess, web"
    assert len(redrawn) > 2
    assert "ready after" not in shown
    # The tiny model suits none of the sample pictures.
    assert f"  try         curl -F image=@photo.jpg {web[1]}/inference\r\n" in shown
    assert f"\x1b[K{web[1]}/  3 pictures, 1 failed  3 of 3 processes  up 0:" in shown
    assert "stopping when requests in progress have finished" in shown
    table = [line.split() for line in shown.splitlines()[-4:]]
    assert table[:3] == [
        ["response", "pictures"],
        ["200", "OK", "2"],
        ["415", "Unsupported", "Media", "Type", "1"],
    ]
    assert table[3][:3] == ["all", "3", "mean"]
    assert status == 0


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode()
    except OSError:
        # The other side has closed it.
        return ""


@pytest.mark.long
def test_warnings_of_the_services_reach_the_terminal(
    environment: dict[str, str], model: Path
) -> None:
    """A variable without effect is a warning of every service at its start."""
    environment["LOG_FORMAT"] = "json"
    with serving(environment, model, "--port", "0") as served:
        assert served.process.stderr
        lines = {next(_lines_with("no effect", served.process.stderr)) for _ in range(3)}

    assert {line.split(":")[0] for line in lines} == {"web", "preprocess", "inference"}
    assert all("variable has no effect (variable=LOG_FORMAT" in line for line in lines)


def _lines_with(text: str, lines: Iterator[str] | Any) -> Iterator[str]:
    return (line for line in lines if text in line)


def test_paths_in_the_environment_are_relative_to_the_users_folder(
    environment: dict[str, str], model: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "other")
    (tmp_path / "other" / "model.yaml").write_text("name: other\n")
    (tmp_path / "typical").mkdir()
    (tmp_path / "typical" / "one.jpg").write_bytes(JPEG)
    (tmp_path / "token").write_text(TOKEN)
    relative = {
        "CACHE_DIR": "compiled", "CALIBRATION_DIR": "typical", "MODEL_OTHER_PATH": "other",
        "ACCESS_TOKEN_FILE": "token",
        "ROUTES": "routes.yaml",
    }  # fmt: skip
    (tmp_path / "routes.yaml").write_text("routes: [{backends: inference}]")
    with serving(environment | relative, "model", "--port", "0", folder=tmp_path) as served:
        url = f"{served.facts['web']}/inference?model=other"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        refused = httpx.post(url, files={"image": JPEG}, timeout=60)
        answer = httpx.post(url, files={"image": JPEG}, headers=headers, timeout=60).json()

    assert refused.status_code == 401
    assert answer["model"]["name"] == "other"
    assert list((tmp_path / "compiled").rglob("*.xml"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cache", ""], "argument --cache: expected the path of a folder"),
        (["--cache", "README.md"], "argument --cache: not a folder: README.md"),
        ([""], "argument MODEL: expected a model folder, or a name of the zoo"),
        (["README.md"], "argument MODEL: README.md: is a file: expected its folder"),
    ],
)
def test_a_path_of_the_wrong_kind_is_refused_at_once(arguments: list[str], said: str) -> None:
    status, out, err = run("serve", *arguments)

    assert (status, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_files_for_tls_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLS_CA_FILE", "ca.crt")

    status, _, err = run("serve")

    assert status == 1
    assert "TLS_CA_FILE: serve connects its services without TLS" in err


def test_a_taken_port_is_reported_before_a_model_is_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        status, _, err = run("serve", "yolov4", "--port", str(port))

    (line,) = err.splitlines()
    assert status == 1
    assert line.startswith(f"elastic-yolo: port {port} is in use by ")


def test_serve_works_without_standard_error(environment: dict[str, str], model: Path) -> None:
    command = f'exec "{sys.executable}" -m elastic_yolo.cli serve --json --port 0 "{model}" 2>&-'
    with subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        facts = json.loads(process.stdout.readline())
        process.terminate()

    assert facts["model"] == "tiny"
    assert process.returncode == 0


def test_the_example_request_has_the_token_if_one_is_required() -> None:
    web = "http://127.0.0.1:5000"
    summary = Summary(web, "", [], [], "tiny", "openvino", "fp32", "cpu", None)

    shown = summary.lines("127.0.0.1", None, variable="ACCESS_TOKEN")

    header = '-H "Authorization: Bearer $ACCESS_TOKEN"'
    assert f"  try         curl {header} -F image=@photo.jpg {web}/inference" in shown


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (None, "  identity    none: anyone may send pictures"),
        ("ACCESS_TOKEN", "  identity    required"),
    ],
)
def test_the_summary_says_whether_callers_need_an_identity(variable: str | None, line: str) -> None:
    summary = Summary("http://127.0.0.1:5000", "", [], [], "tiny", "", "fp32", "cpu", None)

    assert line in summary.lines("127.0.0.1", None, variable=variable)
