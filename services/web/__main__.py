"""Start the web service."""

from __future__ import annotations

import sys

from services.common.core.server import serve
from services.common.core.settings import load_settings
from services.common.core.tls import load_tls
from services.common.core.trace_settings import start_tracing
from services.common.observe.logs import configure_logs
from services.web.app import create_app
from services.web.identity.errors import KeysFileInvalid
from services.web.settings import WebSettings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(WebSettings)
    configure_logs("web", settings.log_level)
    tls = load_tls(settings)
    tracing = start_tracing("web")
    try:
        app = create_app(settings, tracing, tls)
    except KeysFileInvalid as error:
        print(f"API_KEYS_FILE: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    serve(app, settings)


if __name__ == "__main__":
    main()
