"""The choice of an engine, and agreement between engines."""

from __future__ import annotations

import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.engines.choose import (
    Choice,
    EngineOptions,
    build_engine,
    choose,
    offered_precisions,
)
from elastic_yolo.detector.engines.libdarknet import LibDarknet, find_libdarknet, silence
from elastic_yolo.detector.engines.load import make_graph
from elastic_yolo.detector.engines.onnxruntime import OnnxRuntimeEngine, why_no_cuda
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.lab.processes.stack import DEMO_MODEL
from tests.support.tiny import write_weights

needs_libdarknet = pytest.mark.skipif(
    find_libdarknet() is None,
    reason='libdarknet is missing: run "make oracle"; ENGINE=darknet is NOT tested',
)


@pytest.fixture(scope="module")
def demo() -> Model:
    return read_model(DEMO_MODEL)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return two pictures with smooth shapes and some noise."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (2, 13, 13, 3))
    large = np.kron(coarse, np.ones((1, 32, 32, 1)))
    return np.clip(large + random.normal(0, 8, large.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("darknet", marks=needs_libdarknet)])
def test_every_engine_agrees_with_openvino(demo: Model, images: np.ndarray, engine: str) -> None:
    reference, _ = build_engine(demo, EngineOptions(threads=2, engine="openvino"))
    other, _ = build_engine(demo, EngineOptions(threads=2, engine=engine))

    assert (other.name, other.precision, other.device) == (engine, "fp32", "cpu")
    for ours, theirs in zip(other.execute(images), reference.execute(images), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_no_thread_is_bound_to_a_core(demo: Model, images: np.ndarray, engine: str) -> None:
    """With pinning, all processes use the same first core: docs/decisions/013."""
    # Threads of earlier tests, which may be pinned.
    others = threads_of_this_process()
    built, _ = build_engine(demo, EngineOptions(threads=1, engine=engine))
    with ThreadPoolExecutor() as threads:
        running = threads.submit(lambda: [built.execute(images) for _ in range(20)])
        seen = set()
        while not running.done():
            # OpenVINO would pin the calling thread during a run only.
            seen |= affinities(others)
    running.result()

    assert seen == {frozenset(os.sched_getaffinity(0))}


def threads_of_this_process() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def affinities(others: set[int]) -> set[frozenset[int]]:
    """Return the sets of cores of all threads of this process except `others`."""
    found = set()
    for thread in threads_of_this_process() - others:
        with suppress(ProcessLookupError):  # it has just ended
            found.add(frozenset(os.sched_getaffinity(thread)))
    return found


@pytest.mark.parametrize(("precision", "share"), [("bf16", 0.02), ("fp16", 0.002)])
def test_shorter_floats_stay_close_to_fp32(
    demo: Model, images: np.ndarray, precision: str, share: float
) -> None:
    """8 or 11 bits of mantissa; a CPU without that precision runs fp32."""
    exact, _ = build_engine(demo, EngineOptions(threads=2, precision="fp32"))
    short, _ = build_engine(demo, EngineOptions(threads=2, precision=precision))

    for ours, theirs in zip(short.execute(images), exact.execute(images), strict=True):
        assert np.abs(ours - theirs).mean() <= share * np.abs(theirs).mean()


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [
        ("auto", "cpu", ("openvino", "cpu")),
        ("darknet", "auto", ("darknet", "cpu")),
        ("onnxruntime", "cpu", ("onnxruntime", "cpu")),
    ],
)
def test_a_requested_engine_is_selected_with_a_reason(
    engine: str, device: str, expected: tuple[str, str]
) -> None:
    choice = choose(EngineOptions(threads=1, engine=engine, device=device))

    assert (choice.engine, choice.device) == expected
    assert choice.why


def test_without_a_gpu_auto_selects_openvino_with_a_reason() -> None:
    choice = choose(EngineOptions(threads=1))

    assert choice in (
        Choice(
            "openvino",
            "cpu",
            "openvino on the CPU (no CUDA, because the installed onnxruntime is for CPUs only)",
        ),
        Choice("onnxruntime", "cuda", "onnxruntime on CUDA"),
    )


@pytest.mark.skipif(why_no_cuda() is None, reason="CUDA is here: nothing to refuse")
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_cuda_is_refused_if_it_is_not_available(engine: str) -> None:
    with pytest.raises(EngineError, match="DEVICE=cuda: no CUDA, because"):
        choose(EngineOptions(threads=1, engine=engine, device="cuda"))


def test_a_precision_that_the_cpu_lacks_falls_back_to_fp32(demo: Model) -> None:
    """Kubernetes may schedule a pod on a node with an older CPU."""
    for precision in ("bf16", "fp16"):
        engine, choice = build_engine(demo, EngineOptions(threads=1, precision=precision))
        if precision in offered_precisions("openvino", "cpu"):
            assert (engine.precision, choice.precision) == (precision, precision)
        else:
            assert (engine.precision, choice.precision) == ("fp32", "fp32")
            assert f"fp32, because this CPU has no {precision}" in choice.why


