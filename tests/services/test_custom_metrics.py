"""A model's own metrics.py: its valid values, its failures, and the process that it runs in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.lab.processes.stack import ROOT, Service, StackError, free_port
from services.inference.versions.custom_metrics import CustomMetrics
from services.inference.versions.hook_process import HookFailed, HookProcess, start_hook
from tests.support.sending import send
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

LABELS = ("square", "circle")
FOUND = [np.array([[8, 12, 24, 20, 0.9, 0], [0, 0, 4, 4, 0.6, 1]], np.float32)]
OWNER = {"model": "tiny", "version": "1"}
StartHook = Callable[..., HookProcess]


class Exporter:
    """Custom metrics and their registry."""

    def __init__(self) -> None:
        """Export nothing yet."""
        self.registry = CollectorRegistry()
        self.custom = CustomMetrics(self.registry)

    def queue(
        self, hook: HookProcess, found: list[Floats] = FOUND, labels: tuple[str, ...] = LABELS
    ) -> None:
        self.custom.queue_hook(hook, "tiny", "1", labels, found)

    def record(self, *values: Any) -> None:
        self.custom.record_values("tiny", "1", list(values))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"elastic_yolo_custom_{name}", {**OWNER, **labels})

    def wait_for(self, name: str, value: float, **labels: str) -> None:
        wait_until(lambda: self.value(name, **labels) == value, f"{name} is {value}", 60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartHook]:
    """Start hooks from their code; they are closed at the end of the test."""
    with contextlib.ExitStack() as hooks:

        def start(code: str, **options: float) -> HookProcess:
            (tmp_path / "metrics.py").write_text(code)
            hook = HookProcess(tmp_path, **options)
            hooks.callback(hook.close)
            return hook

        yield start


def gauge(value: float, **tags: str) -> dict[str, Any]:
    return {"type": "GAUGE", "key": "crowd", "value": value, "tags": tags}


def pids_with(text: str) -> set[int]:
    """Return the processes with `text` in their command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def test_a_hook_gets_the_detections_of_a_response(start: StartHook, tmp_path: Path) -> None:
    hook = start(
        "import json, pathlib\n"
        "def metrics(found):\n"
        "    pathlib.Path('seen.json').write_text(json.dumps(found))\n"
        "    return [{'type': 'COUNTER', 'key': 'seen', 'value': len(found)}]\n"
    )
    exporter = Exporter()
    exporter.queue(hook)
    exporter.wait_for("seen_total", 2)

    seen = json.loads((tmp_path / "seen.json").read_text())
    assert [(label, box) for label, _, box in seen] == [
        ("square", [16.0, 16.0, 16.0, 8.0]),
        ("circle", [2.0, 2.0, 4.0, 4.0]),
    ]
    assert [score for _, score, _ in seen] == pytest.approx([0.9, 0.6])


def test_the_example_of_the_docs_counts_people(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "metrics.example.py", tmp_path / "metrics.py")
    hook = start_hook(tmp_path)
    assert hook is not None
    exporter = Exporter()
    exporter.queue(hook, FOUND * 2, ("dog", "person"))
    exporter.wait_for("up_seconds_count", 2)
    hook.close()

    assert exporter.value("people_total") == 2
    assert exporter.value("crowd", camera="north") == 1


