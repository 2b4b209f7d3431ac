"""Checks of this machine: CPU, memory, disk, engines, ports and tools."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elastic_yolo.detector.engines.choose import Choice, EngineOptions, choose
from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.doctor.cpu import judge_cpu
from elastic_yolo.doctor.machine import find_holder, is_taken, read_memory
from elastic_yolo.doctor.sources import find_kubectl
from elastic_yolo.machine import read_cpu, read_cpu_quota
from elastic_yolo.names import STORE_SCHEME
from elastic_yolo.tiers import PORTS

State = Literal["ok", "-", "warning", "problem"]
""""-" is an optional program or device that this machine lacks."""
_PYTHON = (3, 11)
_IMPORT_TIMEOUT_S = 120
_COMMAND_TIMEOUT_S = 20
_MEGABYTE = 10**6
# All three services take 441 MB idle and up to 578 MB under five times the load they can serve
# (docs/sizing.md). yolov3 takes 2 GB at its first start.
_LITTLE_MEMORY = 600 * _MEGABYTE
_ENOUGH_MEMORY = 2500 * _MEGABYTE
# yolov3 has 248 MB of weights; a cache takes about twice that (models/demo: 11.1 MB for 5.7).
_LITTLE_DISK = 300 * _MEGABYTE
_ENOUGH_DISK = 1000 * _MEGABYTE


@dataclass(frozen=True)
class Line:
    """The result of one check."""

    state: State
    name: str
    detail: str


def examine(environment: Mapping[str, str] = os.environ) -> Iterator[Line]:
    """Yield the results of all checks, one by one."""
    yield _python()
    state, detail = judge_cpu(read_cpu(), platform.machine())
    yield Line(state, "CPU", detail)
    yield judge_cores(len(os.sched_getaffinity(0)), read_cpu_quota())
    yield judge_memory(*read_memory())
    yield from _engines()
    choice = _choice()
    yield _chosen(choice)
    yield _gpu(choice)
    yield from (_port(service, port) for service, port in PORTS.items())
    yield from (_disk(name, folder) for name, folder in _folders(environment))
    yield _container_engine()
    yield _kubectl()
    yield from (_local_cluster(name) for name in ("minikube", "microk8s"))


def judge_cores(cores: int, quota: float | None) -> Line:
    """Judge the number of cores, and the CPU quota of the container in cores."""
    usable = cores if quota is None else min(float(cores), quota)
    of = "" if quota is None or quota >= cores else f", limited to {quota:g} by a CPU quota"
    seen = f"{cores} core{'s' * (cores != 1)}{of}"
    if usable < 1:
        return Line("warning", "cores", f"{seen}: the quota throttles every picture")
    if usable < 2:
        return Line(
            "warning",
            "cores",
            f"{seen}: the three services share one core; more replicas are no faster",
        )
    return Line("ok", "cores", f"{seen}: engines use as many threads")


def judge_memory(free: int, left: int | None) -> Line:
    """Judge the free memory, and what the container's limit leaves of it; both in bytes."""
    usable = free if left is None else min(free, left)
    of = "" if left is None or left >= free else " (within the container's limit)"
    seen = f"{usable / 1e9:.1f} GB free{of}"
    if usable < _LITTLE_MEMORY:
        return Line("problem", "memory", f"{seen}: the three services take 0.6 GB under load")
    if usable < _ENOUGH_MEMORY:
        return Line(
            "warning", "memory", f"{seen}: enough for yolov3-tiny; yolov3 takes 2 GB at its start"
        )
    return Line("ok", "memory", f"{seen}: enough for all three services with yolov3")


def judge_disk(name: str, folder: Path, free: int, *, writable: bool) -> Line:
    """Judge the free bytes of a folder's file system."""
    seen = f"{folder}: {free / 1e9:.1f} GB free"
    if not writable:
        return Line("problem", name, f"{seen}, but not writable")
    if free < _LITTLE_DISK:
        return Line("problem", name, f"{seen}: yolov3's weights alone take 0.25 GB")
    if free < _ENOUGH_DISK:
        return Line(
            "warning", name, f"{seen}: yolov3 takes 0.25 GB, and its cache about twice that"
        )
    return Line("ok", name, seen)


def _python() -> Line:
    version = platform.python_version()
    wanted = ".".join(map(str, _PYTHON))
    if sys.version_info < _PYTHON:
        return Line("problem", "Python", f"{version}: needs {wanted} or newer")
    return Line("ok", "Python", version)


