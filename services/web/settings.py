"""The settings of the web service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from elastic_yolo.tiers import PORTS
from services.common.core.settings import ForwardingSettings, PeerUrls, SecretFile
from services.common.request.identity import Limits
from services.web.identity.algorithms import ALGORITHMS

_URL = TypeAdapter(HttpUrl)


def _check_issuer(text: str) -> str:
    url = _URL.validate_python(text)
    if url.query or url.fragment or url.username or url.password:
        raise ValueError("expected a URL without a query and without a user")
    # As it is: tokens must state the same, character by character.
    return text


def _check_algorithms(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"expected some of {', '.join(sorted(ALGORITHMS))}")
    return ",".join(names)


IssuerUrl = Annotated[str, AfterValidator(_check_issuer)]
AlgorithmNames = Annotated[str, AfterValidator(_check_algorithms)]


def _check_live_source(text: str) -> str:
    if text != "kubernetes" and not text.startswith("file:/"):
        raise ValueError("expected kubernetes, or file:/path")
    return text


LiveSource = Annotated[str, AfterValidator(_check_live_source)]


class WebSettings(ForwardingSettings):
    """Environment of the web service."""

    port: int = Field(PORTS["web"], ge=0, le=65535)
    """Port to listen on; with 0 the kernel chooses a free port, which is logged."""
    preprocess_url: PeerUrls
    """Address of preprocess: http://host:port (all its DNS addresses), or several with commas."""
    preprocess_fallback_url: PeerUrls | None = None
    """Addresses, in the same form, for when none of PREPROCESS_URL responds."""
    max_body_bytes: int = Field(20_000_000, ge=1_000, le=1_000_000_000)
    """Largest request body, in bytes."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture, in pixels."""
    max_in_flight: int = Field(128, ge=1, le=100_000)
    """Pictures in flight; one more is refused with 429, as is one that would be too late."""
    access_token: SecretStr | None = Field(None, min_length=16)
    """A token of 16 characters or more that all clients may share: docs/identity.md."""
    access_token_file: SecretFile | None = Field(None, min_length=16)
    """File with that token, in place of it."""
    tls_client_auth: Literal["required", "none"] = "none"
    """Whether callers must present a certificate of the CA."""
    api_keys_file: Path | None = None
    """YAML file of API keys, their clients and rights; read again when it changes."""
    oidc_issuer: IssuerUrl | None = None
    """OpenID Connect issuer whose tokens are accepted, as its discovery document states it."""
    oidc_audience: str | None = Field(None, min_length=1)
    """What the claim `aud` of a token must contain; required with OIDC_ISSUER."""
    oidc_algorithms: AlgorithmNames = "RS256,ES256"
    """Signature algorithms that are accepted, separated by commas; only asymmetric ones exist."""
    oidc_skew_s: float = Field(60.0, ge=0, le=600)
    """Seconds by which the clocks of the issuer and of this service may differ."""
    oidc_stale_s: float = Field(3600.0, ge=1, le=604_800)
    """Seconds for which known keys of the issuer stay valid while it cannot be reached."""
    oidc_client_claim: str = Field("sub", min_length=1)
    """Claim with the client's name."""
    oidc_tenant_claim: str | None = None
    """Claim with the client's tenant; if unset, the tenant has the name of the client."""
    oidc_models_claim: str | None = None
    """Claim that lists the models a client may use; if unset, all."""
    live_web_url: PeerUrls | None = None
    """Addresses of all web processes, for the live view; without it each shows itself alone."""
    live_autoscalers: LiveSource | None = None
    """Source of the autoscalers' decisions: `kubernetes`, or `file:/path` of hpa-lab."""
    live_load: bool = False
    """Let viewers of the live view order load: up to 50 pictures a second for a minute."""
    kubernetes_service_host: str = Field("kubernetes.default.svc", min_length=1)
    """Host of the API server, which Kubernetes sets; for LIVE_AUTOSCALERS=kubernetes."""
    kubernetes_service_port: int = Field(443, ge=1, le=65535)
    """Its port, which Kubernetes sets."""
    limit_rate: float | None = Field(None, gt=0, le=1e6)
    """Pictures per second of one client, on average; one more is refused with 429."""
    limit_burst: int | None = Field(None, ge=1, le=1_000_000)
    """Pictures that one client may send at once, with LIMIT_RATE; if unset, those of one second."""
    limit_concurrency: int | None = Field(None, ge=1, le=100_000)
    """Pictures of one client in progress; one more is refused with 429."""
    limit_daily: int | None = Field(None, ge=1)
    """Pictures of one client in a day (UTC); one more is refused with 429."""
    limit_redis_url: SecretStr | None = None
    """redis:// or rediss:// URL where all web processes count; if unset, each counts for itself."""
    limit_redis_url_file: SecretFile | None = None
    """File with that URL, in place of it."""
    limit_redis_down: Literal["open", "closed"] = "open"
    """While Redis is down: `open`, each process enforces the limits alone; `closed`, 503."""
    explain: bool = False
    """Whether to have detections explained by preprocess, which needs it too: docs/explain.md."""

    @field_validator("access_token_file", "limit_redis_url_file")
    @classmethod
    def _require_one(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        other = str(info.field_name).removesuffix("_file")
        if value is not None and info.data.get(other) is not None:
            raise ValueError(f"expected either this or {other.upper()}")
        return value

    @field_validator("limit_redis_url", "limit_redis_url_file")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = urlsplit(value.get_secret_value())
            # Reading the port checks it.
            if url.scheme not in ("redis", "rediss") or not url.hostname or url.port == 0:
                raise ValueError("expected redis://... or rediss://...")
        return value

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.limit_burst is not None and self.limit_rate is None:
            raise ValueError("LIMIT_BURST: has no effect without LIMIT_RATE")
        return self

    @model_validator(mode="after")
    def _require_audience(self) -> Self:
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise ValueError("OIDC_AUDIENCE: Field required with OIDC_ISSUER")
        return self

    @property
    def token(self) -> str | None:
        """ACCESS_TOKEN, or what its file has."""
        return _reveal(self.access_token or self.access_token_file)

    @property
    def redis_url(self) -> str | None:
        """LIMIT_REDIS_URL, or what its file has."""
        return _reveal(self.limit_redis_url or self.limit_redis_url_file)

    @property
    def limits(self) -> Limits:
        """The limits of each client."""
        return Limits(self.limit_rate, self.limit_burst, self.limit_concurrency, self.limit_daily)


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
