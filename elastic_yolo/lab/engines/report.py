"""The default configurations, and the table of results."""

from __future__ import annotations

from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model
from elastic_yolo.lab.engines.configs import EngineConfig
from elastic_yolo.lab.engines.rounds import Row

_PRECISIONS = {
    ("openvino", "cpu"): ("fp32", "bf16", "fp16", "int8"),
    ("onnxruntime", "cpu"): ("fp32", "int8"),
    ("onnxruntime", "cuda"): ("fp32", "fp16"),
    ("darknet", "cpu"): ("fp32",),
    ("opencv", "cpu"): ("fp32",),
}


def headline(model: Model, threads: int) -> str:
    """Return a line with model, input size, threads and CPU."""
    size = model.network.input
    return f"{model.name}, {size.width}x{size.height}, {threads} threads, {describe_cpu()}"


def engine_configs(
    engines: list[str], precisions: list[str], batches: list[int], device: str = "cpu"
) -> list[EngineConfig]:
    """Return the configurations: the matrix product first, then every supported combination.

    With `device` cuda those on the GPU are added.
    """
    places = [("cpu", engine) for engine in engines]
    if device == "cuda":
        places += [("cuda", "onnxruntime")]
    return [
        EngineConfig("gemm"),
        *(
            EngineConfig(engine, precision, batch, place)
            for place, engine in places
            for precision in precisions
            if precision in _PRECISIONS[engine, place]
            # Darknet's C code processes pictures one by one.
            for batch in (batches if engine != "darknet" else [1])
        ),
    ]


def table(rows: list[Row]) -> str:
    """Return a table with the fastest row last, and ratios to Darknet, OpenCV and GEMM."""
    peers = {row.engine: row for row in reversed(rows) if row.device == "cpu"}
    peak = next((row.gflop_per_s for row in rows if row.engine == "gemm"), None)
    head = ("engine", "precision", "batch", "median ms", "lowest", "highest", "pictures/s")
    title = _line(*head, "x Darknet", "x OpenCV", "GFLOP/s", "of GEMM")
    body = (
        _line(
            row.engine if row.device == "cpu" else f"{row.engine} {row.device}",
            row.precision,
            str(row.batch),
            *(f"{ms:.2f}" for ms in (row.median_ms, row.lowest_ms, row.highest_ms)),
            f"{row.images_per_s:.1f}",
            _ratio(row, peers.get("darknet")),
            _ratio(row, peers.get("opencv")),
            f"{row.gflop_per_s:.1f}",
            f"{row.gflop_per_s / peak:.0%}" if peak else "-",
        )
        for row in sorted(rows, key=lambda row: row.images_per_s)
    )
    return "\n".join((title, *body))


def _line(engine: str, precision: str, *numbers: str) -> str:
    return f"{engine:<16} {precision:<9} " + " ".join(f"{number:>9}" for number in numbers)


def _ratio(row: Row, peer: Row | None) -> str:
    if peer is None or row.engine == "gemm":
        return "-"
    return f"{row.images_per_s / peer.images_per_s:.1f}"
