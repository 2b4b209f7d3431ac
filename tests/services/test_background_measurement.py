"""Services measure precisions in the background and switch, with real processes and engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import offered_precisions
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.precision import (
    ExecutionTarget,
    PrecisionMeasurement,
    Report,
    choose_precision,
    read_report,
    write_report,
)
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from services.inference.measuring.plan import FLOAT_PICTURES, INT8_PICTURES
from services.inference.measuring.process import (
    AlreadyMeasuring,
    MeasurementFailed,
    MeasuringProcess,
    TooFewPictures,
    lock_model,
)
from services.inference.measuring.task import Task
from tests.support.background import (
    DEMO,
    agrees,
    demo_images,
    detectors,
    events,
    infer,
    measuring,
    measuring_pids,
    precision,
    rows,
    threads_of,
    wait_for_event,
    write_pictures,
)
from tests.support.log_lines import read_log
from tests.support.publishing import publish
from tests.support.unshare import find_unshare
from tests.support.versions import sample
from tests.support.waiting import wait_until

STEPS = 2 if "bf16" in offered_precisions("openvino", "cpu") else 1
"""Measurements until everything is measured: floats first, where the CPU has more than fp32."""


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return demo_images()


@pytest.fixture
def calibration(tmp_path: Path, images: list[Image]) -> Path:
    return write_pictures(tmp_path / "pictures", images)


def best_measured(cache: Path) -> str:
    """Return the precision that the report of the demo model allows on this machine."""
    model = read_model(DEMO_MODEL)
    report = read_report(ModelCache(cache, model.cache_key), load.INT8_RECIPE)
    assert report is not None
    target = ExecutionTarget(
        "openvino", "cpu", offered_precisions("openvino", "cpu"), describe_cpu()
    )
    return choose_precision(report, model.accuracy_budget, target)[0]


def task(cache: Path, precisions: Sequence[str], **changes: object) -> Task:
    """Return a task that measures the demo model on `received` pictures."""
    facts = {
        "parent": os.getpid(),
        "model": DEMO_MODEL,
        "cache_key": read_model(DEMO_MODEL).cache_key,
        "cache": cache,
        "engine": "openvino",
        "device": "cpu",
        "threads": 2,
        "precisions": tuple(precisions),
        "folder": None,
        "required": 1,
        "received": 0,
    }
    return Task.model_validate(facts | changes)


@pytest.mark.long
def test_a_service_switches_to_the_best_precision_while_it_serves(
    tmp_path: Path, images: list[Image]
) -> None:
    """With an empty cache and the pictures of its requests alone."""
    cache, responses = tmp_path / "cache", []
    with measuring(tmp_path / "service", cache) as service:
        before = precision(service)
        while not events(tmp_path / "service", "precision settled"):
            number = len(responses) % len(images)
            responses.append((number, infer(service, images[number])))
        after = precision(service)
        last = infer(service, images[0])
        shown = {
            name: sample(service, "elastic_yolo_model_info", precision=name)
            for name in ("fp32", after)
        }
        switches = sample(service, "elastic_yolo_model_switches_total", model=DEMO)

    assert (before, after) == ("fp32", best_measured(cache))
    assert after != "fp32"
    assert {response.status_code for _, response in responses} == {200}
    own = detectors(DEMO_MODEL, cache)
    for number, response in responses:
        found = rows(response)
        assert any(agrees(one, images[number], found) for one in own.values())
    assert agrees(own["fp32"], images[0], rows(responses[0][1]))
    assert agrees(own[after], images[0], rows(last))
    # The version is the same: the metrics of switched versions do not count it.
    assert (shown, switches) == ({"fp32": 0, after: 1}, 0)
    switched = events(tmp_path / "service", "precision switched")
    assert [one["before"] for one in switched] == [
        "fp32",
        *(one["precision"] for one in switched[:-1]),
    ]
    assert switched[-1]["precision"] == after
    assert switched[-1]["loss"] <= switched[-1]["budget"]
    assert switched[-1]["ms"] < switched[-1]["before_ms"]


@pytest.mark.long
def test_the_next_start_has_the_best_precision_at_once(tmp_path: Path, calibration: Path) -> None:
    """And two processes that share a cache measure once, and both switch."""
    cache, first, second = tmp_path / "cache", tmp_path / "first", tmp_path / "second"
    with (
        measuring(first, cache, calibration) as one,
        measuring(second, cache, calibration) as other,
    ):
        for folder in (first, second):
            wait_for_event(folder, "precision settled")
        settled = precision(one), precision(other)
    with measuring(tmp_path / "third", cache, calibration) as third:
        at_once = precision(third)

    best = best_measured(cache)
    assert (*settled, at_once) == (best, best, best)
    measured = [*events(first, "precision measured"), *events(second, "precision measured")]
    assert len(measured) == STEPS
    assert len({tuple(one["precisions"]) for one in measured}) == STEPS
    assert not [name for name in event_names(tmp_path / "third") if "precision" in name]


def event_names(folder: Path) -> set[str]:
    """Return the kinds of lines in a service's log."""
    return {line["event"] for line in read_log(folder / "log")}