def test_counters_add_gauges_are_set_timers_are_milliseconds() -> None:
    exporter = Exporter()
    for value in (1, 2):
        exporter.record(
            {"type": "COUNTER", "key": "things", "value": value},
            {"type": "GAUGE", "key": "level", "value": value},
            {"type": "TIMER", "key": "work", "value": value, "tags": {"kind": "a"}},
        )

    assert exporter.value("things_total") == 3
    assert exporter.value("level") == 2
    assert exporter.value("work_seconds_count", kind="a") == 2
    assert exporter.value("work_seconds_sum", kind="a") == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{'type': 'SUM', 'key': 'a', 'value': 1}", "Input should be"),
        ("{'type': 'GAUGE', 'key': 'a b', 'value': 1}", "String should match"),
        ("{'type': 'GAUGE', 'key': 'a', 'value': float('nan')}", "expected a finite number"),
        ("{'type': 'GAUGE', 'key': 'a', 'value': 10 ** 400}", "too large"),
        ("{'type': 'COUNTER', 'key': 'a', 'value': -1}", "Counters can only be incremented"),
        ("{'type': 'GAUGE', 'key': 'a', 'value': 1, 'tags': {'model': 'x'}}", "are reserved"),
        ("{'type': 'GAUGE', 'key': 'a'}", "Field required"),
        ("'a'", "Input should be"),
        ("{1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("found[5]", "IndexError: list index out of range"),
    ],
)
def test_an_invalid_value_is_counted_and_logged_once(
    start: StartHook, value: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = start(
        "calls = 0\n"
        "def metrics(found):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if calls == 4:\n"
        "        return [{'type': 'COUNTER', 'key': 'good', 'value': 1}]\n"
        f"    return [{value}]\n"
    )
    exporter = Exporter()
    for _ in range(4):
        exporter.queue(hook)
    exporter.wait_for("good_total", 1)

    log = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert exporter.value("metrics_skipped_total", reason="failed") == 3
    assert log.count("custom metrics failed") == 1
    assert why in log


def test_tags_made_of_detections_are_limited_to_a_hundred() -> None:
    exporter = Exporter()
    for number in range(100):
        exporter.record(gauge(1, id=str(number)))
    with pytest.raises(HookFailed, match="more than 100 combinations of tags"):
        exporter.record(gauge(1, id="100"))

    assert exporter.value("crowd", id="99") == 1
    assert exporter.value("crowd", id="100") is None


def test_keys_made_of_detections_are_limited_to_a_hundred() -> None:
    exporter = Exporter()
    for number in range(100):
        exporter.record({"type": "GAUGE", "key": f"each{number}", "value": 1})

    with pytest.raises(HookFailed, match="more than 100 keys"):
        exporter.record({"type": "GAUGE", "key": "each100", "value": 1})


def test_a_key_keeps_its_tags() -> None:
    exporter = Exporter()
    exporter.record(gauge(1, camera="north"))
    with pytest.raises(HookFailed, match="the tags are"):
        exporter.record(gauge(2, zone="gate"))

    assert exporter.value("crowd", camera="north") == 1
    assert exporter.value("crowd", camera="gate") is None


def test_a_forgotten_version_frees_its_values_and_its_room() -> None:
    exporter = Exporter()
    for camera in range(100):
        exporter.record(gauge(1, camera=str(camera)))
    exporter.custom.forget("tiny", "1")
    forgotten = exporter.value("crowd", camera="7")
    exporter.record(gauge(2, camera="new"))

    assert forgotten is None
    assert exporter.value("crowd", camera="new") == 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just("COUNTER"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "key", "value", "tags", "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_a_hook_returns_is_recorded_or_refused(values: Any) -> None:
    exporter = Exporter()
    with contextlib.suppress(HookFailed):
        exporter.custom.record_values("tiny", "1", values)
    exporter.record({"type": "COUNTER", "key": "last", "value": 1})

    assert exporter.value("last_total") == 1


def test_requests_do_not_wait_for_a_slow_hook(start: StartHook, tmp_path: Path) -> None:
    """64 requests wait for their hook, the pictures of further ones are counted as busy."""
    hook = start(
        "import os, time\n"
        "def metrics(found):\n"
        "    while not os.path.exists('gate'):\n"
        "        time.sleep(0.01)\n"
        "    return []\n",
        call_timeout_s=60,
    )
    exporter = Exporter()
    for _ in range(100):
        exporter.queue(hook)
    busy = exporter.value("metrics_skipped_total", reason="busy")
    (tmp_path / "gate").touch()

    # One is being called, if the thread has come to it.
    assert busy in (100 - 64, 100 - 65)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("os._exit(3)", "the process ended with status 3"),
        ("os.kill(os.getpid(), 11)", "the process ended with status -11"),
        ("time.sleep(600)", "no reply within 1 s"),
        ("bytearray(2**30)", "MemoryError"),
        ("return ['x' * 100_000]", "the reply exceeds 65536 bytes"),
        ("os.closerange(0, 100)", "the process ended with status"),
        ("sys.exit(4)", "SystemExit: 4"),
    ],
)
def test_a_harmful_call_fails_and_the_next_one_works(
    start: StartHook, tmp_path: Path, harm: str, why: str
) -> None:
    hook = start(
        "import os, pathlib, sys, time\n"
        "def metrics(found):\n"
        "    if not os.path.exists('harmed'):\n"
        "        pathlib.Path('harmed').touch()\n"
        f"        {harm}\n"
        "    return [1]\n",
        call_timeout_s=1,
        restart_interval_s=0,
    )
    with pytest.raises(HookFailed, match=re.escape(why)):
        hook.call_hook([])

    # On a busy machine the restarted process may take longer than the second of a call.
    wait_until(lambda: succeeds(hook), "a call works again", 60)
    assert (tmp_path / "harmed").exists()


