"""TLS from mounted files: a service's certificate, its key, and the CA of the other services.

A renewed certificate is used without a restart: the files are read again every few seconds, and new
connections get new contexts. Kubernetes replaces the files of a mounted Secret through a symlink,
so there is nothing to watch but their content. See docs/tls.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prometheus_client import Counter, Gauge

from services.common.core.settings import ServiceSettings
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics

# Three small files. The kubelet takes up to a minute or two to update a mounted Secret.
_POLL_S = 5.0


class TlsUnusable(Exception):
    """A file cannot be used; the message begins with the variable that names it."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its private key, and the CA's certificates."""

    certificate: Path
    key: Path
    ca: Path

    def digest(self) -> bytes:
        """Return a digest of all three files; raises TlsUnusable if one cannot be read."""
        digest = hashlib.sha256()
        for variable, path in (
            ("TLS_CERT_FILE", self.certificate),
            ("TLS_KEY_FILE", self.key),
            ("TLS_CA_FILE", self.ca),
        ):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise TlsUnusable(f"{variable}: {error.strerror}: {path}") from error
        return digest.digest()


@dataclass(frozen=True)
class PemFiles:
    """The content of the files, for a library that reads it itself."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes


@dataclass(frozen=True)
class _Loaded:
    """What the files contained when they were read."""

    digest: bytes
    pem: PemFiles
    server: ssl.SSLContext
    client: ssl.SSLContext
    expires_at: datetime


class Tls:
    """The contexts for new connections, and the certificate's expiry."""

    def __init__(self, files: TlsFiles, *, requires_client_certificate: bool) -> None:
        """Read the files; raises TlsUnusable."""
        self._files = files
        self.requires_client_certificate = requires_client_certificate
        self._loaded = self._load(files.digest())
        self._refused = ""
        self._handshake_failures: Counter | None = None

    @property
    def expires_at(self) -> datetime:
        """When the certificate that new connections get expires."""
        return self._loaded.expires_at

    def server_context(self) -> ssl.SSLContext:
        """Return the context for a connection that a caller has opened."""
        return self._loaded.server

    def client_context(self) -> ssl.SSLContext:
        """Return the context for a connection to the next service."""
        return self._loaded.client

    def pem_files(self) -> PemFiles:
        """Return the files behind the contexts."""
        return self._loaded.pem

    def export(self, metrics: Metrics) -> None:
        """Add the metrics of certificate and handshakes to the service's."""
        labels, registry = (metrics.service,), metrics.registry
        expiry = Gauge(
            "elastic_yolo_tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate expires that new connections get.",
            ("service",),
            registry=registry,
        )
        expiry.labels(*labels).set_function(self._expires_at_s)
        self._handshake_failures = Counter(
            "elastic_yolo_tls_handshake_failures_total",
            "TLS handshakes of callers that failed.",
            ("service",),
            registry=registry,
        ).labels(*labels)

    def _expires_at_s(self) -> float:
        return self.expires_at.timestamp()

    def count_handshake_failure(self) -> None:
        """Count a caller's failed handshake."""
        if self._handshake_failures is not None:
            self._handshake_failures.inc()

    async def watch(self) -> None:
        """Load the files again whenever their content has changed, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            await self.renew()

    async def renew(self) -> None:
        """Load the files if they have changed; if they cannot be used, keep what is loaded."""
        # In a thread: parsing certificates and reading from a slow volume would block all requests.
        try:
            loaded = await asyncio.to_thread(self._load_changed)
        except TlsUnusable as error:
            if str(error) != self._refused:
                get_logger().error("certificate not renewed", why=str(error))
            self._refused = str(error)
            return
        self._refused = ""
        if loaded is not None:
            self._loaded = loaded
            get_logger().info("certificate renewed", expires=loaded.expires_at.isoformat())

    def _load_changed(self) -> _Loaded | None:
        digest = self._files.digest()
        return None if digest == self._loaded.digest else self._load(digest)

    def _load(self, digest: bytes) -> _Loaded:
        """Return contexts of the files, whose digest is that of the argument."""
        files = self._files
        expires_at = _read_expiry(files.certificate)
        server = _make_context(files, ssl.PROTOCOL_TLS_SERVER)
        if self.requires_client_certificate:
            server.verify_mode = ssl.CERT_REQUIRED
        # Verifies the certificate of the next service, and its name.
        client = _make_context(files, ssl.PROTOCOL_TLS_CLIENT)
        pem = PemFiles(
            files.certificate.read_bytes(), files.key.read_bytes(), files.ca.read_bytes()
        )
        # The files may be replaced between the first and the last: the next poll reads all again.
        if files.digest() != digest:
            raise TlsUnusable("TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE: changed while read")
        return _Loaded(digest, pem, server, client, expires_at)


def load_tls(settings: ServiceSettings) -> Tls | None:
    """Return the TLS of a service, or None if its files are not set.

    Ends the process with one line if a file cannot be used.
    """
    certificate, key, ca = settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file
    if certificate is None or key is None or ca is None:  # the settings have all or none
        return None
    required = settings.tls_client_auth == "required"
    try:
        return Tls(TlsFiles(certificate, key, ca), requires_client_certificate=required)
    except TlsUnusable as error:
        print(error, file=sys.stderr)  # noqa: T201  # as for any other invalid setting
        raise SystemExit(2) from None


def _make_context(files: TlsFiles, protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    # TLS_CA_FILE may hold an intermediate CA: some issuers give nothing above it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(files.ca)
    except (ssl.SSLError, OSError) as error:
        raise TlsUnusable(f"TLS_CA_FILE: no certificates in PEM format: {files.ca}") from error
    try:
        # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(files.certificate, files.key, password=partial(_refuse, files.key))
    except ssl.SSLError as error:
        reason = "it is not the key of the certificate" if _is_mismatch(error) else "no private key"
        raise TlsUnusable(f"TLS_KEY_FILE: {reason}: {files.key}") from error
    except OSError as error:
        raise TlsUnusable(f"TLS_KEY_FILE: {error.strerror}: {files.key}") from error
    return context


def _is_mismatch(error: ssl.SSLError) -> bool:
    return error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


def _refuse(key: Path) -> str:
    raise TlsUnusable(f"TLS_KEY_FILE: the key is encrypted: {key}")


def _read_expiry(path: Path) -> datetime:
    """Return when the first certificate of a file expires, which must be in the future."""
    from cryptography import x509  # noqa: PLC0415  # 50 ms and 10 MB, which only TLS needs

    try:
        expires_at = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except ValueError as error:
        raise TlsUnusable(f"TLS_CERT_FILE: no certificate in PEM format: {path}") from error
    except OSError as error:
        raise TlsUnusable(f"TLS_CERT_FILE: {error.strerror}: {path}") from error
    if expires_at <= datetime.now(UTC):
        raise TlsUnusable(f"TLS_CERT_FILE: expired on {expires_at:%Y-%m-%d %H:%M} UTC: {path}")
    return expires_at
