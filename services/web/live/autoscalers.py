"""What the autoscalers want: from the API server of Kubernetes, or from the file of the lab."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elastic_yolo.tiers import TIERS
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger

if TYPE_CHECKING:
    import httpx

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A controller decides every 15 s.
_ASK_PERIOD_S = 1.0
_ASK_TIMEOUT_S = 2.0
# Read at most so much of the lab's file at once: a lab writes 1 KB in a second.
_MOST_BYTES = 1 << 20
_MOST_TEXT = 300
# The lab's reason begins with the numbers of pods, which stand beside it.
_STEP = re.compile(r"^\d+ -> \d+(?:: )?")


@dataclass(frozen=True)
class Scaler:
    """The autoscaler of one tier."""

    current: int
    """The pods that it sees."""
    desired: int
    """The pods that it wants."""
    least: int | None
    most: int | None
    why: str
    """Its reason, in one line."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Autoscalers(Protocol):
    """A source of what autoscalers want."""

    async def read(self) -> dict[str, Scaler]:
        """Return the autoscaler of each tier that has one; never fails, and does not take long."""

    async def close(self) -> None:
        """End connections."""


class NoAutoscalers:
    """Where nobody can be asked."""

    async def read(self) -> dict[str, Scaler]:
        """Return none."""
        return {}

    async def close(self) -> None:
        """Do nothing."""


class _Sample(BaseModel):
    """A line of the lab's timeline."""

    tier: str
    replicas: int
    desired: int
    why: str = ""
    held: str = ""


class LabFile:
    """The timeline that `elastic-yolo hpa-lab` appends to: JSON lines."""

    def __init__(self, path: Path) -> None:
        """Read a file that need not exist yet."""
        self._path = path
        self._offset = 0
        self._found: dict[str, Scaler] = {}
        self._log_limit = LogLimit()

    async def read(self) -> dict[str, Scaler]:
        """Return the last decision on each tier."""
        try:
            with _open_file(self._path) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:
                    self._offset = 0
                # Of a long file only the end counts.
                self._offset = max(self._offset, size - _MOST_BYTES)
                file.seek(self._offset)
                text = file.read(_MOST_BYTES)
        except OSError as error:
            if self._log_limit.passes("lab file"):
                get_logger().warning("LIVE_AUTOSCALERS cannot be read", why=str(error))
            return self._found
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                sample = _Sample.model_validate_json(line)
            except ValidationError:
                continue  # the first line, if it was cut
            if sample.tier in TIERS:
                why = _STEP.sub("", sample.why or sample.held)[:_MOST_TEXT]
                self._found[sample.tier] = Scaler(sample.replicas, sample.desired, None, None, why)
        return dict(self._found)

    async def close(self) -> None:
        """Do nothing."""


