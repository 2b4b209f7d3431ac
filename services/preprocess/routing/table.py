"""The table of routes as it is written: YAML, checked completely before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.model import OutputDecoder, read_output_decoder
from elastic_yolo.names import STORE_SCHEME, Name, nearest_names
from elastic_yolo.store.errors import StoreError
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import parse_reference
from elastic_yolo.strict_yaml import parse_strict_yaml
from services.common.core.picture_route import MOST_ROUTE_CHARACTERS, ROUTE_PREFIX
from services.common.core.settings import PeerUrls
from services.common.request.context import hash_point
from services.common.request.identity import TENANT_HEADER

INFERENCE = "inference"
"""The back end of INFERENCE_URL, which no table needs to define."""
MOST_BYTES = 2**20
"""Of a table's text."""

# Each has connections, metrics and two background tasks.
_MOST_BACKENDS = 64
# A picture may be compared with all of them.
_MOST_ROUTES = 256
# Nesting: routes, one route, its headers, a value.
_MOST_DEPTH = 5
_PURPOSE = b"routes"
_HERE = Path()


class TableError(Exception):
    """A table that cannot be used; the message is one line and names the place."""


def _to_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _to_weights(value: Any) -> Any:
    return {value: "1"} if isinstance(value, str) else value


def _check_header(name: Any) -> Any:
    if isinstance(name, str) and not name.lower().startswith(ROUTE_PREFIX):
        raise ValueError(f"expected a header {ROUTE_PREFIX}*: web passes on no others")
    return name.lower() if isinstance(name, str) else name


Text = Annotated[str, StringConstraints(min_length=1, max_length=MOST_ROUTE_CHARACTERS)]
HeaderName = Annotated[Text, BeforeValidator(_check_header)]
Weight = Annotated[int, Field(ge=0, le=9999)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_to_list), Field(min_length=1, max_length=256)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_to_list), Field(min_length=1, max_length=256)]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackendConfig(_StrictModel):
    """One back end. With `files` it is a third-party server with one network."""

    url: PeerUrls
    model: Name | None = None
    """The model's name there; by default the name in the request."""
    files: str | None = Field(None, min_length=1)
    """Folder with .cfg and .names, or a reference to a model in a store."""
    input: Text | None = None
    """The tensor with the pixels; by default the only input."""
    full_scale: Annotated[int, Field(ge=1, le=255)] = 255
    """The value of a white pixel in a float tensor: 255, or 1."""
    heads: tuple[Text, ...] = Field((), max_length=16)
    """The tensors with the raw heads, in the order of the .cfg."""
    detections: Text | None = None
    """The tensor with rows x1 y1 x2 y2 score class, in pixels of the network's input."""
    counts: Text | None = None
    """The tensor with the number of these rows."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.files is None:
            stated = self.model_fields_set - {"url", "model"}
            if stated:
                raise ValueError(f"{min(stated)} needs files: a folder with .cfg and .names")
            return self
        if bool(self.heads) == (self.detections is not None):
            raise ValueError("files needs either heads, or detections and counts")
        if (self.detections is None) != (self.counts is None):
            raise ValueError("expected detections and counts together")
        if self.full_scale not in (1, 255):
            raise ValueError("full_scale: expected 255 or 1")
        return self


class RouteConfig(_StrictModel):
    """One route: what a request must have, and the back ends that share such requests."""

    model: Names | None = None
    """Names of models; by default any, and requests that name none."""
    headers: dict[HeaderName, Text] = Field(default={}, max_length=8)
    tenant: Texts | None = None
    backends: Annotated[
        dict[Name, Weight], BeforeValidator(_to_weights), Field(min_length=1, max_length=64)
    ]
    """Weights by name of the back end."""

    @field_validator("headers", mode="before")
    @classmethod
    def _require_once(cls, headers: Any) -> Any:
        if isinstance(headers, dict) and len({str(name).lower() for name in headers}) < len(
            headers
        ):
            raise ValueError("expected each header once: capital letters make no difference")
        return headers

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(self.backends.values()):
            raise ValueError("backends: at least one weight must be more than 0")
        return self

    def matches(self, model: str | None, headers: Mapping[str, str]) -> bool:
        """Return whether the route is for a request; `headers` has names in lower case."""
        if self.model is not None and model not in self.model:
            return False
        # Web percent-encodes what a header cannot hold.
        if self.tenant is not None and unquote(headers.get(TENANT_HEADER, "")) not in self.tenant:
            return False
        return all(headers.get(name) == value for name, value in self.headers.items())

    def pick(self, uid: str) -> str:
        """Return the back end for a request id, always the same one, in proportion to the weights.

        The choice is independent of the one that inference makes among versions by the same id.
        """
        if len(self.backends) > 1:
            point = hash_point(uid, sum(self.backends.values()), _PURPOSE)
            for name, weight in self.backends.items():
                point -= weight
                if point < 0:
                    return name
        return next(iter(self.backends))


class TableConfig(_StrictModel):
    """The whole table."""

    backends: dict[Name, BackendConfig] = Field(default={}, max_length=_MOST_BACKENDS)
    routes: tuple[RouteConfig, ...] = Field(min_length=1, max_length=_MOST_ROUTES)

    @model_validator(mode="before")
    @classmethod
    def _add_inference(cls, data: Any, info: ValidationInfo) -> Any:
        url = (info.context or {}).get("inference_url")
        if url is None or not isinstance(data, dict):
            return data
        backends = data.get("backends") or {}
        if not isinstance(backends, dict):
            return data
        if INFERENCE in backends:
            raise ValueError(
                f"backends.{INFERENCE} is the one of INFERENCE_URL: remove one of the two"
            )
        return {**data, "backends": {INFERENCE: {"url": url}, **backends}}

    def require_backends(self, where: str) -> None:
        """Raise TableError for a route to a back end that there is not."""
        for number, route in enumerate(self.routes):
            for name in route.backends.keys() - self.backends.keys():
                near = nearest_names(name, self.backends)
                hint = f", did you mean {near[0]}?" if near else ""
                raise TableError(f"{where}: routes.{number}.backends: no back end {name!r}{hint}")


@dataclass(frozen=True)
class BackendEntry:
    """A back end's entry, and the files that it names."""

    config: BackendConfig
    decoder: OutputDecoder | None = None
    """None for our own inference service, which decodes its outputs itself."""

    @property
    def only_model(self) -> str | None:
        """The name of the only model that the table uses there, or None."""
        return self.config.model or (self.decoder.name if self.decoder else None)


