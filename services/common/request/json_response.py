"""Answers in JSON, written by orjson: the standard library takes 0.05 ms for a dozen boxes."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response


class JsonResponse(Response):
    """An answer whose content is anything that JSON can say."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return orjson.dumps(content)
