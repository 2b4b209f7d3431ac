"""A table of routes in etcd v3, read and watched through the JSON gateway that every etcd has.

Source: etcd documentation v3.4, "Why gRPC gateway": keys and values are in base64; a watch is a
response that never ends, with one JSON object in each line.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from elastic_yolo.backoff import Backoff
from services.common.observe.logs import get_logger
from services.preprocess.routing.table import MOST_BYTES, TableError

SCHEME = "etcd://"

_TIMEOUT_S = 5.0
# A watch that says nothing for this long begins again: its server may be gone without a word.
_SILENCE_S = 60.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
# A table in base64, in one line of a watch.
_MOST_LINE_BYTES = 2 * MOST_BYTES


@dataclass(frozen=True)
class EtcdAddress:
    """`etcd://HOST:PORT[,HOST:PORT...]/KEY`; the key is all behind the first slash."""

    hosts: tuple[str, ...]
    key: str

    @classmethod
    def parse(cls, text: str) -> EtcdAddress:
        """Parse an address; raises ValueError."""
        hosts, _, key = text.removeprefix(SCHEME).partition("/")
        if not key or not all(map(_is_host, hosts.split(","))):
            raise ValueError(f"expected {SCHEME}host:port/key, or several host:port with commas")
        return cls(tuple(hosts.split(",")), key)

    def __str__(self) -> str:
        """Return the address as it is written."""
        return f"{SCHEME}{','.join(self.hosts)}/{self.key}"


def _is_host(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname and parts.port) and parts.netloc == text and "@" not in text
    except ValueError:
        return False


@dataclass(frozen=True)
class EtcdAccess:
    """User and certificates; with `ca_file` the connections use TLS."""

    user: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS settings, from the files as they are now; raises OSError, SSLError."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None and self.key_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


# What httpx and the certificates' files raise, and responses that are not etcd's.
_FAILURES = (httpx.HTTPError, OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass
class EtcdSource:
    """A table under a key of etcd."""

    address: EtcdAddress
    access: EtcdAccess = field(default_factory=EtcdAccess)

    def __str__(self) -> str:
        """Return the address."""
        return str(self.address)

    @property
    def folder(self) -> Path:
        """Return the folder of the process."""
        return Path()

    async def read(self) -> str:
        """Return the value of the key from the first server that responds; raises TableError."""
        failures = []
        for host in self._shuffled_hosts():
            try:
                async with self._connect(host) as client:
                    return await self._read_key(client)
            except _FAILURES as error:
                failures.append(f"{host}: {_describe(error)}")
        raise TableError(f"{self}: cannot be read: {'; '.join(failures)}")

    async def changes(self) -> AsyncIterator[None]:
        """Watch the key, at another server after a connection has ended."""
        backoff, is_lost = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), False
        while True:
            for host in self._shuffled_hosts():
                try:
                    async with self._connect(host) as client:
                        async for _ in self._watch(client):
                            if is_lost:
                                get_logger().info("etcd responds again", table=str(self))
                            backoff.reset()
                            is_lost = False
                            yield
                except _FAILURES as error:
                    if not is_lost:
                        get_logger().warning(
                            "etcd cannot be watched: the routes stay as they are",
                            table=str(self),
                            why=f"{host}: {_describe(error)}",
                        )
                    is_lost = True
            await asyncio.sleep(backoff.next_s())

    def _shuffled_hosts(self) -> Sequence[str]:
        return random.sample(self.address.hosts, len(self.address.hosts))

    def _connect(self, host: str) -> _Client:
        return _Client(host, self.access)

    async def _read_key(self, client: _Client) -> str:
        found = await client.post("/v3/kv/range", {"key": _encode(self.address.key)})
        if not found.get("kvs"):
            raise TableError(f"{self}: there is no such key")
        value = base64.b64decode(found["kvs"][0].get("value", ""), validate=True)
        if len(value) > MOST_BYTES:
            raise TableError(f"{self}: {len(value):,} bytes: expected at most {MOST_BYTES:,}")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise TableError(f"{self}: byte {error.start} is not UTF-8") from None

    async def _watch(self, client: _Client) -> AsyncIterator[None]:
        """Yield when the watch has begun, and for each change of the key.

        What changed before it began is found by reading the key then, so no revision is needed.
        """
        request = {"create_request": {"key": _encode(self.address.key)}}
        async for line in client.stream("/v3/watch", request):
            if line["result"].get("canceled"):
                raise ValueError(f"watch refused: {line['result'].get('cancel_reason')}")
            if line["result"].get("created") or line["result"].get("events"):
                yield


class _Client:
    """HTTP to one server of etcd, as a user if there is one."""

    def __init__(self, host: str, access: EtcdAccess) -> None:
        self._host = host
        self._access = access

    async def __aenter__(self) -> Self:
        tls = await asyncio.to_thread(self._access.tls)
        self._http = httpx.AsyncClient(
            base_url=f"{'http' if tls is None else 'https'}://{self._host}",
            verify=False if tls is None else tls,
            timeout=_TIMEOUT_S,
            # A proxy of the environment is for addresses outside.
            trust_env=False,
        )
        try:
            await self._authenticate()
        except BaseException:
            await self._http.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def post(self, path: str, content: dict[str, Any]) -> Any:
        response = await self._http.post(path, json=content)
        _check(response.status_code, response.content)
        return response.json()

    async def stream(self, path: str, content: dict[str, Any]) -> AsyncIterator[Any]:
        """Yield the JSON objects of a response until it is silent for `_SILENCE_S`."""
        timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
        async with self._http.stream("POST", path, json=content, timeout=timeout) as response:
            if response.is_error:
                _check(response.status_code, await response.aread())
            buffered = b""
            with suppress(httpx.ReadTimeout):
                async for chunk in response.aiter_bytes():
                    *lines, buffered = (buffered + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
                    if len(buffered) > _MOST_LINE_BYTES:
                        raise ValueError("a line of the watch is too long")
                raise ValueError("the watch has ended")

    async def _authenticate(self) -> None:
        user, password = self._access.user, self._access.password
        if user is None or password is None:
            return
        request = {"name": user, "password": password.get_secret_value()}
        found = await self.post("/v3/auth/authenticate", request)
        self._http.headers["Authorization"] = found["token"]


def _check(status: int, content: bytes) -> None:
    """Raise ValueError with etcd's own words for an error."""
    if status == httpx.codes.OK:
        return
    try:
        said = json.loads(content)
        why = str(said.get("error") or said.get("message"))
    except (ValueError, AttributeError):
        why = "no reason"
    raise ValueError(f"status {status}: {why[:200]}")


def _encode(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