@pytest.mark.long
def test_a_killed_measurement_is_one_line_and_not_repeated(
    tmp_path: Path, calibration: Path, images: list[Image]
) -> None:
    folder, killed, statuses = tmp_path / "service", set[int](), []
    failed = "precision not measured; this process does not try again"
    with measuring(folder, tmp_path / "cache", calibration) as service:
        while not events(folder, "precision settled"):
            for pid in set(measuring_pids(service)) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            statuses.append(infer(service, images[0]).status_code)
        serving = precision(service)

    assert serving == "fp32"
    assert set(statuses) == {200}
    lines = events(folder, failed)
    assert len(lines) == len(killed) == STEPS
    assert {line["why"] for line in lines} == {"the measuring process ended with status -9"}
    assert not list((tmp_path / "cache").rglob("accuracy.json"))


@pytest.mark.long
def test_a_stated_precision_is_not_measured(tmp_path: Path, calibration: Path) -> None:
    """While another service, with the same pictures, measures and switches."""
    fixed, auto = tmp_path / "fixed", tmp_path / "auto"
    with (
        measuring(fixed, tmp_path / "empty", calibration, PRECISION="fp32") as service,
        measuring(auto, tmp_path / "cache", calibration),
    ):
        wait_for_event(auto, "precision settled")
        children, serving = measuring_pids(service), precision(service)

    assert (children, serving) == ([], "fp32")
    assert not list((tmp_path / "empty").rglob("accuracy.json"))
    assert not [name for name in event_names(fixed) if "precision" in name]


def test_with_too_few_pictures_the_log_says_how_many_are_needed(
    tmp_path: Path, images: list[Image]
) -> None:
    few = write_pictures(tmp_path / "few", images[: FLOAT_PICTURES - 1])
    with measuring(tmp_path / "service", tmp_path / "cache", few) as service:
        wait_for_event(tmp_path / "service", "precision not measured yet: too few pictures")
        serving, children = precision(service), measuring_pids(service)

    (line,) = events(tmp_path / "service", "precision not measured yet: too few pictures")
    assert line["pictures"] == FLOAT_PICTURES - 1
    assert line["required"] == (FLOAT_PICTURES if STEPS == 2 else INT8_PICTURES)
    assert (serving, children) == ("fp32", [])


def spoil(folder: Path) -> Path:
    """Add an empty file, a folder and a dangling link that are called as pictures."""
    (folder / "broken.jpg").touch()
    (folder / "dir.jpg").mkdir()
    (folder / "gone.jpg").symlink_to(folder / "absent.jpg")
    return folder


def test_unusable_files_do_not_count_as_pictures(tmp_path: Path, images: list[Image]) -> None:
    folder = spoil(write_pictures(tmp_path / "few", images[:3]))
    one = images[3]

    with pytest.raises(TooFewPictures) as raised:
        MeasuringProcess().run(
            task(tmp_path / "cache", ["fp32"], folder=folder, required=5, received=1), [one]
        )

    assert raised.value.in_folder == 3
    assert str(raised.value) == (
        "4 usable pictures, 5 are needed; unusable: broken.jpg, dir.jpg, gone.jpg"
    )


@pytest.mark.parametrize("kind", ["empty", "unusable", "gone"])
def test_pictures_of_requests_are_enough_without_any_in_the_folder(
    tmp_path: Path, images: list[Image], kind: str
) -> None:
    folder = tmp_path / "folder"
    if kind != "gone":
        folder.mkdir()
    if kind == "unusable":
        spoil(folder)

    assert MeasuringProcess().run(
        task(tmp_path / "cache", ["fp32"], folder=folder, required=2, received=2), images[:2]
    )


