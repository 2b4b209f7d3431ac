"""A webhook as a sink: events, or results, are sent by HTTP POST."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import httpx

from elastic_yolo.backoff import parse_retry_after
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.message import Result
from elastic_yolo.stream.sinks.events import Outbox
from elastic_yolo.stream.urls import public_name, split_url, take_option

SCHEMES = ("http", "https")
_TIMEOUT = httpx.Timeout(10.0)
_MOST_SENT = 100
_MOST_READ = 2**16
_SHOWN = 200
# Statuses (RFC 9110) that say something about what was sent; 409 that it was sent before.
_ABOUT_CONTENT = frozenset({400, 409, 413, 422})
_LATER = frozenset({408, 421, 425, 429})
_LOG = logging.getLogger(__name__)


class WebhookSink:
    """Posts JSON: `{"events": [...]}`, or `{"results": [...]}` with `?send=results`.

    `send` is taken out of the address; the rest of the query is the receiver's. A redirect is not
    followed: a POST would become a GET. What the receiver finds invalid (400, 409, 413, 422) is
    logged and left out, and nothing else that was sent with it.
    """

    def __init__(self, address: str, debounce_s: float = 1.0) -> None:
        """Check the address; raises BadAddress."""
        parts = split_url(address, SCHEMES, "https://[user:password@]host[:port]/path")
        parts, send = take_option(parts, "send", ("events", "results"))
        self._url = parts._replace(fragment="").geturl()
        self.name = public_name(self._url)
        self.refused = 0
        """How many events or results the receiver found invalid."""
        self._outbox = Outbox(send, debounce_s)
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)
        try:
            self._client.build_request("POST", self._url)
        except httpx.InvalidURL as error:
            raise BadAddress(f"{self.name}: {error}") from None

    def write(self, results: Sequence[Result]) -> None:
        """Post what the results add, if anything; raises Unavailable or Refused."""
        items = self._outbox.add(results)
        for first in range(0, len(items), _MOST_SENT):
            part = items[first : first + _MOST_SENT]
            self._send(part)
            self._outbox.remove(len(part))

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _send(self, items: list[dict[str, Any]]) -> None:
        """Post a list; if its content is refused, post the halves, to leave out as little."""
        status, retry_after, text = self._post(items)
        if 200 <= status < 300:
            return
        message = f"{self.name}: HTTP status {status}{f': {text}' if text else ''}"
        if status in _LATER or status >= 500:
            raise Unavailable(message, parse_retry_after(retry_after))
        if status not in _ABOUT_CONTENT:
            raise Refused(message)
        if len(items) == 1:
            self.refused += 1
            _LOG.error("%s; %s is left out", message, items[0]["id"])
            return
        middle = len(items) // 2
        self._send(items[:middle])
        self._send(items[middle:])

    def _post(self, items: list[dict[str, Any]]) -> tuple[int, str | None, str]:
        """Return status, the header Retry-After, and the beginning of the body as one line."""
        body = json.dumps({self._outbox.kind: items}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                content = bytearray()
                for chunk in response.iter_bytes(_MOST_READ):
                    content += chunk
                    if len(content) >= _MOST_READ:
                        break
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"{self.name}: {reason}") from error
        text = "" if response.is_success else content[:_SHOWN].decode(errors="replace")
        if response.is_redirect:
            text = f"it redirects to {public_name(response.headers['Location'])}"
        return response.status_code, response.headers.get("Retry-After"), " ".join(text.split())
