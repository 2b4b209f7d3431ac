"""The headers that web adds to a picture for the next service: what routing may depend on.

None of the caller's other headers goes on. X-Tenant is web's own: what a caller sends is ignored.
"""

from __future__ import annotations

from starlette.datastructures import Headers

from services.common.request.context import RequestContext

_ROUTE_PREFIX = "x-route-"


def forwarded_headers(context: RequestContext, headers: Headers) -> dict[str, str]:
    """Return X-Tenant, if the caller is known, and the caller's X-Route-... headers."""
    found = {name: value for name, value in headers.items() if name.startswith(_ROUTE_PREFIX)}
    if context.identity is not None:
        found |= context.identity.to_header()
    return found