def test_a_file_name_that_is_not_utf_8_is_named_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).touch()

    with pytest.raises(TooFewPictures) as raised:
        MeasuringProcess().run(task(tmp_path / "cache", ["fp32"], folder=folder), [])

    assert str(raised.value) == r"0 usable pictures, 1 are needed; unusable: \udcff.jpg"


@pytest.mark.long
def test_a_step_waits_for_pictures_of_requests_in_place_of_unusable_files(
    tmp_path: Path, images: list[Image]
) -> None:
    """It begins again with the first further picture, and not before."""
    required = FLOAT_PICTURES if STEPS == 2 else INT8_PICTURES
    few, folder = spoil(write_pictures(tmp_path / "few", images[: required - 1])), tmp_path / "log"
    waiting = "precision not measured yet: too few pictures"
    with measuring(folder, tmp_path / "cache", few) as service:
        wait_for_event(folder, waiting)
        infer(service, images[-1])
        wait_for_event(folder, "precision measured")

    first = events(folder, waiting)[0]
    assert (first["pictures"], first["required"]) == (required - 1, required)
    assert "unusable: broken.jpg, dir.jpg, gone.jpg" in first["why"]
    # Not for this step again.
    assert [one["required"] for one in events(folder, waiting)[1:]] in ([], [INT8_PICTURES])
    assert not events(folder, "precision not measured; this process does not try again")


def test_a_precision_that_the_engine_cannot_load_is_refused_once(tmp_path: Path) -> None:
    """The report allows int8, and its file is missing."""
    cache = tmp_path / "cache"
    offered = offered_precisions("openvino", "cpu")
    measured = tuple(
        PrecisionMeasurement("openvino", "cpu", name, 1.0, 0.0, 1.0 if name == "int8" else 9.0)
        for name in offered
    )
    report = Report(40, 60, labelled=False, machine=describe_cpu(), rows=measured)
    write_report(ModelCache(cache, read_model(DEMO_MODEL).cache_key), report, load.INT8_RECIPE)
    with measuring(tmp_path / "service", cache) as service:
        wait_for_event(tmp_path / "service", "precision settled")
        serving, status = precision(service), httpx.get(f"{service.url}/readyz").status_code

    assert (serving, status) == ("fp32", 200)
    (line,) = events(tmp_path / "service", "precision refused")
    assert line["precision"] == "int8"
    assert "no int8 version of this model" in line["why"]


@pytest.mark.long
def test_draining_ends_the_measurement(tmp_path: Path, calibration: Path) -> None:
    """It has the lowest priority, in all of its threads, until then."""
    folder = tmp_path / "service"
    with measuring(folder, tmp_path / "cache", calibration, hurry=False) as service:
        wait_until(lambda: len(threads_of(measuring_pids(service))) > 1, "it measures", 60)
        pids = measuring_pids(service)
        threads = threads_of(pids)
        priorities = {os.getpriority(os.PRIO_PROCESS, one) for one in threads}
        policies = {os.sched_getscheduler(one) for one in threads}
        status = service.stop()

    assert status == 0
    assert (priorities, policies) == ({19}, {os.SCHED_BATCH})
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    log = (folder / "log").read_text()
    assert '"level":"warning"' not in log
    assert "error" not in log