def _engines() -> Iterator[Line]:
    for name, needed in (("openvino", True), ("onnxruntime", False)):
        version, problem = import_version(name)
        if version:
            yield Line("ok", name, version)
        elif problem:
            yield Line("problem", name, f"installed, but cannot be imported: {problem}")
        else:
            without = "engine=auto uses another" if needed else "CUDA needs it"
            yield Line("warning" if needed else "-", name, f"not installed: {without}")
    library = find_libdarknet()
    if library is None:
        yield Line("-", "darknet", "not installed: only used for comparisons (make oracle)")
    else:
        yield Line("ok", "darknet", str(library))


def import_version(module: str) -> tuple[str, str]:
    """Return a module's version and "", or "" and the reason why it cannot be imported.

    Both are empty if it is not installed. It runs in a separate process: an import can crash on a
    CPU for which the module was not compiled.
    """
    program = (
        "import sys, importlib.util as u\n"
        "name = sys.argv[1]\n"
        "print('absent' if u.find_spec(name) is None else __import__(name).__version__)"
    )
    try:
        done = subprocess.run(  # noqa: S603  # this interpreter
            [sys.executable, "-c", program, module],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"takes more than {_IMPORT_TIMEOUT_S} s"
    if done.returncode < 0:
        return "", f"signal {-done.returncode}: compiled for another CPU"
    if done.returncode:
        return "", (done.stderr.strip().splitlines() or ["no reason reported"])[-1]
    version = done.stdout.strip().splitlines()[-1]
    return ("", "") if version == "absent" else (version, "")


def _choice() -> Choice | EngineError | ImportError:
    try:
        return choose(EngineOptions(threads=1))
    except (EngineError, ImportError) as error:
        return error


def _chosen(choice: Choice | EngineError | ImportError) -> Line:
    if not isinstance(choice, Choice):
        return Line("problem", "engine=auto", f"{choice}: no engine works on this machine")
    return Line("ok", "engine=auto", choice.why)


def _gpu(choice: Choice | EngineError | ImportError) -> Line:
    cards = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if not cards:
        return Line("-", "CUDA", "no NVIDIA GPU found: everything runs on the CPU")
    count = f"{len(cards)} NVIDIA GPU{'s' * (len(cards) > 1)}"
    if isinstance(choice, Choice) and choice.device == "cuda":
        return Line("ok", "CUDA", f"{count}, used by onnxruntime")
    return Line("warning", "CUDA", f"{count}, not used: needs onnxruntime-gpu (docs/deploy-gpu.md)")


def _port(service: str, port: int) -> Line:
    if not is_taken(port):
        return Line("ok", f"port {port}", f"free for {service}")
    effect = (
        "serve needs another --port for web"
        if service == "web"
        else f"serve takes another one for {service}"
    )
    return Line("warning", f"port {port}", f"taken by {find_holder(port)}: {effect}")


def _folders(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the folders in which services store models and caches."""
    cache, model = environment.get("CACHE_DIR"), environment.get("MODEL_PATH", "")
    if cache:
        yield "CACHE_DIR", Path(cache)
    if model.startswith(STORE_SCHEME):
        # The form is store:FOLDER/MODEL@CHANNEL.
        yield "store", Path(model.removeprefix(STORE_SCHEME)).parent
    if not cache:
        yield "disk", Path.cwd()


def _disk(name: str, folder: Path) -> Line:
    there = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir()
    )
    free = shutil.disk_usage(there).free
    return judge_disk(name, folder, free, writable=os.access(there, os.W_OK))


def _container_engine() -> Line:
    for name in ("docker", "podman"):
        if shutil.which(name):
            version = _output_of([name, "info", "--format", "{{.ServerVersion}}"])
            if name == "podman" or (version is not None and version[:1].isdigit()):
                return Line("ok", "containers", f"{name} {version or ''}".strip())
            return Line(
                "warning",
                "containers",
                f"{name} is installed, but its daemon is unavailable: make images and make e2e "
                "need it",
            )
    return Line(
        "warning", "containers", "neither docker nor podman: make images and make e2e need one"
    )


def _kubectl() -> Line:
    command = find_kubectl()
    if command is None:
        return Line(
            "warning",
            "kubectl",
            "not found: needed to deploy and to examine overlays (make k8s-tools)",
        )
    program, *arguments = command
    return Line("ok", "kubectl", " ".join([shutil.which(program) or program, *arguments]))


def _local_cluster(name: str) -> Line:
    path = shutil.which(name)
    if path is None:
        return Line("-", name, f"not installed: see docs/deploy-{name}.md")
    return Line("ok", name, path)


def _output_of(command: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # programs that were found on PATH
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
