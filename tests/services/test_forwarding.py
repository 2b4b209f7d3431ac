"""What web tells preprocess about a picture's caller, and what it keeps to itself."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from elastic_yolo.api_key import key_digest, new_key
from elastic_yolo.lab.processes.stack import Service, free_port
from services.common.request.identity import Identity
from tests.support.misbehaving import Call, response
from tests.support.peering import start_servers
from tests.support.pictures import encode, plain

pytestmark = pytest.mark.anyio

KEY = new_key()
PROCESSED = {"detections": [], "model": {"name": "a"}, "image": {"width": 64, "height": 48}}
SENT = {
    "Content-Type": "image/jpeg",
    "X-Tenant": "somebody-else",
    "X-Route-Backend": "triton",
    "X-Route-Weight": "b=1",
    "X-Secret": "mine",
    "Cookie": "session=1",
}


async def process(call: Call) -> None:
    await call.write(response(200, json.dumps(PROCESSED), "Content-Type: application/json"))


async def headers_at_preprocess(
    folder: Path, env: dict[str, str], headers: dict[str, str]
) -> dict[str, str]:
    """Send a picture through web; return what preprocess gets, by lower-case names."""
    async with start_servers(process) as (server,):
        settings = {"PREPROCESS_URL": server.url, **env}
        with Service("web", free_port(), settings, folder / "log") as web:
            async with httpx.AsyncClient(base_url=web.url, timeout=60) as client:
                while True:
                    try:
                        picture = encode(plain(64, 48), "JPEG")
                        answer = await client.post(
                            "/inference", content=picture, headers={**SENT, **headers}
                        )
                        break
                    except httpx.ConnectError:
                        continue
            assert answer.status_code == 200, answer.text
    lines = server.calls[0].head.split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def test_the_tenant_is_that_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    client = {"name": "ci", "tenant": "team-a", "keys": [{"sha256": key_digest(KEY)}]}
    path.write_text(json.dumps({"clients": [client]}))

    got = await headers_at_preprocess(tmp_path, {"API_KEYS_FILE": str(path)}, {"X-API-Key": KEY})

    assert got["x-tenant"] == "team-a"
    assert (got["x-route-backend"], got["x-route-weight"]) == ("triton", "b=1")
    assert not {"x-secret", "cookie", "x-api-key", "authorization"} & got.keys()


async def test_without_identity_there_is_no_tenant_whatever_the_caller_sends(
    tmp_path: Path,
) -> None:
    got = await headers_at_preprocess(tmp_path, {}, {})

    assert "x-tenant" not in got
    assert got["x-route-backend"] == "triton"


@pytest.mark.parametrize(
    ("tenant", "header"),
    [
        ("team-a", "team-a"),
        ("auth0|5f7c8ec7", "auth0|5f7c8ec7"),
        ("Straße 7", "Stra%C3%9Fe%207"),
        ("a\r\nX-Route-Backend: b", "a%0D%0AX-Route-Backend:%20b"),
    ],
)
async def test_a_tenant_of_any_script_is_one_header(tenant: str, header: str) -> None:
    assert Identity("token", "a", tenant).to_header() == {"x-tenant": header}