@dataclass(frozen=True)
class Table:
    """A table that can be used."""

    backends: Mapping[str, BackendEntry]
    routes: tuple[RouteConfig, ...]

    def find_route(self, model: str | None, headers: Mapping[str, str]) -> RouteConfig | None:
        """Return the first route for a request, or None."""
        routes = self._by_model.get(model, self._for_any_model)
        return next((route for route in routes if route.matches(model, headers)), None)

    @cached_property
    def _by_model(self) -> Mapping[str | None, tuple[RouteConfig, ...]]:
        """The routes that may be for a model which any route names: a long table has many."""
        named = {name for route in self.routes for name in route.model or ()}
        return {
            name: tuple(one for one in self.routes if one.model is None or name in one.model)
            for name in named
        }

    @cached_property
    def _for_any_model(self) -> tuple[RouteConfig, ...]:
        return tuple(route for route in self.routes if route.model is None)

    def may_have(self, backend: str, route: RouteConfig, model: str | None) -> bool:
        """Return whether a route's requests for a model are for what the back end has.

        A back end with one model has it under its own name, and under each that a route states.
        """
        only = self.backends[backend].only_model
        return only is None or route.model is not None or model in (None, only)


def single_table(inference_url: str) -> Table:
    """Return the table of a service without one: everything goes to inference."""
    entry = BackendEntry(BackendConfig(url=inference_url))
    return Table({INFERENCE: entry}, (RouteConfig(backends={INFERENCE: 1}),))


def load_table(text: str, where: str, inference_url: str | None, folder: Path = _HERE) -> Table:
    """Parse a table and read the files that it names, which may take a while.

    `where` begins the messages; relative paths of files start at `folder`. Raises TableError.
    """
    config = parse_strict_yaml(
        TableConfig,
        text,
        path=where,
        most_depth=_MOST_DEPTH,
        error=TableError,
        context={"inference_url": inference_url},
    )
    config.require_backends(where)
    backends = {}
    for name, backend in config.backends.items():
        try:
            backends[name] = BackendEntry(backend, _read_files(backend, folder))
        except (ModelError, StoreError) as error:
            raise TableError(f"{where}: backends.{name}.files: {error}") from error
    return Table(backends, config.routes)


def _read_files(config: BackendConfig, folder: Path) -> OutputDecoder | None:
    if config.files is None:
        return None
    if config.files.startswith(STORE_SCHEME):
        reference = parse_reference(config.files)
        published = resolve(replace(reference, root=folder / reference.root))
        decoder = read_output_decoder(published.folder)
        decoder = replace(decoder, name=reference.name, version=published.record.version)
    else:
        decoder = read_output_decoder(folder / config.files)
    heads = len(decoder.network.heads)
    if config.heads and len(config.heads) != heads:
        raise ModelError(f"{decoder.network.name}.cfg has {heads} heads, not {len(config.heads)}")
    return decoder
