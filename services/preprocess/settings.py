"""The settings of the preprocess service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, FilePath, SecretStr, model_validator

from elastic_yolo.tiers import PORTS
from services.common.core.settings import ForwardingSettings, PeerUrls, ServiceSettings
from services.preprocess.routing.etcd import SCHEME, EtcdAccess, EtcdAddress, EtcdSource
from services.preprocess.routing.sources import FileSource, TableSource


def _read_address(value: Any) -> Any:
    is_etcd = isinstance(value, str) and value.startswith(SCHEME)
    return EtcdAddress.parse(value) if is_etcd else value


RoutesAddress = Annotated[Path | EtcdAddress, BeforeValidator(_read_address)]
"""The value of ROUTES."""


class PreprocessSettings(ForwardingSettings):
    """Environment of the preprocess service."""

    REMOVED: ClassVar[dict[str, str]] = {
        **ServiceSettings.REMOVED,
        "EXACT": "the services always decode at reduced size; for Darknet's exact digits use "
        "`elastic-yolo detect --exact`, or `exact=True` in the library",
    }

    port: int = Field(PORTS["preprocess"], ge=0, le=65535)
    """Port to listen on; with 0 the kernel chooses a free port, which is logged."""
    inference_url: PeerUrls | None = None
    """Address of inference: http://host:port (all its DNS addresses), or several with commas."""
    inference_fallback_url: PeerUrls | None = None
    """Addresses, in the same form, for when none of INFERENCE_URL responds."""
    routes: RoutesAddress | None = None
    """Table of routes: a YAML file, or etcd://host:port[,host:port]/key; or INFERENCE_URL alone."""
    etcd_user: str | None = None
    """User of etcd, with ETCD_PASSWORD."""
    etcd_password: SecretStr | None = None
    """Password of ETCD_USER."""
    etcd_ca_file: FilePath | None = None
    """PEM file with the CA of etcd's certificate; with it, connections to etcd use TLS."""
    etcd_cert_file: FilePath | None = None
    """PEM file with the certificate that this service presents to etcd, with ETCD_KEY_FILE."""
    etcd_key_file: FilePath | None = None
    """PEM file with the private key of ETCD_CERT_FILE."""
    max_body_bytes: int = Field(20_000_000, ge=1_000, le=1_000_000_000)
    """Largest picture file, in bytes."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture, in pixels; all that are decoded at a time share 8 bytes for each."""
    hold_bytes: int = Field(64_000_000, ge=1_000)
    """Bytes of the bodies of all held requests; more are refused with 503."""
    max_queue: int = Field(128, ge=1, le=100_000)
    """Pictures that may wait for decoding; one more is refused with 429."""
    threads: int = Field(0, ge=0, le=1024)
    """Threads that decode pictures; 0: as many as the container's CPU quota."""
    explain: bool = False
    """Whether to explain detections, each with hundreds of predictions: docs/explain.md."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.inference_url is None and self.routes is None:
            raise ValueError("INFERENCE_URL: Field required, unless ROUTES is set")
        if self.inference_fallback_url is not None and self.inference_url is None:
            raise ValueError("INFERENCE_FALLBACK_URL: has no effect without INFERENCE_URL")
        if (self.etcd_user is None) != (self.etcd_password is None):
            raise ValueError("ETCD_USER and ETCD_PASSWORD: expected both or none")
        if (self.etcd_cert_file is None) != (self.etcd_key_file is None):
            raise ValueError("ETCD_CERT_FILE and ETCD_KEY_FILE: expected both or none")
        if self.etcd_cert_file is not None and self.etcd_ca_file is None:
            raise ValueError("ETCD_CERT_FILE: expected ETCD_CA_FILE as well")
        return self

    @property
    def fallbacks(self) -> dict[str, str]:
        """The fallback of INFERENCE_URL, by that."""
        if self.inference_url is None or self.inference_fallback_url is None:
            return {}
        return {self.inference_url: self.inference_fallback_url}

    def table_source(self) -> TableSource | None:
        """Return where the table of routes is, or None without one."""
        if not isinstance(self.routes, EtcdAddress):
            return FileSource(self.routes) if self.routes is not None else None
        access = EtcdAccess(
            user=self.etcd_user,
            password=self.etcd_password,
            ca_file=self.etcd_ca_file,
            cert_file=self.etcd_cert_file,
            key_file=self.etcd_key_file,
        )
        return EtcdSource(self.routes, access)
