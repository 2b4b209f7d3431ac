"""One attempt, as far as both clients share it: the arguments for httpx, and its response."""

from __future__ import annotations

from typing import Any

import httpx

from elastic_yolo.client.address import PATH
from elastic_yolo.client.asking import Asked
from elastic_yolo.client.attempts import Send
from elastic_yolo.client.errors import BadAnswer, BadArgument
from elastic_yolo.client.reply import Body, Reply


def stream_arguments(asked: Asked, step: Send) -> dict[str, Any]:
    """Return the arguments of `stream` of httpx's clients."""
    return {
        "method": "POST",
        "url": PATH,
        "content": asked.content,
        "params": asked.params,
        "headers": {**asked.headers, "X-Timeout-Ms": str(step.service_ms)},
        "timeout": step.timeout_s,
    }


def require_open(client: httpx.Client | httpx.AsyncClient) -> None:
    """Raise BadArgument if a client was closed."""
    if client.is_closed:
        raise BadArgument("the client was closed")


def as_reply(response: httpx.Response, body: Body) -> Reply:
    """Return a response whose content has been read."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, response.reason_phrase, headers, body.content())


def require_type(reply: Reply, media_type: str) -> bytes:
    """Return the content of a drawn picture; raises BadAnswer if it is something else."""
    if reply.headers.get("content-type") != media_type:
        raise BadAnswer(f"the answer is not {media_type}")
    return reply.content
