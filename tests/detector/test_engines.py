"""Engines: which is chosen, and that all of them answer the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.engines.choose import Choice, EngineOptions, build_engine, choose
from detector.engines.libdarknet import find_libdarknet
from detector.errors import EngineError
from detector.model import Model, read_model
from tools.stack import DEMO_MODEL

needs_libdarknet = pytest.mark.skipif(
    find_libdarknet() is None,
    reason='libdarknet is missing: run "make oracle"; ENGINE=darknet is NOT tested',
)


@pytest.fixture(scope="module")
def demo() -> Model:
    return read_model(DEMO_MODEL)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Two pictures with smooth shapes and some noise."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (2, 13, 13, 3))
    large = np.kron(coarse, np.ones((1, 32, 32, 1)))
    return np.clip(large + random.normal(0, 8, large.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("darknet", marks=needs_libdarknet)])
def test_every_engine_puts_out_what_openvino_puts_out(
    demo: Model, images: np.ndarray, engine: str
) -> None:
    reference, _ = build_engine(demo, EngineOptions(threads=2, engine="openvino"))
    other, _ = build_engine(demo, EngineOptions(threads=2, engine=engine))

    assert (other.name, other.precision, other.device) == (engine, "fp32", "cpu")
    for ours, theirs in zip(other.run(images), reference.run(images), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()


def test_bf16_stays_close_to_fp32(demo: Model, images: np.ndarray) -> None:
    """Eight bits of mantissa; on a CPU without bf16 it runs as fp32."""
    exact, _ = build_engine(demo, EngineOptions(threads=2, precision="fp32"))
    short, _ = build_engine(demo, EngineOptions(threads=2, precision="bf16"))

    assert short.precision == "bf16"
    for ours, theirs in zip(short.run(images), exact.run(images), strict=True):
        assert np.abs(ours - theirs).mean() <= 0.02 * np.abs(theirs).mean()


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [
        ("auto", "cpu", ("openvino", "cpu")),
        ("auto", "cuda", ("onnxruntime", "cuda")),
        ("darknet", "auto", ("darknet", "cpu")),
        ("onnxruntime", "cpu", ("onnxruntime", "cpu")),
    ],
)
def test_what_is_asked_for_is_chosen_and_explained(
    engine: str, device: str, expected: tuple[str, str]
) -> None:
    choice = choose(EngineOptions(threads=1, engine=engine, device=device))

    assert (choice.engine, choice.device) == expected
    assert choice.why


def test_without_a_gpu_auto_takes_openvino_and_says_why() -> None:
    choice = choose(EngineOptions(threads=1))

    assert choice in (
        Choice("openvino", "cpu", "no CUDA here or wanted; openvino is installed"),
        Choice("onnxruntime", "cuda", "CUDA is here"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EngineOptions(threads=1, engine="openvino", device="cuda"), "runs on the CPU only"),
        (EngineOptions(threads=1, engine="openvino", precision="fp4"), "not in fp4"),
        (EngineOptions(threads=1, engine="onnxruntime", precision="bf16"), "not in bf16"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    demo: Model, options: EngineOptions, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        build_engine(demo, options)


@needs_libdarknet
def test_darknet_leaves_the_process_its_floating_point(demo: Model) -> None:
    """The C library is built with -ffast-math, which would make subnormal numbers zero."""
    build_engine(demo, EngineOptions(threads=1, engine="darknet"))

    assert np.float64(5e-324) * np.float64(1.0) > 0


def test_darknet_refuses_what_it_would_run_wrongly(tiny_model: Path) -> None:
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("activation=linear", "activation=mish"))

    with pytest.raises(EngineError, match=r"line 7 of tiny\.cfg is newer than the C library"):
        build_engine(read_model(tiny_model), EngineOptions(threads=1, engine="darknet"))


def test_a_compiled_model_is_kept_in_the_cache(demo: Model, tmp_path: Path) -> None:
    build_engine(demo, EngineOptions(threads=1, cache=tmp_path / "cache"))

    assert list((tmp_path / "cache").iterdir())
