"""Start the preprocess service."""

from __future__ import annotations

import asyncio
import sys

from services.common.core.server import serve
from services.common.core.settings import load_settings
from services.common.core.tls import load_tls
from services.common.core.trace_settings import start_tracing
from services.common.observe.logs import configure_logs
from services.preprocess.app import create_app
from services.preprocess.routing.follower import read_table
from services.preprocess.routing.table import Table, TableError
from services.preprocess.settings import PreprocessSettings


def main() -> None:
    """Serve until SIGTERM or SIGINT; exits with one line on stderr if the routes are unusable."""
    settings = load_settings(PreprocessSettings)
    configure_logs("preprocess", settings.log_level)
    tls = load_tls(settings)
    tracing = start_tracing("preprocess")
    serve(create_app(settings, tracing, tls, _read_table(settings)), settings)


def _read_table(settings: PreprocessSettings) -> Table | None:
    source = settings.table_source()
    if source is None:
        return None
    try:
        return asyncio.run(read_table(source, settings.inference_url))
    except TableError as error:
        print(f"ROUTES: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