def succeeds(hook: HookProcess) -> bool:
    try:
        return bool(hook.call_hook([]) == [1])
    except HookFailed:
        return False


def test_a_crashing_hook_is_not_restarted_all_the_time(start: StartHook, tmp_path: Path) -> None:
    hook = start(
        "import os\n"
        "with open('starts', 'a') as file:\n"
        "    file.write('x')\n"
        "def metrics(found):\n"
        "    os._exit(1)\n",
        restart_interval_s=600,
    )
    reasons = []
    for _ in range(20):
        with pytest.raises(HookFailed) as failed:
            hook.call_hook([])
        reasons.append(str(failed.value))

    assert (tmp_path / "starts").read_text() == "x"
    assert "the process ended with status 1" in reasons[0]
    assert all("it can start again in" in reason for reason in reasons[1:])


def test_a_hook_has_no_tokens_and_no_files_of_the_service(
    start: StartHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REPOSITORY_TOKEN", "ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "a secret of the service")
    hook = start(
        "import os\n"
        "def metrics(found):\n"
        "    links = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]\n"
        "    files = [os.readlink(one) for one in links if os.path.exists(one)]\n"
        "    return [dict(os.environ), files]\n"
    )
    environment, files = hook.call_hook([])

    assert environment.keys() <= {
        "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TZ", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    }  # fmt: skip
    assert environment.keys() >= {"PATH"}
    assert {name for name in files if not name.startswith("socket:")} <= {os.devnull}
    # Two copies of the socket to the service, and nothing else.
    assert len({name for name in files if name.startswith("socket:")}) == 1


