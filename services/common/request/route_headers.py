"""The headers by which requests are routed to back ends: `X-Tenant` and `X-Route-*`.

Web sends them to preprocess, which has the table of routes. `X-Tenant` is web's word on who the
caller is: it is never copied from a request. The caller chooses the values of `X-Route-*`.
"""

from __future__ import annotations

from starlette.datastructures import Headers

from services.common.request.errors import MalformedRequest

TENANT = "x-tenant"
PREFIX = "x-route-"
# Web copies them to another request, so a caller may not make them many or long.
MOST_HEADERS = 8
MOST_CHARACTERS = 200


def read_route_headers(headers: Headers) -> dict[str, str]:
    """Return a request's `X-Route-*` headers, with names in lower case.

    Raises MalformedRequest for too many, too long ones, and a name that is given twice.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers.raw:
        if not raw_name.startswith(b"x-route-"):
            continue
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if len(name) > MOST_CHARACTERS or len(value) > MOST_CHARACTERS:
            raise MalformedRequest(
                f"{name[:40]}: expected at most {MOST_CHARACTERS} characters in name and value"
            )
        if name in found:
            raise MalformedRequest(f"{name}: given several times, expected once")
        found[name] = value
    if len(found) > MOST_HEADERS:
        raise MalformedRequest(f"expected at most {MOST_HEADERS} headers {PREFIX}*")
    return found
