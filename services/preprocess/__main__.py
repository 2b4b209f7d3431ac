"""Start the preprocess service."""

from __future__ import annotations

from services.common.logs import configure_logs
from services.common.server import serve
from services.common.settings import load_settings
from services.common.tracing import start_tracing
from services.preprocess.app import create_app
from services.preprocess.settings import PreprocessSettings


def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(PreprocessSettings)
    configure_logs("preprocess", settings.log_level, settings.log_format)
    serve(create_app(settings, start_tracing("preprocess")), settings)


if __name__ == "__main__":
    main()