def test_half_precision_on_onnxruntime_stays_close_to_fp32(demo: Model, images: np.ndarray) -> None:
    """The graph for CUDA. Without a GPU the CPU runs it, in float16 or with casts."""
    exact, _ = build_engine(demo, EngineOptions(threads=2, engine="onnxruntime"))
    half = OnnxRuntimeEngine(make_graph(demo, half=True), threads=2, precision="fp16")

    for ours, theirs in zip(half.execute(images), exact.execute(images), strict=True):
        assert ours.dtype == np.float32
        assert 0 < np.abs(ours - theirs).mean() <= 0.003 * np.abs(theirs).mean()


def test_half_precision_refuses_weights_that_it_cannot_hold(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", np.full(7 + 7 * 3, 70_000.0))

    with pytest.raises(EngineError, match="fp16 cannot hold the values of layer0_filters"):
        make_graph(read_model(tiny_model), half=True)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_float_pixels_are_not_rounded(demo: Model, engine: str) -> None:
    """float32 pixels, as with `exact=True`: here halfway between two whole numbers."""
    built, _ = build_engine(demo, EngineOptions(threads=2, engine=engine))
    low = np.full((1, 416, 416, 3), 100, np.uint8)

    below, between, above = (
        built.execute(pixels) for pixels in (low, low + np.float32(0.5), low + 1)
    )

    assert (low + np.float32(0.5)).dtype == np.float32
    for one, middle, other in zip(below, between, above, strict=True):
        assert np.abs(middle - one).max() > 0
        assert np.abs(middle - other).max() > 0
        assert np.allclose(middle, (one + other) / 2, atol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EngineOptions(threads=1, engine="openvino", device="cuda"), "runs on the CPU only"),
        (
            EngineOptions(threads=1, engine="darknet", precision="int8"),
            "PRECISION=int8: darknet on cpu has only fp32",
        ),
        (
            EngineOptions(threads=1, engine="onnxruntime", precision="bf16"),
            "PRECISION=bf16: onnxruntime on",
        ),
    ],
)
def test_unsupported_options_of_an_engine_are_refused(
    demo: Model, options: EngineOptions, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        build_engine(demo, options)


@needs_libdarknet
def test_darknet_leaves_the_process_its_floating_point(demo: Model) -> None:
    """The C library is built with -ffast-math, which rounds subnormal numbers to zero."""
    build_engine(demo, EngineOptions(threads=1, engine="darknet"))

    assert np.float64(5e-324) * np.float64(1.0) > 0


def test_darknet_refuses_layers_of_the_fork(tiny_model: Path) -> None:
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("activation=linear", "activation=mish"))

    with pytest.raises(EngineError, match=r"darknet: tiny\.cfg:7: the C library does not support"):
        build_engine(read_model(tiny_model), EngineOptions(threads=1, engine="darknet"))


def test_a_compiled_model_is_cached(demo: Model, tmp_path: Path) -> None:
    build_engine(demo, EngineOptions(threads=1, cache=tmp_path / "cache"))

    assert list((tmp_path / "cache").iterdir())


@needs_libdarknet
def test_a_network_of_the_c_library_is_freed_with_its_engine(tmp_path: Path) -> None:
    """Each switch of versions would keep the weights of the one that left, here 38 MB."""
    cfg, weights = tmp_path / "m.cfg", tmp_path / "m.weights"
    convolution = "[convolutional]\nfilters={}\nsize={}\nstride={}\npad=1\nactivation=linear\n"
    layers = [convolution.format(*one) for one in ((1024, 3, 1), (1024, 3, 32), (18, 1, 1))]
    head = "[yolo]\nmask=0,1,2\nanchors=1,1,2,2,3,3\nclasses=1\nnum=3\n"
    cfg.write_text("[net]\nwidth=32\nheight=32\nchannels=3\n" + "".join(layers) + head)
    values = 1024 * (1 + 27) + 1024 * (1 + 9 * 1024) + 18 * (1 + 1024)
    weights.write_bytes(struct.pack("<iiiq", 0, 2, 0, 0) + bytes(4 * values))

    def load() -> int:
        with suppress(EngineError):
            LibDarknet(cfg, weights)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = load()
    assert max(load() for _ in range(3)) - before < 40_000_000


@needs_libdarknet
def test_threads_that_use_the_c_library_leave_the_output_open() -> None:
    """File descriptors 1 and 2 belong to the process: the first of them was /dev/null for good."""
    before = [os.fstat(one) for one in (1, 2)]
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with silence():
            first_in.set()
            second_in.wait()
        first_out.set()

    def second() -> None:
        first_in.wait()
        with silence():
            second_in.set()
            first_out.wait()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(first), threads.submit(second)]:
            done.result()

    assert [os.fstat(one).st_ino for one in (1, 2)] == [one.st_ino for one in before]
