"""Start the inference service: settings, models, then the socket."""

from __future__ import annotations

import os
import socket
import sys

from elastic_yolo.detector.engines.choose import EngineOptions
from services.common.core.server import serve
from services.common.core.settings import load_settings
from services.common.core.tls import load_tls
from services.common.core.trace_settings import start_tracing
from services.common.observe.cpu_quota import cpu_quota, thread_count
from services.common.observe.logs import configure_logs, get_logger
from services.common.observe.startup import Startup
from services.common.observe.telemetry import Metrics
from services.inference.app import create_app
from services.inference.measuring.plan import may_measure
from services.inference.measuring.search import PrecisionSearch
from services.inference.settings import InferenceSettings
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.models import Models, ModelUnservable
from services.inference.versions.version_loader import VersionLoader


def main() -> None:
    """Load the models and serve them; exits with one line on stderr if a model is unusable."""
    startup = Startup()
    startup.done("imports")
    settings = load_settings(InferenceSettings)
    configure_logs("inference", settings.log_level)
    tls = load_tls(settings)
    _require_grpc_port(settings)
    tracing = start_tracing("inference")
    threads = settings.threads or thread_count()
    options = EngineOptions(
        threads=threads,
        engine=settings.engine,
        precision=settings.precision,
        device=settings.device,
        cache=settings.cache_dir,
    )
    metrics = Metrics("inference")
    model_metrics = ModelMetrics(metrics, settings.model_poll_s)
    loader = VersionLoader(
        options,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        custom_metrics=settings.custom_metrics,
        keep_pictures=may_measure(options),
        on_phase=startup.done,
        on_run=model_metrics.count_run,
    )
    try:
        models = Models.start(
            settings.model_paths,
            loader,
            model_metrics,
            settings.model_poll_s,
            settings.model_wait_s,
        )
    except ModelUnservable as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    metrics.note_start(startup.phases_ms)
    search = (
        PrecisionSearch(models, settings.cache_dir, threads, settings.calibration_dir)
        if settings.cache_dir is not None and may_measure(options)
        else None
    )
    app = create_app(settings, models, metrics, model_metrics, tracing, search, tls)
    main_version = models.current_split(models.default.name).main
    get_logger().info(
        "loaded",
        models=models.names,
        precision=main_version.detector.engine.precision,
        threads=threads,
        cpu_quota=cpu_quota(),
        start_ms=startup.phases_ms,
    )
    serve(app, settings)


def _require_grpc_port(settings: InferenceSettings) -> None:
    """End the process with one line if GRPC_PORT is taken; gRPC's own error is a traceback."""
    if not settings.grpc_port:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.grpc_port), family=family).close()
    except OSError as error:
        where = f"{settings.host}, port {settings.grpc_port}"
        print(
            f"GRPC_PORT: cannot listen on {where}: {os.strerror(error.errno or 0)}", file=sys.stderr
        )
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
