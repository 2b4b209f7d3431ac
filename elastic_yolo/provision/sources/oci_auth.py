"""Authentication with container registries: basic authentication and bearer tokens.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.api import ApiResponse, call_api
from elastic_yolo.provision.sources.stream import redacted

_LOOPBACK = frozenset({"localhost", "127.0.0.1"})
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class _Token(BaseModel):
    token: str = ""
    access_token: str = ""
    """The token under its older name."""


def base_address(registry: str) -> str:
    """Return the base URL of a registry: https, or http for a registry on loopback."""
    host = registry.partition(":")[0]
    return f"{'http' if host in _LOOPBACK else 'https'}://{registry}"


def sign_in(registry: str, repository: str, refusal: ApiResponse) -> dict[str, str]:
    """Return authorization headers for the challenge in a 401 response.

    Raises SourceRefused or SourceUnavailable.
    """
    challenge = refusal.headers.get("www-authenticate", "")
    basic = _basic(registry)
    if challenge.lower().startswith("basic") and basic:
        return basic
    if not challenge.lower().startswith("bearer "):
        refusal.require_success()
    stated = dict(_CHALLENGE.findall(challenge))
    realm = stated.get("realm", "")
    host = urlsplit(realm)
    # The realm receives the credentials.
    if host.scheme != "https" and host.hostname not in _LOOPBACK:
        raise SourceRefused(f"{redacted(realm) or registry}: the token server must use https")
    params = {"scope": stated.get("scope") or f"repository:{repository}:pull"}
    if "service" in stated:
        params["service"] = stated["service"]
    token = call_api(realm, headers=basic, params=params).parse(_Token)
    return {"Authorization": f"Bearer {token.token or token.access_token}"}


def _basic(registry: str) -> dict[str, str]:
    user = os.environ.get("OCI_USERNAME")
    if user:
        pair = f"{user}:{os.environ.get('OCI_PASSWORD', '')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return _from_docker(registry)


def _from_docker(registry: str) -> dict[str, str]:
    """Return credentials from Docker's config.json; credential helpers are not run."""
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        found: Any = json.loads(path.read_bytes())["auths"]
        for name, entry in found.items():
            stated = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
            if stated == registry and entry.get("auth"):
                b64decode(entry["auth"], validate=True)
                return {"Authorization": f"Basic {entry['auth']}"}
    except (FileNotFoundError, KeyError):
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        raise ConfigError(f"{path}: cannot be read as Docker's config.json") from None
    return {}
