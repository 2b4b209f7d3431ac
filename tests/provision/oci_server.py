"""Debian's docker-registry, open or with authentication, and a client that pushes to it."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from tests.support.registries import program, running

USER = "reader"
PASSWORD = "password-of-the-tests"  # noqa: S105
_HASHED = "$2b$04$N13IkoDmKL3YIskvTI.sgebFNG1x5sQxRYNsvVd2CP8o0rvubmB4a"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = b"{}"


@contextmanager
def registry(folder: Path, auth: Mapping[str, Any] | None = None) -> Iterator[int]:
    """Run a registry; yields its port."""
    port = free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"{LOOPBACK}:{port}"},
    }
    if auth:
        config["auth"] = auth
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    command = [program("docker-registry"), "serve", folder / "config.yml"]
    with running(command, port, "/v2/", folder, {"OTEL_TRACES_EXPORTER": "none"}):
        yield port


def names_and_passwords(folder: Path) -> dict[str, Any]:
    """Return a configuration with basic authentication for USER and PASSWORD."""
    (folder / "htpasswd").write_text(f"{USER}:{_HASHED}\n")
    return {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}


def push(
    port: int,
    repository: str,
    files: Mapping[str, bytes],
    tag: str,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Push files as `oras push` does; returns the manifest's digest."""
    base = f"http://{LOOPBACK}:{port}"
    with httpx.Client(base_url=base, headers=headers, trust_env=False) as client:
        for content in (*files.values(), _EMPTY):
            _push_blob(client, repository, content)
        layers = [
            {**_described(content), "annotations": {"org.opencontainers.image.title": name}}
            for name, content in files.items()
        ]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {**_described(_EMPTY), "mediaType": "application/vnd.oci.empty.v1+json"},
                "layers": layers,
            }
        ).encode()
        client.put(
            f"/v2/{repository}/manifests/{tag}",
            content=manifest,
            headers={"Content-Type": _MANIFEST},
        ).raise_for_status()
    return digest_of_bytes(manifest)


def _described(content: bytes) -> dict[str, Any]:
    digest = digest_of_bytes(content)
    return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}


def _push_blob(client: httpx.Client, repository: str, content: bytes) -> None:
    begun = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
    address = httpx.URL(begun.headers["location"]).copy_merge_params(
        {"digest": digest_of_bytes(content)}
    )
    client.put(address, content=content).raise_for_status()


class Tokens:
    """A token server that a registry trusts: full access for USER, none for others."""

    def __init__(self, folder: Path) -> None:
        """Create a key, and a certificate for the registry's configuration."""
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._chain = [b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
        self._bundle = folder / "bundle.pem"
        self._bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._signer = crypt.RSASigner(key)
        self.requests: list[str] = []
        self.url = ""

    def config(self) -> dict[str, Any]:
        """Return the registry's configuration."""
        return {
            "token": {
                "realm": f"{self.url}/token",
                "service": "tests",
                "issuer": "tests",
                "rootcertbundle": str(self._bundle),
            }
        }

    def answer(self, path: str, authorization: str) -> bytes:
        """Return the response to a token request."""
        self.requests.append(path)
        known = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}" == authorization
        repository = path.partition("repository%3A")[2].partition("%3A")[0].replace("%2F", "/")
        access = {"type": "repository", "name": repository, "actions": ["pull", "push"]}
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": USER,
            "aud": "tests",
            "iat": now,
            "nbf": now - 60,
            "exp": now + 600,
            "jti": "1",
            "access": [access] if known else [],
        }
        token = jwt.encode(self._signer, claims, header={"x5c": self._chain})
        return json.dumps({"token": token.decode()}).encode()


@contextmanager
def tokens(folder: Path) -> Iterator[Tokens]:
    """Serve tokens until the block ends."""
    giving = Tokens(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = giving.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        giving.url = f"http://{LOOPBACK}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield giving
        finally:
            server.shutdown()
            thread.join()
