"""Each lab does what its page says: every command is run as written, and its response compared."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from tests.labs.terminal import Terminal
from tests.labs.transcript import INTERRUPT, Step, find_mismatch, read_steps

pytestmark = [pytest.mark.labs, pytest.mark.timeout(1200)]
LABS = sorted((ROOT / "docs" / "labs").glob("[0-9][0-9]-*.md"))
_GIT = "/usr/bin/git"
# Some of those that the pages name: of services, Prometheus, a collector of traces, a camera.
_PORTS = (5000, 8000, 4002, 4012, 9090, 4318, 8554, 9101)


def _has_docker() -> bool:
    return shutil.which("docker") is not None and _succeeds("docker", "info")


def _has_cluster() -> bool:
    return bool(os.environ.get("KUBECONFIG")) and _succeeds("kubectl", "get", "nodes")


def _has_deployed(kind: str, name: str) -> bool:
    return _has_cluster() and _succeeds("kubectl", "-n", "elastic-yolo", "get", kind, name)


def _has_network() -> bool:
    return _succeeds("git", "ls-remote", "--exit-code", "https://github.com/AlexeyAB/darknet")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


AVAILABLE: dict[str, Callable[[], bool]] = {
    "docker": _has_docker,
    "cluster": _has_cluster,
    # Lab 3 deploys the services, and removes them at its end.
    "deployment": lambda: _has_deployed("deployment", "web"),
    "batch": lambda: _has_deployed("cronjob", "batch"),
    "minikube": lambda: _has_cluster() and shutil.which("minikube") is not None,
    "microk8s": lambda: _has_cluster() and shutil.which("microk8s") is not None,
    "cuda": lambda: shutil.which("nvidia-smi") is not None,
    "zoo": _has_network,
    # What only a person can do, for example in a browser.
    "person": lambda: False,
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the working tree, with the environments of this one."""
    folder = tmp_path_factory.mktemp("student") / "elastic-yolo"
    folder.mkdir()
    listed = subprocess.run(
        [_GIT, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
            # Older than the environments, so that make does not set them up again.
            os.utime(folder / name, (0, 0), follow_symlinks=False)
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "lab"]):
        author = ["-c", "user.name=student", "-c", "user.email=student@localhost"]
        subprocess.run([_GIT, *author, *command], cwd=folder, check=True)
    for environment in ROOT.glob(".venv*"):
        (folder / environment.name).symlink_to(environment)
    return folder


def student_env(checkout: Path) -> dict[str, str]:
    """Return the environment of a new terminal; no setting of the services is in it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    for name in ("KUBECONFIG", "DOCKER_HOST", "REAL_MODELS"):
        if name in os.environ:
            kept[name] = os.environ[name]
    # The environments import from the checkout that they were made in.
    own = {"PYTHONPATH": str(checkout), "TERM": "dumb", "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    return {"LANG": "C.UTF-8", **kept, **own}


@pytest.fixture
def terminals(checkout: Path, tmp_path: Path) -> Iterator[Callable[[str], Terminal]]:
    """Terminals by their names, each opened when it is first used."""
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                pytest.fail(f"a lab needs port {port}: {error.strerror}", pytrace=False)
    with ExitStack() as stack:
        stack.callback(_kill_all_in, checkout)
        opened: dict[str, Terminal] = {}

        def find(name: str) -> Terminal:
            if name not in opened:
                terminal = Terminal(checkout, tmp_path, student_env(checkout))
                opened[name] = stack.enter_context(terminal)
            return opened[name]

        yield find


def _kill_all_in(folder: Path) -> None:
    """Kill what a lab that failed half-way has left: the next one needs the ports."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(folder):
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.mark.parametrize("page", LABS, ids=lambda page: page.stem)
def test_every_command_responds_as_the_page_shows(
    page: Path, terminals: Callable[[str], Terminal], request: pytest.FixtureRequest
) -> None:
    steps = read_steps(page)
    missing = {
        need for need in {one.needs for one in steps} if need is not None and not AVAILABLE[need]()
    }
    run = [one for one in steps if one.needs not in missing]
    if not run:
        pytest.skip(f"needs {', '.join(sorted(missing))}")
    began = time.monotonic()
    for step in run:
        run_step(page, step, terminals(step.terminal))
    said = f"{page.stem}: {len(run)} of {len(steps)} commands in {time.monotonic() - began:.0f} s"
    if missing:
        said += f"; the others need {', '.join(sorted(missing))}"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{said}")  # noqa: T201  # the report


def run_step(page: Path, step: Step, terminal: Terminal) -> None:
    """Type a command, and compare the response with the page."""
    if step.typed == INTERRUPT:
        terminal.interrupt()
    else:
        assert not terminal.is_busy, f"{page.name}:{step.line}: another command runs there"
        terminal.type(step.typed)
    if step.stays:
        _wait_for_response(page, step, terminal)
        return
    try:
        status = terminal.wait_for_end(step.timeout_s)
    except TimeoutError:
        _fail(page, step, terminal, f"did not end within {step.timeout_s:g} s")
    mismatch = find_mismatch(step, terminal.response())
    if mismatch is not None:
        where = mismatch.after + 1
        shown = f"the page shows {mismatch.shown!r}" if mismatch.shown else "the page shows no more"
        _fail(page, step, terminal, f"{shown} at line {where} of the response")
    if step.typed != INTERRUPT and status != step.status:
        _fail(page, step, terminal, f"ended with {status} instead of {step.status}")


def _wait_for_response(page: Path, step: Step, terminal: Terminal) -> None:
    until = time.monotonic() + step.timeout_s
    while True:
        response = terminal.response()
        mismatch = find_mismatch(step, response, is_complete=False)
        if mismatch is None:
            return
        if not terminal.wait_for_more(len(response), until):
            _fail(page, step, terminal, f"never showed {mismatch.shown!r}")


def _fail(page: Path, step: Step, terminal: Terminal, why: str) -> None:
    response = "\n".join(terminal.response())
    pytest.fail(
        f"{page.relative_to(ROOT)}:{step.line}: {why}\n$ {step.typed}\n{response}", pytrace=False
    )