def test_a_hook_cannot_read_the_memory_or_environment_of_the_service(tmp_path: Path) -> None:
    """Processes of one user otherwise can, in /proc."""
    (tmp_path / "metrics.py").write_text(
        "import os\n"
        "def metrics(found):\n"
        "    readable = []\n"
        "    for name in ('stat', 'environ', 'mem'):\n"
        "        try:\n"
        "            open(f'/proc/{os.getppid()}/{name}', 'rb').close()\n"
        "            readable.append(name)\n"
        "        except PermissionError:\n"
        "            pass\n"
        "    return readable\n"
    )
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from services.inference.versions.hook_process import HookProcess\n"
        "hook = HookProcess(Path(sys.argv[1]))\n"
        "print(hook.call_hook([]))\n"
        "hook.close()\n"
    )
    # A service does not run as a root that may trace every process: prctl(2), PR_CAPBSET_DROP of
    # CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_PERFMON, which takes effect with exec.
    drop = (
        "import ctypes, os, sys\n"
        "for capability in 19, 21, 38:\n"
        "    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)\n"
        "os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", drop, program, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.strip() == "['stat']", ended.stderr


def test_what_a_hook_prints_does_not_disturb_its_replies(
    start: StartHook, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = start(
        "import os, sys\n"
        "print('loading')\n"
        "def metrics(found):\n"
        "    print('a line')\n"
        "    os.write(1, b'raw')\n"
        "    sys.stderr.write('an error')\n"
        "    return found\n"
    )

    assert hook.call_hook([["square", 0.5, [1, 2, 3, 4]]]) == [["square", 0.5, [1, 2, 3, 4]]]
    assert capfd.readouterr().out == ""


def test_closing_kills_the_process_its_children_and_a_call(
    start: StartHook, tmp_path: Path
) -> None:
    mark = f"{tmp_path}-child"
    hook = start(
        "import subprocess, sys, time\n"
        "def metrics(found):\n"
        f"    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}])\n"
        "    time.sleep(600)\n",
        call_timeout_s=600,
    )
    failures: list[HookFailed] = []

    def call() -> None:
        try:
            hook.call_hook([])
        except HookFailed as error:
            failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: bool(pids_with(mark)), "the child runs", 60)
    hook.close()
    caller.join(60)

    assert len(failures) == 1
    wait_until(lambda: not pids_with(str(tmp_path)), "all processes have ended", 60)
    with pytest.raises(HookFailed):
        hook.call_hook([])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def metrics(found", "SyntaxError"),
        ("x = 1", "expected a function metrics(found)"),
        ("metrics = 7", "expected a function metrics(found)"),
        ("raise SystemError('no')", "SystemError: no"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "the process ended with status 3"),
    ],
)
def test_a_file_without_a_hook_is_an_error_of_the_model(
    tmp_path: Path, code: str, why: str
) -> None:
    (tmp_path / "metrics.py").write_text(code)

    with pytest.raises(ModelError, match=re.escape(why)):
        start_hook(tmp_path)
    wait_until(lambda: not pids_with(str(tmp_path)), "its process has ended", 60)


def test_a_model_without_the_file_has_no_hook(tmp_path: Path) -> None:
    assert start_hook(tmp_path) is None


def test_code_of_a_model_runs_only_with_custom_metrics_enabled(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    proof = tmp_path / "it ran"
    (model / "metrics.py").write_text(f"open({str(proof)!r}, 'w').close()")
    env = {"MODEL_PATH": str(model)}
    with Service("inference", free_port(), env) as service:
        service.wait_ready()
    ran = proof.exists()
    log = tmp_path / "log"
    enabled = env | {"CUSTOM_METRICS": "true"}
    with Service("inference", free_port(), enabled, log) as service, pytest.raises(StackError):
        service.wait_ready()

    assert not ran
    assert proof.exists()
    assert "expected a function metrics(found)" in log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    "harm",
    [
        "time.sleep(600)",
        pytest.param("os._exit(1)", marks=pytest.mark.long),
        pytest.param("bytearray(2**40)", marks=pytest.mark.long),
    ],
)
def test_a_harmful_hook_disturbs_neither_requests_nor_shutdown(tmp_path: Path, harm: str) -> None:
    model = write_tiny_model(tmp_path / "model")
    (model / "metrics.py").write_text(f"import os, time\ndef metrics(found):\n    {harm}\n")
    env = {"MODEL_PATH": str(model), "CUSTOM_METRICS": "true"}
    with Service("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()
        # Checks that each of these requests has status 200.
        send(service, brightness=100, batches=3)
        # It waits half a minute, and no longer.
        status = service.stop()

    assert status == 0
    assert not (model / "__pycache__").exists()
    wait_until(lambda: not pids_with(str(model)), "the hook's process has ended", 60)


def test_a_hook_that_is_slow_to_load_is_tried_again(tmp_path: Path) -> None:
    """A version loader retries what an OSError caused."""
    (tmp_path / "metrics.py").write_text("import time\ntime.sleep(600)\n")

    with pytest.raises(ModelError, match=r"no reply within 0\.2 s") as raised:
        start_hook(tmp_path, load_timeout_s=0.2)

    assert isinstance(raised.value.__cause__, OSError)


def test_a_thread_that_cannot_start_is_started_with_the_next_picture(
    start: StartHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    hook = start(
        "def metrics(found):\n    return [{'type': 'COUNTER', 'key': 'calls', 'value': 1}]\n"
    )
    exporter = Exporter()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        exporter.queue(hook)
    exporter.queue(hook)

    exporter.wait_for("calls_total", 1)
