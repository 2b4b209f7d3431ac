"""Start the inference service: settings, model, then the socket."""

from __future__ import annotations

import sys

from detector.engines.choose import EngineOptions
from detector.errors import DetectorError, EngineError
from detector.loading import load_detector
from services.common.logs import configure_logs, get_logger
from services.common.quota import cpu_quota, thread_count
from services.common.server import serve
from services.common.settings import load_settings
from services.inference.app import create_app
from services.inference.settings import InferenceSettings


def main() -> None:
    """Load the model and serve it; ends with one line on stderr if the model is unusable."""
    settings = load_settings(InferenceSettings)
    configure_logs("inference", settings.log_level, settings.log_format)
    threads = settings.threads or thread_count()
    options = EngineOptions(
        threads=threads,
        engine=settings.engine,
        precision=settings.precision,
        device=settings.device,
        cache=settings.cache_dir,
    )
    try:
        detector, choice = load_detector(settings.model_path, options)
        app = create_app(settings, detector)
    except DetectorError as error:
        variable = "ENGINE" if isinstance(error, EngineError) else "MODEL_PATH"
        print(f"{variable}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    get_logger().info(
        "model loaded",
        model=detector.model.name,
        version=detector.model.version,
        digest=detector.model.digest,
        engine=detector.engine.name,
        precision=detector.engine.precision,
        device=detector.engine.device,
        why=choice.why,
        threads=threads,
        cpu_quota=cpu_quota(),
    )
    serve(app, settings)


if __name__ == "__main__":
    main()
