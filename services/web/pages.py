"""The pages of web and their files, all of which this process has in memory.

A page names its files relative to itself, so it works below any path of a proxy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from services.common.core.api_docs import PAGE_POLICY

_FOLDER = Path(__file__).with_name("static")
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class _File:
    """A file, and the ETag by which a browser asks whether it has changed."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path, *, requires_identity: bool) -> _File:
        content = path.read_bytes()
        if requires_identity and path.suffix == ".html":
            content = content.replace(b"<html ", b'<html data-identity="required" ')
        digest = hashlib.sha256(content).hexdigest()[:16]
        return cls(content, _MEDIA_TYPES[path.suffix], f'"{digest}"')

    def respond(self, request: Request) -> Response:
        headers = {
            # A browser asks each time, so that a new version of the service shows at once.
            "Cache-Control": "no-cache",
            "ETag": self.etag,
            "Content-Security-Policy": PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def build_pages(*, requires_identity: bool) -> APIRouter:
    """Return the routes of the pages and of their files.

    With `requires_identity` the pages ask for a token before they send a request.
    """
    router = APIRouter(tags=["web"])
    files = {
        path.name: _File.read(path, requires_identity=requires_identity)
        for path in sorted(_FOLDER.iterdir())
    }

    @router.get("/", summary="A page to try it", response_class=Response)
    async def show_page(request: Request) -> Response:
        return files["index.html"].respond(request)

    @router.get("/live", include_in_schema=False)
    async def show_live(request: Request) -> Response:
        return files["live.html"].respond(request)

    @router.get("/static/{name}", include_in_schema=False)
    async def send_file(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return files[name].respond(request)

    return router
