"""Start the inference service: settings, model, then the socket."""

from __future__ import annotations

import sys

from detector.detector import Detector
from detector.engines.choose import EngineOptions, build_engine
from detector.errors import DetectorError, EngineError
from services.common.logs import configure_logs, get_logger
from services.common.quota import cpu_quota, thread_count
from services.common.server import serve
from services.common.settings import load_settings
from services.common.startup import Startup
from services.inference.app import create_app
from services.inference.place import find_model
from services.inference.settings import InferenceSettings
from store.errors import StoreError


def main() -> None:
    """Load the model and serve it; ends with one line on stderr if the model is unusable."""
    startup = Startup()
    startup.done("imports")
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
        model = find_model(settings.model_path)
        startup.done("model")
        engine, choice = build_engine(model, options)
        startup.done("engine")
        app = create_app(settings, Detector(model, engine), threads)
        startup.done("golden")
    except (DetectorError, StoreError) as error:
        variable = "ENGINE" if isinstance(error, EngineError) else "MODEL_PATH"
        print(f"{variable}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    get_logger().info(
        "model loaded",
        model=model.name,
        version=model.version,
        digest=model.digest,
        engine=engine.name,
        precision=engine.precision,
        device=engine.device,
        why=choice.why,
        threads=threads,
        cpu_quota=cpu_quota(),
        start_ms=startup.phases_ms,
    )
    serve(app, settings)


if __name__ == "__main__":
    main()