@pytest.mark.long
def test_a_killed_service_leaves_no_measurement(tmp_path: Path, calibration: Path) -> None:
    with measuring(tmp_path / "service", tmp_path / "cache", calibration) as service:
        wait_until(lambda: bool(measuring_pids(service)), "it measures", 60)
        pids = measuring_pids(service)
        service.process.kill()
        service.process.wait()
        wait_until(lambda: not any(is_running(pid) for pid in pids), "it has ended", 60)


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.long
def test_a_new_version_starts_in_fp32_and_is_measured_too(
    tmp_path: Path, calibration: Path
) -> None:
    files = {
        path.name: path.read_bytes()
        for path in DEMO_MODEL.iterdir()
        if path.suffix in (".cfg", ".weights", ".names")
    }
    other = files | {"yolov3-tiny-emoji.names": files["yolov3-tiny-emoji.names"].upper()}
    publish(tmp_path / "store", files, name="demo", version="1")
    folder = tmp_path / "service"
    path = f"store:{tmp_path}/store/demo@stable"
    env = {"MODEL_PATH": path, "MODEL_POLL_S": "0.1"}
    with measuring(folder, tmp_path / "cache", calibration, **env) as service:
        wait_for_event(folder, "precision settled")
        first = precision(service, "demo")
        publish(tmp_path / "store", other, name="demo", version="2")
        wait_for_event(folder, "precision settled", 2)
        second = precision(service, "demo")
        served = httpx.get(f"{service.url}/v2/models/demo").json()["versions"]

    loaded = [(one["version"], one["precision"]) for one in events(folder, "model loaded")]
    assert loaded == [("1", "fp32"), ("2", "fp32")]
    assert (first, second, served) == (first, first, ["2"])
    assert first != "fp32"
    settled = [(one["version"], one["precision"]) for one in events(folder, "precision settled")]
    assert settled == [("1", first), ("2", first)]


def test_only_one_process_measures_a_model(tmp_path: Path) -> None:
    model_cache = ModelCache(tmp_path, read_model(DEMO_MODEL).cache_key)
    with lock_model(model_cache), pytest.raises(AlreadyMeasuring):
        MeasuringProcess().run(task(tmp_path, ["fp32"]), [])
    with lock_model(model_cache):
        pass


def test_a_report_of_another_process_is_not_measured_again(tmp_path: Path) -> None:
    """It was written between the reading of the report and the locking."""
    row = PrecisionMeasurement("openvino", "cpu", "fp32", 1.0, 0.0, 5.0)
    report = Report(40, 60, labelled=False, machine="this", rows=(row,))
    write_report(ModelCache(tmp_path, read_model(DEMO_MODEL).cache_key), report, load.INT8_RECIPE)

    assert not MeasuringProcess().run(task(tmp_path, ["fp32"]), [])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cache_key": "sha256:" + "0" * 64}, "has changed since the service loaded it"),
        ({"required": 5}, "0 usable pictures, 5 are needed"),
        ({"parent": 1}, "the measuring process ended with status 1"),
    ],
)
def test_a_measurement_that_is_impossible_says_why(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(MeasurementFailed, match=why):
        MeasuringProcess().run(task(tmp_path, ["fp32"], **changes), [])


def test_a_measurement_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MeasurementFailed, match="not done after 0 s"):
        MeasuringProcess(timeout_s=0.0).run(task(tmp_path, ["fp32"]), [])
    with lock_model(ModelCache(tmp_path, read_model(DEMO_MODEL).cache_key)):
        pass


def test_after_the_drain_no_measurement_starts(tmp_path: Path) -> None:
    process = MeasuringProcess()
    process.close()

    with pytest.raises(MeasurementFailed, match="drains"):
        process.run(task(tmp_path, ["fp32"]), [])


@pytest.mark.long
def test_a_full_disk_is_one_line_and_the_report_stays(tmp_path: Path) -> None:
    """The float precisions were measured; the disk has no room for the int8 version."""
    program = ROOT / "tests" / "services" / "full_cache.py"
    prefix = find_unshare("a full disk is NOT tested")
    found = subprocess.run(
        [*prefix, sys.executable, "-m", f"tests.services.{program.stem}", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    first, second, report = found.stdout.splitlines()
    assert first == "measured"
    assert "No space left on device" in second
    assert report == "fp32"


@pytest.mark.long
def test_without_the_quantiser_only_float_precisions_are_measured(
    tmp_path: Path, calibration: Path
) -> None:
    """The quantiser needs openvino; ONNX Runtime alone has no other precision on a CPU."""
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text('import sys; sys.modules["openvino"] = None\n')
    folder = tmp_path / "service"
    environment = {"PYTHONPATH": str(hiding), "ENGINE": "onnxruntime"}
    with measuring(folder, tmp_path / "cache", calibration, **environment) as service:
        wait_for_event(folder, "int8 is not measured: openvino is not installed")
        serving = precision(service)

    assert serving == "fp32"
    assert len(events(folder, "int8 is not measured: openvino is not installed")) == 1
    assert not events(folder, "precision not measured; this process does not try again")