def _open_file(path: Path) -> BinaryIO:
    """Open a file to read; raises OSError for a pipe as well, which would block the event loop."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file")
    return path.open("rb")


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Name(_Body):
    name: str


class _Spec(_Body):
    scale_target: _Name = Field(alias="scaleTargetRef")
    least: int = Field(1, alias="minReplicas")
    most: int = Field(alias="maxReplicas")
    metrics: list[dict[str, Any]] = []


class _Condition(_Body):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(_Body):
    current: int = Field(0, alias="currentReplicas")
    desired: int = Field(0, alias="desiredReplicas")
    metrics: list[dict[str, Any]] | None = Field(None, alias="currentMetrics")
    conditions: list[_Condition] | None = None


class _Hpa(_Body):
    spec: _Spec
    status: _Status = Field(default_factory=lambda: _Status.model_validate({}))


class _HpaList(_Body):
    items: list[_Hpa]


def read_hpas(content: bytes) -> dict[str, Scaler]:
    """Return the autoscalers of an answer of autoscaling/v2, by the tier that they scale.

    Raises ValueError for anything else.
    """
    found = {}
    for hpa in _HpaList.model_validate_json(content).items:
        tier = hpa.spec.scale_target.name
        if tier in TIERS:
            status = hpa.status
            found[tier] = Scaler(
                status.current, status.desired, hpa.spec.least, hpa.spec.most, _reason(hpa)
            )
    return found


def _reason(hpa: _Hpa) -> str:
    """Return the metrics against their targets, and the condition that limits the decision."""
    parts = _describe_metrics(hpa.spec.metrics, hpa.status.metrics or [])
    conditions = {one.type: one for one in hpa.status.conditions or []}
    inactive, limited = conditions.get("ScalingActive"), conditions.get("ScalingLimited")
    able = conditions.get("AbleToScale")
    if inactive is not None and inactive.status != "True":
        parts.append(f"{inactive.reason}: {inactive.message}")
    elif limited is not None and limited.status == "True":
        parts.append(limited.reason)
    elif able is not None and able.reason not in ("", "ReadyForNewScale"):
        parts.append(able.reason)
    return ", ".join(parts)[:_MOST_TEXT]


def _describe_metrics(targets: list[dict[str, Any]], values: list[dict[str, Any]]) -> list[str]:
    described = []
    for target, value in zip(targets, values, strict=False):
        kind = str(target.get("type", ""))
        key = kind[:1].lower() + kind[1:]
        wanted, found = target.get(key), value.get(key)
        if not isinstance(wanted, dict) or not isinstance(found, dict):
            continue
        name = wanted.get("name") or (wanted.get("metric") or {}).get("name") or kind
        goal, current = wanted.get("target") or {}, found.get("current") or {}
        for field, unit in (("averageUtilization", " %"), ("averageValue", ""), ("value", "")):
            if field in goal and field in current:
                described.append(f"{name} {current[field]}{unit} of {goal[field]}{unit}")
                break
    return described


@dataclass(frozen=True)
class ApiServer:
    """The API server, and how a pod may ask it."""

    url: str
    account: Path = SERVICE_ACCOUNT
    """Where the pod's token, its namespace and the CA of the server are mounted."""


class Kubernetes:
    """The HorizontalPodAutoscalers of this pod's namespace."""

    def __init__(self, server: ApiServer) -> None:
        """Connect with the first question."""
        self._server = server
        self._client: httpx.AsyncClient | None = None
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._found: dict[str, Scaler] = {}
        self._log_limit = LogLimit()

    async def read(self) -> dict[str, Scaler]:
        """Return the last answer; a new one is asked for once a second, in the background."""
        is_asking = self._asking is not None and not self._asking.done()
        if not is_asking and time.monotonic() - self._asked_at >= _ASK_PERIOD_S:
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._ask())
        return dict(self._found)

    async def close(self) -> None:
        """End the connection."""
        if self._asking is not None:
            self._asking.cancel()
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(self) -> None:
        import httpx  # noqa: PLC0415  # 0.1 s

        try:
            if self._client is None:
                self._client = self._connect()
            response = await self._client.get(self._path(), headers=self._credential())
            response.raise_for_status()
            self._found = read_hpas(response.content)
        except (OSError, ValueError, httpx.HTTPError) as error:
            # A permission may be missing, or the server be away: the rest of the view goes on.
            self._found = {}
            if self._log_limit.passes("autoscalers", type(error).__name__):
                get_logger().warning("autoscalers cannot be read", why=str(error)[:_MOST_TEXT])

    def _connect(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415

        trusted = ssl.create_default_context(cafile=str(self._server.account / "ca.crt"))
        return httpx.AsyncClient(
            base_url=self._server.url, verify=trusted, timeout=_ASK_TIMEOUT_S, trust_env=False
        )

    def _path(self) -> str:
        namespace = (self._server.account / "namespace").read_text(encoding="utf-8").strip()
        return f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"

    def _credential(self) -> Mapping[str, str]:
        # The kubelet renews the file.
        token = (self._server.account / "token").read_text(encoding="utf-8").strip()
        return {"Authorization": f"Bearer {token}"}
