"""A certificate authority and certificates of it, as an issuer mounts them into pods."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


@dataclass
class Authority:
    """A CA that signs certificates; each has its own key."""

    name: str = "tests"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Sign the CA's own certificate."""
        usage = x509.KeyUsage(*(name in ("cert_sign", "crl_sign") for name in _USAGES))
        self.certificate = (
            _builder(self.name, self.name, self.key, 2 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def write_pair(
        self, folder: Path, names: Sequence[str], *, lasts: timedelta = _DAY
    ) -> MountedPair:
        """Write tls.crt, tls.key and ca.crt, as a mounted Secret has them."""
        key = ec.generate_private_key(ec.SECP256R1())
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(names[0], self.name, key, lasts)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pair = MountedPair(folder)
        pair.write(_pem(certificate), _key_pem(key), _pem(self.certificate))
        return pair

    def write_expired(self, folder: Path, names: Sequence[str]) -> MountedPair:
        """Write a pair that was valid until an hour ago."""
        return self.write_pair(folder, names, lasts=-_HOUR)


@dataclass(frozen=True)
class MountedPair:
    """A folder whose files are replaced together through a symlink, as the kubelet does it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """The settings of a service that uses the files."""
        return {
            "TLS_CERT_FILE": str(self.folder / "tls.crt"),
            "TLS_KEY_FILE": str(self.folder / "tls.key"),
            "TLS_CA_FILE": str(self.folder / "ca.crt"),
        }

    def write(self, certificate: bytes, key: bytes, ca: bytes) -> None:
        """Replace all files at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = sum(one.name.startswith("..v") for one in self.folder.iterdir())
        new = self.folder / f"..v{number}"
        new.mkdir()
        for name, content in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca)):
            (new / name).write_bytes(content)
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(new.name)
        fresh.replace(self.folder / "..data")

    def client_context(self, *, certificate: bool = True) -> ssl.SSLContext:
        """Return the context of a caller that trusts the CA, with the certificate or without."""
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if certificate:
            context.load_cert_chain(self.folder / "tls.crt", self.folder / "tls.key")
        return context

    def read_certificate(self) -> x509.Certificate:
        """Return the certificate that is mounted now."""
        return x509.load_pem_x509_certificate((self.folder / "tls.crt").read_bytes())


_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + lasts)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
