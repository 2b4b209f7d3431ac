"""`/docs`: Swagger UI over the service's own OpenAPI document, without any other host.

FastAPI's own page loads its script from a CDN, which clusters often cannot reach. The files are
those of the package fastapi-swagger: docs/decisions/028-api-page.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import fastapi_swagger
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from services.common.core.access_token import Schemes
from services.common.core.problems import MEDIA_TYPE, PROBLEM_SCHEMA

_OURS = Path(__file__).parent
_PACKAGE = Path(fastapi_swagger.__file__).with_name("resources")
# The page names them relative to itself, so it works below any path of a proxy.
_FILES = {
    "api_docs.js": (_OURS, "text/javascript"),
    "swagger-ui-bundle.js": (_PACKAGE, "text/javascript"),
    "swagger-ui.css": (_PACKAGE, "text/css"),
}
# No other host, and no script or style that is not a file of this service. Swagger UI's icons are
# data:, and it shows a picture in an answer as blob:. Web's pages show chosen pictures as blob:.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_DAY_S = 86_400


def add_api_docs(app: FastAPI) -> None:
    """Add the page and its files, which are read from disk for each request."""
    router = APIRouter(include_in_schema=False)
    page = (_OURS / "api_docs.html").read_text(encoding="utf-8").replace("{title}", app.title)

    @router.get("/docs")
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(
            page, headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
        )

    @router.get("/docs/{name}")
    async def send_file(name: str) -> FileResponse:
        if name not in _FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        folder, media_type = _FILES[name]
        headers = {
            "Cache-Control": f"public, max-age={_DAY_S}",
            "X-Content-Type-Options": "nosniff",
        }
        return FileResponse(folder / name, media_type=media_type, headers=headers)

    app.include_router(router)


def complete_schema(app: FastAPI, guarded: Mapping[str, Schemes]) -> None:
    """Add the response of errors to every operation, in place of FastAPI's own for 422.

    `guarded` has prefixes of paths, and the schemes of which their operations require one.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = generate()
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = PROBLEM_SCHEMA
        for schemes in guarded.values():
            components.setdefault("securitySchemes", {}).update(schemes)
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = {"description": "Error", "content": content}
                for prefix, schemes in guarded.items():
                    if path.startswith(prefix):
                        operation["security"] = [{name: []} for name in schemes]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
