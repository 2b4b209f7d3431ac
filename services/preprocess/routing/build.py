"""Makes a back end of its entry in the table of routes."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.core.tls import Tls
from services.common.observe.telemetry import Metrics
from services.common.peer import Hold, Peer, ProbePaths
from services.common.queue import WorkQueue
from services.preprocess.backend import Backend
from services.preprocess.inference_client import InferenceBackend
from services.preprocess.routing.table import BackendEntry
from services.preprocess.routing.third_party import ThirdPartyBackend

# The paths of the Open Inference Protocol, which every server has.
_THIRD_PARTY_PROBES = ProbePaths("/v2/health/ready", "/v2/health/live")


def build_backend(
    metrics: Metrics,
    hold: Hold,
    work: WorkQueue,
    tls: Tls | None,
    fallbacks: Mapping[str, str],
    name: str,
    entry: BackendEntry,
) -> Backend:
    """Return a back end that is not connected yet; `work` has threads for its tensors.

    `hold` keeps pictures while none of its endpoints responds. `fallbacks` has the fallback of a
    URL.

    With `tls`, the project's own inference services are shown this process's certificate.
    Third-party servers have certificates of the system's authorities.
    """
    config = entry.config
    if entry.decoder is None:
        context = None if tls is None else tls.client_context
        fallback = fallbacks.get(config.url)
        peer = Peer(name, config.url, metrics, context, hold=hold, fallback_urls=fallback)
        return InferenceBackend(peer, config.model)
    peer = Peer(name, config.url, metrics, probes=_THIRD_PARTY_PROBES, hold=hold)
    return ThirdPartyBackend(peer, config, entry.decoder, work)
