"""The live view's parts, from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.common.core.live import LiveProcess
from services.common.core.probes import Readiness
from services.common.core.tls import Tls
from services.common.peer import Peer
from services.common.peer.addresses import Origin
from services.common.peer.discovery import Discovery
from services.common.peer.survey import Survey
from services.web.live.autoscalers import (
    ApiServer,
    Autoscalers,
    Kubernetes,
    LabFile,
    NoAutoscalers,
)
from services.web.live.collector import Collector, Sources
from services.web.live.poll import Services
from services.web.settings import WebSettings


def build_collector(
    settings: WebSettings,
    readiness: Readiness,
    own: LiveProcess,
    preprocess: Peer,
    tls: Tls | None,
) -> Collector:
    """Return the collector; it connects to nothing while nobody watches."""

    @asynccontextmanager
    async def sources() -> AsyncIterator[Sources]:
        webs = _discover_webs(settings, tls)
        autoscalers = _build_autoscalers(settings)
        try:
            if webs is not None:
                webs.start()
            survey = None if webs is None else Survey(webs)
            yield Sources(Services(own, preprocess.survey, survey), autoscalers)
        finally:
            if webs is not None:
                webs.close()
            await autoscalers.close()

    return Collector(sources, readiness, may_load=settings.live_load)


def _discover_webs(settings: WebSettings, tls: Tls | None) -> Discovery | None:
    if settings.live_web_url is None:
        return None
    origins = [Origin.parse(url) for url in settings.live_web_url.split(",")]
    return Discovery("web", origins, None if tls is None else tls.client_context)


def _build_autoscalers(settings: WebSettings) -> Autoscalers:
    source = settings.live_autoscalers
    if source is None:
        return NoAutoscalers()
    if source == "kubernetes":
        host, port = settings.kubernetes_service_host, settings.kubernetes_service_port
        shown = f"[{host}]" if ":" in host else host
        return Kubernetes(ApiServer(f"https://{shown}:{port}"))
    return LabFile(Path(source.removeprefix("file:")))
