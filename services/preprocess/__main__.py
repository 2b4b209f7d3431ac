"""Start the preprocess service."""

from __future__ import annotations

from services.common.core.server import serve
from services.common.core.settings import load_settings
from services.common.core.tls import load_tls
from services.common.core.trace_settings import start_tracing
from services.common.observe.logs import configure_logs
from services.preprocess.app import create_app
from services.preprocess.settings import PreprocessSettings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(PreprocessSettings)
    configure_logs("preprocess", settings.log_level)
    tls = load_tls(settings)
    serve(create_app(settings, start_tracing("preprocess"), tls), settings)


if __name__ == "__main__":
    main()
