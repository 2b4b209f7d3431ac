"""A service does not start with half of what TLS needs, or with files that it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from services.common.core.settings import load_settings
from services.common.core.tls import load_tls
from services.inference.settings import InferenceSettings
from services.preprocess.settings import PreprocessSettings
from services.web.settings import WebSettings
from tests.support.certificates import Authority, MountedPair

FILES = ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE")
ALL = ", ".join(FILES)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedPair:
    """A valid pair, with the environment that names its files."""
    made = Authority().write_pair(tmp_path / "pair", ["localhost"])
    for variable, path in made.env.items():
        monkeypatch.setenv(variable, path)
    monkeypatch.setenv("PREPROCESS_URL", "https://localhost:8000")
    return made


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """Start until the socket would open; return the one line with which the process ends."""
    with pytest.raises(SystemExit) as ended:
        load_tls(load_settings(WebSettings))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_web_asks_callers_for_no_certificate_and_inner_services_do() -> None:
    fields = {
        kind: kind.model_fields["tls_client_auth"].default
        for kind in (WebSettings, PreprocessSettings, InferenceSettings)
    }

    assert list(fields.values()) == ["none", "required", "required"]


def test_three_files_turn_on_tls(pair: MountedPair) -> None:
    tls = load_tls(load_settings(WebSettings))

    assert tls is not None
    assert tls.expires_at == pair.read_certificate().not_valid_after_utc


def test_without_files_there_is_no_tls(pair: MountedPair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in pair.env:
        monkeypatch.delenv(name)

    assert load_tls(load_settings(WebSettings)) is None


@pytest.mark.parametrize("missing", FILES)
def test_a_file_without_the_others_ends_the_start(
    pair: MountedPair,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    assert missing in pair.env
    monkeypatch.delenv(missing)

    assert refusal(capsys) == f"{ALL}: set all or none; not set: {missing}"


def test_client_certificates_cannot_be_required_without_tls(
    pair: MountedPair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in pair.env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TLS_CLIENT_AUTH", "required")

    assert refusal(capsys) == f"TLS_CLIENT_AUTH: has no effect without {ALL}"


def test_two_listeners_need_two_ports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREPROCESS_URL", "http://localhost:8000")
    monkeypatch.setenv("PORT", "5000")
    monkeypatch.setenv("METRICS_PORT", "5000")

    assert refusal(capsys) == "METRICS_PORT: expected another port than PORT, found '5000'"


@pytest.mark.parametrize(
    ("variable", "content", "line"),
    [
        ("TLS_CERT_FILE", b"no certificate", "TLS_CERT_FILE: no certificate in PEM format: "),
        ("TLS_KEY_FILE", b"no key", "TLS_KEY_FILE: no private key: "),
        ("TLS_CA_FILE", b"no CA", "TLS_CA_FILE: no certificates in PEM format: "),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_start(
    pair: MountedPair,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    content: bytes,
    line: str,
) -> None:
    path = Path(pair.env[variable])
    path.write_bytes(content)

    assert refusal(capsys) == f"{line}{path}"


def test_a_file_that_does_not_exist_ends_the_start(
    pair: MountedPair, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(pair.env["TLS_KEY_FILE"])
    path.unlink()

    assert refusal(capsys) == f"TLS_KEY_FILE: No such file or directory: {path}"


def test_an_encrypted_key_ends_the_start(
    pair: MountedPair, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(pair.env["TLS_KEY_FILE"])
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    assert refusal(capsys) == f"TLS_KEY_FILE: the key is encrypted: {path}"


def test_an_expired_certificate_ends_the_start(
    pair: MountedPair, capsys: pytest.CaptureFixture[str]
) -> None:
    expired = Authority().write_expired(pair.folder, ["localhost"])
    when = expired.read_certificate().not_valid_after_utc

    assert refusal(capsys) == (
        f"TLS_CERT_FILE: expired on {when:%Y-%m-%d %H:%M} UTC: {pair.env['TLS_CERT_FILE']}"
    )
